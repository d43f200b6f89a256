"""The rating of an explanation, and the agreement of several."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy
import torch
from torch import Tensor, nn

from xai.core.images.inputs import ImageLike
from xai.core.model.classifier import Classifier
from xai.core.model.objective import Target
from xai.core.results.codec import record_of, write_file
from xai.core.results.message import Message
from xai.core.results.result import Result
from xai.core.runtime.batching import Progress, ShouldStop
from xai.errors import RangeError, ShapeError
from xai.explanations.explanation import IMAGE_SUFFIXES, Explanation
from xai.explanations.methods.base import EXPLAINERS
from xai.explanations.metrics import overlap_of_best, spearman

if TYPE_CHECKING:
    import pandas as pd

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
        image_names: of the images.
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
    image_names: tuple[str, ...]
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


BASELINES = ("mean", "zero", "blur", "inpaint", "noise")


@dataclass(frozen=True, eq=False)
class Agreement(Result):
    """How far explanations of the same images agree.

    Attributes:
        names: of the explanations.
        explanations: the compared ones, in this order.
        rank_correlation: (M, M) Spearman, mean over images; 1 on the diagonal.
        overlap: (M, M) of the best 10 % of places: shared ones over all (Jaccard), mean over images.
        disagreements: per image (H, W) float32 in the original's pixels: the standard deviation between the maps,
            each divided by its largest absolute value; 0 where all agree.
        provenance: that of the first explanation.
        notes: of all explanations, each once.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(1)
        >>> found = xai.agreement([xai.explain(clf, data.images[0], name) for name in ("gradcam", "occlusion")])
        >>> found.names
        ('gradcam', 'occlusion')
    """

    _kind: ClassVar[str] = "agreement"

    names: tuple[str, ...]
    explanations: tuple[Explanation, ...]
    rank_correlation: np.ndarray
    overlap: np.ndarray
    disagreements: tuple[np.ndarray, ...]

    @property
    def table(self) -> "pd.DataFrame":
        """Rank correlation with names."""
        import pandas as pd

        return pd.DataFrame(self.rank_correlation, index=self.names, columns=self.names)

    def plot(self, k: int = 0, **settings: Any) -> Any:
        """Draw the maps of image `k` side by side and where they disagree; return the matplotlib figure."""
        from xai.plots.explanations import agreement_figure

        return agreement_figure(self, k=k, **settings)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the overlays side by side (a path ending in .png, .jpg, .pdf or .svg) or everything (a folder).

        Returns:
            The path.

        Raises:
            RecordError: the place cannot be written.
        """
        from xai.plots.explanations import render_side_by_side

        path = Path(path)
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            return super().save(path)
        write_file(path, render_side_by_side(self.explanations, path.suffix.lower().lstrip(".")))
        return path

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the maps, JSON-ready."""
        record = super().to_dict()
        for name in ("explanations", "disagreements"):
            del record[name]
        return record | {
            "rank_correlation": self.rank_correlation.round(6).tolist(),
            "overlap": self.overlap.round(6).tolist(),
            "largest_disagreement": [float(spread.max()) for spread in self.disagreements],
        }


def agreement(explanations: Sequence[Explanation] | Mapping[str, Explanation]) -> Agreement:
    """Compare explanations of the same images and classes.

    Args:
        explanations: two or more of `xai.explain`, by name or in a list (then named by method).

    Returns:
        Agreement; `.rank_correlation`, `.overlap`, `.disagreements`, `.plot()`.

    Raises:
        RangeError: fewer than two.
        ShapeError: of different images.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(1)
        >>> maps = {name: xai.explain(clf, data.images[0], name) for name in ("gradcam", "saliency")}
        >>> xai.agreement(maps).rank_correlation.shape
        (2, 2)
    """
    named = dict(explanations) if isinstance(explanations, Mapping) else _named(explanations)
    if len(named) < 2:
        raise RangeError(f"Expected two or more explanations to compare, but got {len(named)}.")
    every = tuple(named.values())
    maps = [e.attribution.sum(1).float() for e in every]
    if len({tuple(m.shape) for m in maps}) > 1 or len({e.image_names for e in every}) > 1:
        raise ShapeError("Expected explanations of the same images, but got others. Explain the same images.")
    count = len(maps)
    ranks, best = np.eye(count), np.eye(count)
    for i in range(count):
        for j in range(i):
            pairs = list(zip(maps[i], maps[j], strict=True))
            ranks[i, j] = ranks[j, i] = np.mean([spearman(a, b) for a, b in pairs])
            best[i, j] = best[j, i] = np.mean([overlap_of_best(a, b) for a, b in pairs])
    spread, notes = _disagreements(every, torch.stack(maps)), [note for e in every for note in e.notes]
    return Agreement(
        *(tuple(named), every, ranks, best, spread),
        provenance=every[0].provenance,
        notes=tuple(dict.fromkeys(notes)),
    )


def _named(explanations: Sequence[Explanation]) -> dict[str, Explanation]:
    by_name: dict[str, Explanation] = {}
    for explanation in explanations:
        name, number = explanation.method, 2
        while name in by_name:
            name, number = f"{explanation.method} {number}", number + 1
        by_name[name] = explanation
    return by_name


def _disagreements(every: Sequence[Explanation], maps: Tensor) -> tuple[np.ndarray, ...]:
    scaled = maps / maps.flatten(2).abs().amax(2)[:, :, None, None].clamp_min(1e-30)
    spread = scaled.std(0, correction=0)
    return tuple(every[0].geometries[k].back(deviation).float().numpy() for k, deviation in enumerate(spread))


def compare_baselines(
    model: Classifier | nn.Module,
    image: ImageLike,
    method: str = "occlusion",
    baselines: Sequence[Any] = BASELINES,
    target: Target = None,
    seed: int = 0,
    *,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
    **settings: Any,
) -> Agreement:
    """Explain with several fills for what is hidden: a claim that holds for one of them only is no claim.

    Args:
        model: from `xai.load`, a classifier, or a bare module.
        image: as in `xai.explain`.
        method: one with a `baseline` or `fill` setting.
        baselines: the fills.
        target: as in `xai.explain`.
        seed: fixes everything random.
        progress: as in `xai.explain`, begun anew for each fill.
        should_stop: as in `xai.explain`.
        settings: of the method.

    Returns:
        Agreement: one explanation per fill, and the map of where they disagree.

    Raises:
        RangeError: the method has no fill to vary.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(1)
        >>> fills = xai.compare_baselines(clf, data.images[0], "occlusion")
        >>> len(fills.names) > 1
        True
    """
    maker = EXPLAINERS[method]
    knob = next((name for name in ("baseline", "fill") if hasattr(maker, name)), None)
    if knob is None:
        able = [
            name for name in EXPLAINERS if hasattr(EXPLAINERS[name], "baseline") or hasattr(EXPLAINERS[name], "fill")
        ]
        raise RangeError(f"Expected a method that hides pixels, one of {able}, but got {method!r}.")
    explanations = {
        _label(fill): maker(**{knob: fill}, **settings).explain(
            model, image, target, seed=seed, progress=progress, should_stop=should_stop
        )
        for fill in baselines
    }
    return agreement(explanations)


def _label(fill: Any) -> str:
    return (
        fill
        if isinstance(fill, str)
        else f"{fill:g}"
        if isinstance(fill, int | float)
        else f"own {type(fill).__name__}"
    )
