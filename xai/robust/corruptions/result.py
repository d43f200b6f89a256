"""What a classifier answers under corruptions, with everything that follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from xai.core.results.serialization import read_record, restoring, write_record
from xai.errors import NameLookupError
from xai.robust.corruptions.mce import IMAGENET_C, CorruptionError, mce
from xai.stats.intervals import wilson

if TYPE_CHECKING:
    import pandas as pd

_KIND = "corruption result"
_FIVE = (1.0, 2.0, 3.0, 4.0, 5.0)
_CLASSES = 1000
_ARRAYS = ("labels", "clean_predictions", "predictions")


@dataclass(frozen=True, eq=False, repr=False)
class CorruptionResult:
    """Answers under C corruptions at S severities, for N pictures.

    Attributes:
        names: of the corruptions (C).
        severities: increasing (S).
        labels: (N,) int64, the truth.
        clean_predictions: (N,) int64.
        predictions: (C, S, N) int64.
        seed: fixes everything random.
        model: name, fingerprint and number of classes of the classifier.
        notes: what was done and what to beware of.
        versions: of everything that matters.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(20)
        >>> found = xai.corruption_robustness(clf, data, names=["fog"], severities=[1, 5])
        >>> found.predictions.shape
        torch.Size([1, 2, 20])
    """

    names: tuple[str, ...]
    severities: tuple[float, ...]
    labels: Tensor = field(repr=False)
    clean_predictions: Tensor = field(repr=False)
    predictions: Tensor = field(repr=False)
    seed: int
    model: Mapping[str, Any]
    notes: tuple[str, ...]
    versions: Mapping[str, str]

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.labels)

    def __repr__(self) -> str:
        """Size, accuracies and model."""
        return (
            f"CorruptionResult({len(self)} picture(s), {len(self.names)} corruption(s), clean {self.clean:.1%}, "
            f"corrupted {self.accuracy.mean():.1%}, model: {self.model.get('name')})"
        )

    @property
    def correct(self) -> np.ndarray:
        """Whether each answer is right (C, S, N) bool."""
        found: np.ndarray = (self.predictions == self.labels).numpy()
        return found

    @property
    def clean_correct(self) -> np.ndarray:
        """Whether each answer on the clean picture is right (N,) bool."""
        found: np.ndarray = (self.clean_predictions == self.labels).numpy()
        return found

    @property
    def clean(self) -> float:
        """Accuracy on the clean pictures."""
        return float(self.clean_correct.mean())

    @property
    def clean_interval(self) -> tuple[float, float]:
        """95 % interval of `clean` (Wilson)."""
        low, high = wilson(self.clean_correct.sum(), len(self))
        return float(low), float(high)

    @property
    def accuracy(self) -> np.ndarray:
        """Accuracy by corruption and severity (C, S)."""
        found: np.ndarray = self.correct.mean(2)
        return found

    @property
    def intervals(self) -> np.ndarray:
        """95 % intervals of `accuracy` (C, S, 2) (Wilson)."""
        return wilson(self.correct.sum(2), len(self))

    @property
    def errors(self) -> dict[str, list[float]]:
        """1 - accuracy by corruption, one for each severity: what `mce` takes."""
        return dict(zip(self.names, (1 - self.accuracy).tolist(), strict=True))

    @property
    def mce(self) -> CorruptionError | None:
        """Mean corruption error with bootstrap intervals.

        None unless the model has 1,000 classes and the fifteen corruptions of ImageNet-C were measured at severities 1
        to 5: AlexNet's errors are those on ImageNet.
        """
        if self.severities != _FIVE or self.model.get("classes") != _CLASSES or not set(IMAGENET_C) <= set(self.names):
            return None
        wrong = {name: ~rows for name, rows in zip(self.names, self.correct, strict=True) if name in IMAGENET_C}
        errors = {name: values for name, values in self.errors.items() if name in IMAGENET_C}
        return mce(errors, 1 - self.clean, wrong=wrong, clean_wrong=~self.clean_correct, seed=self.seed)

    @property
    def critical_severity(self) -> np.ndarray:
        """Smallest severity measured at which the answer is wrong, (C, N); 0 when it is wrong on the clean picture.

        nan when it never is. Monotone by definition: an answer that turns right again at a higher severity does not
        count as robust, so the share of pictures with a critical severity of at most s never falls with s.
        """
        steps = np.array([0.0, *self.severities, np.nan])
        clean = np.broadcast_to(~self.clean_correct, (len(self.names), 1, len(self)))
        never = np.ones_like(clean)
        found: np.ndarray = steps[np.concatenate([clean, ~self.correct, never], 1).argmax(1)]
        return found

    def first_errors(self, name: str) -> np.ndarray:
        """Return `critical_severity` of one corruption (N,).

        Raises:
            NameLookupError: it was not measured.
        """
        if name not in self.names:
            raise NameLookupError("corruption in this result", name, self.names)
        found: np.ndarray = self.critical_severity[self.names.index(name)]
        return found

    @property
    def table(self) -> "pd.DataFrame":
        """One row per corruption and severity: accuracy, interval, error; severity 0 of "clean" first."""
        import pandas as pd

        low, high = self.clean_interval
        rows = [("clean", 0.0, self.clean, low, high)]
        for name, shares, spans in zip(self.names, self.accuracy, self.intervals, strict=True):
            rows += [
                (name, severity, float(share), float(span[0]), float(span[1]))
                for severity, share, span in zip(self.severities, shares, spans, strict=True)
            ]
        table = pd.DataFrame(rows, columns=["corruption", "severity", "accuracy", "low", "high"])
        return table.assign(error=1 - table["accuracy"], pictures=len(self))

    def plot(self) -> Any:
        """Draw accuracy by corruption and severity, with intervals; return the matplotlib figure."""
        from xai.plots.robust import corruption_matrix

        return corruption_matrix(self)

    def png(self) -> bytes:
        """Return what `plot` draws as the bytes of a PNG file."""
        from xai.plots.robust import corruption_matrix, png

        return png(corruption_matrix)(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the single answers, JSON-ready."""
        found = self.mce
        return {
            "names": list(self.names),
            "severities": list(self.severities),
            "pictures": len(self),
            "clean": self.clean,
            "clean_interval": list(self.clean_interval),
            "accuracy": self.accuracy.tolist(),
            "intervals": self.intervals.tolist(),
            "mce": None if found is None else found.to_dict(),
            "seed": self.seed,
            "model": dict(self.model),
            "notes": list(self.notes),
            "versions": dict(self.versions),
        }

    def save(self, path: str | Path) -> Path:
        """Write everything into a folder; `CorruptionResult.load` reads it back.

        Raises:
            RecordError: the place cannot be written.
        """
        arrays = {name: getattr(self, name).numpy() for name in _ARRAYS}
        write_record(Path(path), _KIND, self.to_dict(), arrays, {})
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> "CorruptionResult":
        """Read a saved result; nothing in the files is executed.

        Raises:
            RecordError: no such result, or a damaged one.
        """
        fields, arrays = read_record(Path(path), _KIND)
        with restoring(path, _KIND):
            return cls._restored(fields, arrays)

    @classmethod
    def _restored(cls, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "CorruptionResult":
        count = len(arrays["labels"])
        if arrays["predictions"].shape != (len(fields["names"]), len(fields["severities"]), count):
            raise ValueError("shapes do not fit")
        return cls(
            names=tuple(map(str, fields["names"])),
            severities=tuple(float(severity) for severity in fields["severities"]),
            seed=int(fields["seed"]),
            model=dict(fields["model"]),
            notes=tuple(fields["notes"]),
            versions=dict(fields["versions"]),
            **{name: torch.from_numpy(arrays[name]) for name in _ARRAYS},
        )
