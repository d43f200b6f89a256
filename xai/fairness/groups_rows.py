"""What is known of each picture: truth, answer, confidence and further numbers, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xai.errors import DataError, NameLookupError, RangeError, ShapeError


@dataclass(frozen=True, eq=False)
class Rows:
    """N pictures.

    Attributes:
        labels: (N,) int64, the truth.
        predictions: (N,) int64.
        confidence: (N,) in [0, 1], or None.
        extra: further numbers by name, (N,) float64 each; nan where they do not apply.
        classes: names.
    """

    labels: np.ndarray = field(repr=False)
    predictions: np.ndarray = field(repr=False)
    confidence: np.ndarray | None = field(repr=False)
    extra: Mapping[str, np.ndarray] = field(repr=False)
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.labels)

    @classmethod
    def of(
        cls,
        labels: Any,
        predictions: Any,
        confidence: Any = None,
        extra: Mapping[str, Any] | None = None,
        classes: Sequence[str] | None = None,
        taken: Sequence[str] = (),
    ) -> "Rows":
        """Return checked rows; labels and predictions are class numbers or names.

        Raises:
            ShapeError: arrays of different lengths.
            DataError: no picture, or a class outside `classes`.
            RangeError: a confidence outside [0, 1].
            NameLookupError: a further number with the name of a metric.
        """
        truth, answers = _flat("labels", labels), _flat("predictions", predictions)
        names = _class_names(truth, answers, classes)
        count = len(truth)
        if count == 0:
            raise DataError("Expected at least one picture, but got none. Give labels and predictions.")
        _same_length("predictions", answers, count)
        sure = None if confidence is None else _flat("confidence", confidence).astype(np.float64)
        if sure is not None:
            _same_length("confidence", sure, count)
            if not bool(((sure >= 0) & (sure <= 1 + 1e-6)).all()):
                raise RangeError("Expected `confidence` in [0, 1], the probability of the answer. Pass probabilities.")
            sure = np.minimum(sure, 1)
        more = {name: _extra(name, values, count, taken) for name, values in (extra or {}).items()}
        return cls(_numbers("labels", truth, names), _numbers("predictions", answers, names), sure, more, names)


def _flat(name: str, values: Any) -> np.ndarray:
    found = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if found.ndim != 1 or found.dtype.kind not in "biufUO":
        raise ShapeError(f"Expected `{name}` as (N,) numbers or names, but got {found.dtype} {found.shape}.")
    return found


def _same_length(name: str, values: np.ndarray, count: int) -> None:
    if len(values) != count:
        raise ShapeError(f"Expected `{name}` for {count} pictures, one each, but got {len(values)}. Give (N,) values.")


def _class_names(labels: np.ndarray, predictions: np.ndarray, classes: Sequence[str] | None) -> tuple[str, ...]:
    if classes is not None:
        return tuple(map(str, classes))
    both = np.concatenate([labels, predictions])
    if both.dtype.kind in "UO":
        return tuple(sorted({str(name) for name in both.tolist()}))
    return tuple(str(k) for k in range(int(both.max(initial=0)) + 1))


def _numbers(name: str, values: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    if values.dtype.kind in "UO":
        place = {label: k for k, label in enumerate(classes)}
        strange = sorted({str(value) for value in values.tolist()} - set(place))
        if strange:
            raise DataError(f"Expected `{name}` among {len(classes)} classes, but got {strange[:3]}. Check `classes`.")
        return np.array([place[str(value)] for value in values.tolist()], dtype=np.int64)
    whole = values.astype(np.int64)
    if not np.array_equal(whole, values) or whole.min() < 0 or whole.max() >= len(classes):
        raise DataError(
            f"Expected `{name}` as whole numbers from 0 to {len(classes) - 1}, but got {values.min()} to "
            f"{values.max()}. Count classes from 0, and name all of them in `classes`."
        )
    return whole


def _extra(name: str, values: Any, count: int, taken: Sequence[str]) -> np.ndarray:
    if name in taken:
        raise NameLookupError("free name for a further metric", name, [f"{name} of mine"])
    found = _flat(f"extra[{name!r}]", values).astype(np.float64)
    _same_length(f"extra[{name!r}]", found, count)
    if bool(np.isinf(found).any()):
        raise RangeError(f"Expected finite numbers in extra[{name!r}], or nan where it does not apply.")
    return found
