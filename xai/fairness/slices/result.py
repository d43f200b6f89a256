"""The report on weak slices: each in words, with figures from images that it was not found on."""

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from xai.core.results.message import frame_of
from xai.core.results.result import Result

if TYPE_CHECKING:
    import pandas as pd

WEAK, WITHIN, NONE, TOO_SMALL = "weak", "within another", "no evidence", "too small to tell"


@dataclass(frozen=True)
class Slice:
    """A part of the images that was suspicious on one half, and what the other half says.

    Attributes:
        words: what it is.
        rule: how it is computed, from measured properties, classes or clusters of the embeddings.
        kind: "rule" or "cluster".
        images: in the half that judges.
        accuracy: of these.
        accuracy_interval: 95 %, Wilson.
        rest: accuracy of all other images of that half.
        gap: rest less accuracy.
        gap_interval: 95 %, Newcombe.
        p: exact, one-sided: answers are wrong no more often inside than outside (Fisher); with several conditions each
            of them must matter.
        p_adjusted: corrected for all slices that were tested (Benjamini-Hochberg).
        detectable: the smallest gap that a slice of this size would show four times in five.
        confused: the most frequent wrong answer, "" when there is none.
        found_accuracy: in the half where it was found; too low, since it was chosen for that.
        found_images: in that half.
        within: words of the weak slice that says the same; "" when there is none.
        verdict: "weak", "within another" (weak, but so are images of that one), "no evidence" or "too small to tell".
        reason: one sentence.
    """

    words: str
    rule: str
    kind: str
    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    rest: float
    gap: float
    gap_interval: tuple[float, float]
    p: float
    p_adjusted: float
    detectable: float
    confused: str
    found_accuracy: float
    found_images: int
    within: str
    verdict: str
    reason: str

    def __str__(self) -> str:
        """Return the sentence."""
        return self.reason


@dataclass(frozen=True, eq=False, repr=False)
class SliceResult(Result):
    """What was found about S slices of data of which N images judge.

    Attributes:
        slices: that were tested, the most certain first (S).
        rows: (N,) int64, which images of the data judge.
        labels: (N,) int64, the truth.
        predictions: (N,) int64, the answers.
        members: (S, N) bool.
        images: (M, C, h, w) some wrong ones of each weak slice, in the model's input geometry; empty without a model.
        shown: (M, 2) int64, number of the slice, and of the image among those that judge.
        names: of the images shown (M).
        class_names: of the model.
        provenance: model (empty for stored predictions), settings, seed of halves and clustering, name of the data.
        notes: what was done and what to beware of.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(300)
        >>> found = xai.slices(clf, data)
        >>> isinstance(found.findings, tuple)
        True
    """

    _kind: ClassVar[str] = "slice report"
    _derived: ClassVar[tuple[str, ...]] = ("findings",)

    slices: tuple[Slice, ...]
    rows: np.ndarray = field(repr=False)
    labels: np.ndarray
    predictions: np.ndarray
    members: np.ndarray
    images: np.ndarray
    shown: np.ndarray
    names: tuple[str, ...]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of slices tested."""
        return len(self.slices)

    def __repr__(self) -> str:
        """Size and findings."""
        findings = "; ".join(s.words for s in self.findings) or "none"
        return f"SliceResult({len(self)} slices tested on {len(self.labels)} images, weak: {findings})"

    def __str__(self) -> str:
        """Return the findings in words."""
        return "\n".join(s.reason for s in self.findings) or f"no weak slice found ({len(self)} tested)"

    @property
    def findings(self) -> tuple[Slice, ...]:
        """The weak slices that say something of their own, most certain first; empty: nothing found."""
        return tuple(line for line in self.slices if line.verdict == WEAK)

    @property
    def table(self) -> "pd.DataFrame":
        """One row per slice tested, the weak ones first."""
        rows = frame_of(self.slices, [f.name for f in fields(Slice)])
        for name in ("accuracy_interval", "gap_interval"):
            ends = rows.pop(name).tolist()
            short = name.removesuffix("_interval")
            rows[f"{short}_low"], rows[f"{short}_high"] = ([pair[k] for pair in ends] for k in (0, 1))
        return rows.sort_values("verdict", key=lambda v: v != WEAK, kind="stable").reset_index(drop=True)

    def members_of(self, line: Slice) -> np.ndarray:
        """Return which images of the data, among those that judge, belong to a slice of this report."""
        return np.asarray(self.rows[self.members[self.slices.index(line)]])

    def plot(self) -> Any:
        """Draw the accuracy of each weak slice with some of its wrong images; return the matplotlib figure."""
        from xai.plots.fairness import slices_figure

        return slices_figure(self)
