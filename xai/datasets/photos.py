"""A few free photographs to try things on."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xai.core.resources import data_folder


@dataclass(frozen=True)
class Photo:
    """A sample photograph with its licence.

    Attributes:
        name: short.
        path: of the JPEG file.
        title: what it shows.
        author: who took it.
        licence: it may be used under.
        source: where it was taken from.

    Example:
        >>> import xai
        >>> xai.sample_photos()[0].name
        'coffee'
    """

    name: str
    path: Path
    title: str
    author: str
    licence: str
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        return asdict(self) | {"path": str(self.path)}


def sample_photos() -> list[Photo]:
    """Return the photographs that ship with xai, all free to use.

    Raises:
        DataError: the example data is not installed.

    Example:
        >>> import xai
        >>> [photo.name for photo in xai.sample_photos()]
        ['coffee', 'chelsea', 'astronaut', 'rocket']
    """
    folder = data_folder() / "photos"
    listed = json.loads((folder / "photos.json").read_text(encoding="utf-8"))
    return [Photo(path=folder / entry.pop("file"), **entry) for entry in listed]
