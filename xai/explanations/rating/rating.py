"""The result of rating: checks with figures, one verdict, reasons in plain words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy

from xai.core.results.codec import record_of
from xai.core.results.message import Message
from xai.core.results.result import Result

VERDICTS = ("trust", "doubt", "reject")  # from good to bad
MEANINGS = {
    "trust": Message("the map is faithful to this model; whether the model is right is another question"),
    "doubt": Message("whether the map is faithful to this model is in doubt"),
    "reject": Message("the map is not faithful to this model"),
}


@dataclass(frozen=True)
class MapCheck:
    """One question to an explanation.

    Attributes:
        name: what is asked.
        verdict: "trust", "doubt", "reject", or "not checked".
        reason: one sentence.
        values: the figures behind it.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(1)
        >>> rating = xai.rate_explanation(clf, data.images[0], xai.explain(clf, data.images[0]))
        >>> rating.checks[0][0].verdict in {"trust", "doubt", "reject", "not checked"}
        True
    """

    name: str
    verdict: str
    reason: str
    values: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        return record_of(self)


@dataclass(frozen=True, repr=False)
class Rating(Result):
    """Whether explanations can be believed, for one image or for N.

    Attributes:
        checks: per image, what was asked and found.
        verdicts: per image: the worst verdict of its checks.
        method: of the explanations.
        target_names: names of the explained classes.
        names: of the images.
        curves: per image: shares of pixels removed, and the fall of the score with the most and the least relevant
            first, as lists.
        provenance: model, seed and versions.
        notes: what is to be known of the model, and what was done to the images.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(1)
        >>> rating = xai.rate_explanation(clf, data.images[0], xai.explain(clf, data.images[0]))
        >>> rating.verdict in {"trust", "doubt", "reject"}
        True
    """

    _kind: ClassVar[str] = "rating"
    _derived: ClassVar[tuple[str, ...]] = ("verdict", "meaning", "reasons")

    checks: tuple[tuple[MapCheck, ...], ...]
    verdicts: tuple[str, ...]
    method: str
    target_names: tuple[str, ...]
    names: tuple[str, ...]
    curves: tuple[Mapping[str, list[float]], ...]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.verdicts)

    @property
    def verdict(self) -> str:
        """The verdict of one image; of several the one that at least half of the images reach, counted from the bad."""
        bad_first = sorted((VERDICTS.index(verdict) for verdict in self.verdicts), reverse=True)
        return VERDICTS[bad_first[(len(bad_first) - 1) // 2]]

    @property
    def meaning(self) -> str:
        """What the verdict says, in one sentence: of the map and this model, not of whether the model is right.

        Example:
            >>> import xai
            >>> clf = xai.load("example:fashion")
            >>> image = xai.load_data("example:fashion-test").images[0]
            >>> xai.rate_explanation(clf, image, xai.explain(clf, image)).meaning.count("faithful")
            1
        """
        return MEANINGS[self.verdict]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, worst first, each sentence once."""
        every = [check for checks in self.checks for check in checks if check.verdict in VERDICTS]
        every.sort(key=lambda check: VERDICTS.index(check.verdict), reverse=True)
        return tuple(dict.fromkeys(check.reason for check in every))

    @property
    def intervals(self) -> dict[str, tuple[float, float, float]]:
        """Mean over images and its 95 % interval for each figure: {"check: figure": (mean, low, high)}.

        With one image the interval is the whole line: one image says nothing about others.
        """
        intervals: dict[str, list[float]] = {}
        for checks in self.checks:
            for check in checks:
                for name, value in check.values.items():
                    intervals.setdefault(f"{check.name}: {name}", []).append(value)
        return {name: _interval(values) for name, values in intervals.items()}

    def plot(self, k: int = 0) -> Any:
        """Draw the removal curves of image `k` beside the checks; return the matplotlib figure."""
        from xai.plots.explanations import rating_figure

        return rating_figure(self, k=k)

    def __repr__(self) -> str:
        """Verdict and the first reason."""
        return f"Rating({self.verdict!r}, {self.method}, {len(self)} image(s): {next(iter(self.reasons), '')})"

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        intervals = {name: [_finite(value) for value in values] for name, values in self.intervals.items()}
        return super().to_dict() | {"intervals": intervals}


def _interval(values: list[float]) -> tuple[float, float, float]:
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, -float("inf"), float("inf")
    half = float(scipy.stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return mean, mean - half, mean + half


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
