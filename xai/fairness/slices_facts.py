"""What is known of every picture, and conditions on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from xai.fairness.properties import PROPERTIES

CLASS, NEAREST = "class", "nearest class"


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of N pictures.

    Attributes:
        wrong: (N,) bool, whether the answer is.
        properties: by name, (N,) numbers.
        codes: by name, (N,) int64: the class, the nearest other class, clusters.
        classes: names.
    """

    wrong: np.ndarray
    properties: Mapping[str, np.ndarray]
    codes: Mapping[str, np.ndarray]
    classes: Sequence[str] = field(repr=False)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.wrong)

    @property
    def labels(self) -> np.ndarray:
        """The truth (N,)."""
        return self.codes[CLASS]

    @property
    def clusters(self) -> list[str]:
        """Names of the clusterings."""
        return [name for name in self.codes if name not in {CLASS, NEAREST}]

    def take(self, rows: np.ndarray) -> "Facts":
        """Return the facts of some pictures."""
        properties, codes = ({n: v[rows] for n, v in part.items()} for part in (self.properties, self.codes))
        return Facts(self.wrong[rows], properties, codes, self.classes)


@dataclass(frozen=True)
class Condition:
    """One condition on a picture.

    Attributes:
        column: a property or a code.
        low: that a property must be above; or
        high: that it must not be above; or
        value: that a code must have.
    """

    column: str
    low: float | None = None
    high: float | None = None
    value: int | None = None

    def holds(self, facts: Facts) -> np.ndarray:
        """Return (N,) bool."""
        if self.value is not None:
            return np.asarray(facts.codes[self.column] == self.value)
        values = facts.properties[self.column]
        return np.asarray(values > self.low if self.low is not None else values <= self.high)

    def rule(self, classes: Sequence[str]) -> str:
        """Return the condition as it is computed."""
        if self.value is not None:
            named = self.column in {CLASS, NEAREST}
            return f"{self.column} is {classes[self.value]!r}" if named else f"{self.column} is {self.value}"
        return f"{self.column} > {self.low:.4g}" if self.low is not None else f"{self.column} <= {self.high:.4g}"


def describe(conditions: Sequence[Condition], classes: Sequence[str]) -> str:
    """Return conditions in words: "dark and low-contrast pictures of class 'Shirt'"."""
    before: list[str] = []
    behind: list[str] = []
    for each in conditions:
        if each.value is not None:
            near = each.column == NEAREST
            behind.append(f"that look like {classes[each.value]!r}" if near else f"of class {classes[each.value]!r}")
        else:
            word = _word(each)
            (behind if word.startswith("with ") else before).append(word)
    behind.sort(key=lambda words: not words.startswith("of class"))
    return " ".join([part for part in (" and ".join(before), "pictures") if part] + behind)


def _word(condition: Condition) -> str:
    name = condition.column
    if name in PROPERTIES:
        return PROPERTIES[name].low if condition.low is None else PROPERTIES[name].high
    return f"with low {name}" if condition.low is None else f"with high {name}"
