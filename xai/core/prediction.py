"""What a classifier answered."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Prediction:
    """Answers for one image, or for N.

    Attributes:
        labels: names of all classes.
        logits: (N, K) on the CPU.
        probabilities: (N, K) on the CPU.
        single: one image was given, so that `label`, `index` and `probability` are plain values.
        notes: what was done to the pictures, and what looks odd.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(1)
        >>> answer = clf.predict(data.images[0])
        >>> answer.label in clf.labels, len(answer.top(3))
        (True, 3)
    """

    labels: tuple[str, ...]
    logits: Tensor = field(repr=False)
    probabilities: Tensor = field(repr=False)
    single: bool
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.logits)

    def __getitem__(self, k: int) -> "Prediction":
        """Return the answer for image `k`."""
        row = slice(k, k + 1) if k >= 0 else slice(len(self) + k, len(self) + k + 1)
        if not 0 <= row.start < len(self):
            raise IndexError(f"Expected an image number below {len(self)}, but got {k}.")
        return Prediction(self.labels, self.logits[row], self.probabilities[row], single=True, notes=self.notes)

    def __iter__(self) -> Iterator["Prediction"]:
        """Iterate over the images."""
        return (self[k] for k in range(len(self)))

    @property
    def index(self) -> Any:
        """Index of the most probable class: an int, or a tensor (N,) int64."""
        found = self.probabilities.argmax(1)
        return int(found[0]) if self.single else found

    @property
    def label(self) -> Any:
        """Name of the most probable class: a string, or a list of N."""
        names = [self.labels[int(k)] for k in self.probabilities.argmax(1)]
        return names[0] if self.single else names

    @property
    def probability(self) -> Any:
        """Probability of the most probable class: a float, or a tensor (N,)."""
        found = self.probabilities.amax(1)
        return float(found[0]) if self.single else found

    def top(self, k: int = 5) -> list[Any]:
        """Return the `k` most probable classes as (label, probability), best first; N such lists for N images."""
        values, places = self.probabilities.topk(min(k, self.probabilities.shape[1]), dim=1)
        rows = [
            [(self.labels[int(place)], float(value)) for value, place in zip(row, where, strict=True)]
            for row, where in zip(values, places, strict=True)
        ]
        return rows[0] if self.single else rows

    def to_dict(self) -> dict[str, Any]:
        """Return index, label, probability and the top five of each image, JSON-ready."""
        images = [{"index": p.index, "label": p.label, "probability": p.probability, "top": p.top()} for p in self]
        return {"images": images, "notes": list(self.notes)}
