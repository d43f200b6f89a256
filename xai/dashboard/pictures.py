"""Where pictures come from: an upload, the sample photographs, the example data."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

import xai

_GARMENTS = "example:fashion-test"


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture to explain.

    Attributes:
        name: of the file.
        identity: digest of the content.
        content: bytes of a file, or pixels.
        code: a Python expression for it.
    """

    name: str
    identity: str
    content: Any
    code: str

    def open(self) -> Any:
        """Return it in a form that xai reads; a file's bytes are decoded by xai alone."""
        if not isinstance(self.content, bytes):
            return self.content
        stream = io.BytesIO(self.content)
        stream.name = self.name
        return stream


def from_file(name: str, content: bytes) -> Picture:
    """Return the picture of an uploaded file."""
    return Picture(name, hashlib.sha256(content).hexdigest(), content, repr(name))


def from_path(path: Path, name: str) -> Picture:
    """Return a sample photograph."""
    content = path.read_bytes()
    code = f"{{p.name: p for p in xai.sample_photos()}}[{name!r}].path"
    return Picture(path.name, hashlib.sha256(content).hexdigest(), content, code)


@st.cache_resource(show_spinner=False)
def garments() -> dict[str, Picture]:
    """Return the first picture of each class of the example data, by class name."""
    data = xai.load_data(_GARMENTS)
    labels = np.asarray(data.labels)
    first = {name: int(np.flatnonzero(labels == k)[0]) for k, name in enumerate(data.classes)}
    return {
        name: Picture(
            f"fashion-{number}",
            f"{_GARMENTS}/{number}",
            data.images[number],
            f"xai.load_data({_GARMENTS!r}).images[{number}]",
        )
        for name, number in first.items()
    }
