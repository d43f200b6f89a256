"""The pictures of a data set as model inputs, some at a time."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from xai.core.classifier import Classifier
from xai.core.door import open_data


class Reader:
    """Reads model inputs by number.

    Args:
        classifier: whose inputs are meant.
        data: what `open_data` takes.
    """

    def __init__(self, classifier: Classifier, data: Any) -> None:
        given = open_data(data)
        self._source: Any = given.images
        self._classifier, self._ids = classifier, getattr(given, "ids", None)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._source)

    def inputs(self, rows: Sequence[int]) -> Tensor:
        """Return model inputs (n, C, h, w) of some pictures."""
        some = self._source.pictures(rows) if hasattr(self._source, "pictures") else [self._source[k] for k in rows]
        return self._classifier.prepare(some).inputs

    def name(self, row: int) -> str:
        """Return the name of a picture."""
        return str(row) if self._ids is None else str(self._ids[row])
