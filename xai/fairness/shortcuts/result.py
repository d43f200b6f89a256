"""The report on shortcuts: one line per probe, dose-responses, images."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from xai.core.results.message import frame_of
from xai.core.results.result import Result
from xai.stats.intervals import Interval, mean, wilson

if TYPE_CHECKING:
    import pandas as pd

SHORTCUT, WITHIN, UNCONFIRMED, SENSITIVITY, FRAGILE, NONE, TOO_SMALL = (
    "shortcut",
    "within another",
    "not confirmed",
    "sensitivity",
    "fragile",
    "no evidence",
    "too small to tell",
)
FINDING, INCONCLUSIVE = "finding", "inconclusive"
_SEARCHED = 0.5  # share of the images whose classes were searched, below which silence says nothing


@dataclass(frozen=True)
class ProbeSummary:
    """What a probe is, and what of it the data have; attributes as of `Response`."""

    probe: str
    place: str
    words: str
    box: tuple[int, int, int, int] | None
    label: str
    target: int
    from_data: bool
    carried: float | None
    carried_elsewhere: float | None
    auroc: float | None
    auroc_p: float | None
    strength: float


@dataclass(frozen=True)
class Evidence:
    """The figures about a probe and its class, at its strength; intervals are 95 %.

    Attributes:
        images: of other classes, right when clean.
        attraction: share of them that the probe attracts to the class.
        flips: share of them that the probe makes wrong.
        neutral: share that an equally large neutral change attracts to the class (the strongest one).
        neutral_flips: share that it makes wrong (the worst one).
        excess: attraction minus neutral.
        beyond: attraction minus neutral flips.
        members: images of the class itself.
        leaning: of these, share recognised with the probe minus share recognised without.
        p: that `excess` is not above 0, and where the data do not have the probe that neither `beyond` nor `leaning`
            is; exact.
    """

    images: int
    attraction: float
    attraction_interval: Interval
    flips: float
    flips_interval: Interval
    neutral: float
    neutral_flips: float
    excess: float
    excess_interval: Interval
    beyond: float
    beyond_interval: Interval
    members: int
    leaning: float
    leaning_interval: Interval
    p: float


@dataclass(frozen=True)
class Response(Evidence, ProbeSummary):
    """How the model responds to one probe, in the form and at the strength that were chosen on other images.

    Shares are of images that are right without the probe; intervals are 95 %.

    Attributes:
        probe: kind.
        place: where, in words.
        words: what, in words.
        box: (top, left, bottom, right) of the region in the model's input, in pixels; None for what is everywhere.
        label: name of the class that it attracts to.
        target: its index.
        from_data: whether the probe was found in the data; otherwise it is one of those that are tried on every model.
        carried: share of the images of `label` that carry it; None unless found, as the next three.
        carried_elsewhere: share of the images of other classes.
        auroc: how well carrying it tells the class, on images in which it was not looked for.
        auroc_p: one-sided p-value that it does not (Mann-Whitney), Holm-adjusted for all probes and classes.
        strength: share of the full probe.
        images: of other classes.
        attraction: share of them turned into `label`.
        flips: share of them made wrong.
        neutral: share turned into `label` by the strongest equally large control.
        neutral_flips: share made wrong by the worst of them.
        excess: attraction minus neutral.
        beyond: attraction minus neutral flips.
        members: images of `label` itself.
        leaning: share of them recognised with the probe minus share recognised without.
        p: exact, of paired tests (McNemar) against each control.
        p_adjusted: corrected for all probes and classes (Holm).
        strength_10: at which 10 % of all right images are wrong; None when it is not reached.
        strength_10_interval: None at an end that is not reached.
        lift: share of the explanations' attribution inside the region over its share of the area; None when not looked
            at.
        removed: share that leaves `label` when the probe is taken out: of images of the class that carry it where it
            was found in the data, else of images that it turned. None when not looked at.
        removed_beyond: that, minus the share under an equally large control; None also where the control is what the
            same does to other classes.
        removed_p: that taking it out lowers the class's log odds no more than the control does; None unless found.
        verdict: "shortcut", "within another" (of the same class), "not confirmed" (a class follows it, and neither the
            data nor what happens when it is taken out explain why), "sensitivity" (turns images into a class, but is
            not what the class has in the data), "fragile" (wrong, but not into one class), "no evidence" or "too
            small to tell".
        reason: one sentence.
    """

    p_adjusted: float
    strength_10: float | None
    strength_10_interval: tuple[float | None, float | None]
    lift: float | None
    lift_interval: Interval | None
    removed: float | None
    removed_interval: Interval | None
    removed_beyond: float | None
    removed_beyond_interval: Interval | None
    removed_p: float | None
    verdict: str
    reason: str

    def __str__(self) -> str:
        """Return the sentence."""
        return self.reason


@dataclass(frozen=True, eq=False, repr=False)
class ShortcutResult(Result):
    """Results on U probes at S strengths on N images. No probe was chosen on these images.

    Attributes:
        responses: one per probe (U).
        strengths: increasing (S).
        image_names: of the images (N).
        labels: (N,) int64, the truth.
        clean: (N,) int64, answers to the images as they are.
        clean_true_class_probability: (N,) probability of the true class.
        predictions: (U, S, N) int64, answers with each probe.
        true_class_probability: (U, S, N) probability of the true class.
        before: (M, C, h, w) some images that a probe turned, in the model's input geometry.
        after: (M, C, h, w) with the probe.
        heatmaps: (M, h, w) explanations of the class they became, positive values.
        shown: (M, 2) int64, number of the probe and of the image.
        class_names: of the model.
        provenance: model, settings, seed of everything random, name of the data.
        notes: what was done and what to beware of.

    Example:
        >>> import xai
        >>> data = xai.load_data("example:fashion-test").subset(200)
        >>> found = xai.shortcuts(xai.load("example:fashion-shortcut"), data, probes=["corner_mark"], samples=60)
        >>> found.table.shape[0] >= 1
        True
    """

    _kind: ClassVar[str] = "shortcut report"
    _derived: ClassVar[tuple[str, ...]] = ("findings",)

    responses: tuple[Response, ...]
    strengths: tuple[float, ...]
    image_names: tuple[str, ...]
    labels: np.ndarray = field(repr=False)
    clean: np.ndarray
    clean_true_class_probability: np.ndarray
    predictions: np.ndarray
    true_class_probability: np.ndarray
    before: np.ndarray
    after: np.ndarray
    heatmaps: np.ndarray
    shown: np.ndarray
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of probes."""
        return len(self.responses)

    def __repr__(self) -> str:
        """Size and findings."""
        findings = "; ".join(f"{r.probe} ({r.place}) -> {r.label}" for r in self.findings) or "none"
        return f"ShortcutResult({len(self)} probes, {len(self.labels)} images, {self.verdict}, shortcuts: {findings})"

    def __str__(self) -> str:
        """Return the findings in words."""
        return "\n".join(r.reason for r in self.findings) or f"no shortcut found ({len(self)} probes): {self.verdict}"

    @property
    def verdict(self) -> str:
        """What follows for the model.

        "finding": it follows a shortcut. "inconclusive": one class follows a probe more than controls, and nothing
        explains why. "too small to tell": too few images to rule out a pull of `least`, or to look for what sets the
        classes of most images apart. Otherwise "no evidence".
        """
        verdicts = {response.verdict for response in self.responses}
        if self.settings.get("searched", 1.0) < _SEARCHED:
            verdicts.add(TOO_SMALL)
        for verdict, word in ((SHORTCUT, FINDING), (UNCONFIRMED, INCONCLUSIVE), (TOO_SMALL, TOO_SMALL)):
            if verdict in verdicts:
                return word
        return NONE

    @property
    def findings(self) -> tuple[Response, ...]:
        """The shortcuts, strongest first; empty: nothing found."""
        shortcuts = [response for response in self.responses if response.verdict == SHORTCUT]
        return tuple(sorted(shortcuts, key=lambda response: -response.excess))

    @property
    def table(self) -> "pd.DataFrame":
        """One row per probe, the suspicious ones first."""
        rows = frame_of(self.responses)
        order = {
            verdict: k
            for k, verdict in enumerate((SHORTCUT, WITHIN, UNCONFIRMED, SENSITIVITY, FRAGILE, TOO_SMALL, NONE))
        }
        ranks = rows["verdict"].map(order)
        return (
            rows.assign(rank=ranks)
            .sort_values(["rank", "excess"], ascending=[True, False])
            .drop(columns="rank")
            .reset_index(drop=True)
        )

    @property
    def doses(self) -> "pd.DataFrame":
        """One row per probe and strength, on the images that are right without it.

        Share made wrong and share turned into the attractor with 95 % Wilson intervals, mean change of the true class's
        probability with a 95 % t interval.
        """
        import pandas as pd

        right = self.clean == self.labels
        rows = []
        for k, response in enumerate(self.responses):
            others = right & (self.labels != response.target)
            for level, strength in enumerate(self.strengths):
                predictions = self.predictions[k, level]
                low, high = wilson((predictions != self.labels)[right].sum(), int(right.sum()))
                attracted = (predictions == response.target)[others]
                attraction_low, attraction_high = wilson(attracted.sum(), int(others.sum()))
                change, span = mean((self.true_class_probability[k, level] - self.clean_true_class_probability)[right])
                rows.append(
                    {"probe": response.probe, "place": response.place, "label": response.label, "strength": strength}
                    | {"flips": (predictions != self.labels)[right].mean(), "flips_low": low, "flips_high": high}
                    | {
                        "attraction": attracted.mean(),
                        "attraction_low": attraction_low,
                        "attraction_high": attraction_high,
                    }
                    | {"true_class_probability_change": change}
                    | {"true_class_probability_low": span[0], "true_class_probability_high": span[1]}
                )
        return pd.DataFrame(rows)

    def plot(self) -> Any:
        """Draw dose-responses and the images that were turned; return the matplotlib figure."""
        from xai.plots.fairness import shortcuts_figure

        return shortcuts_figure(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the images, JSON-ready."""
        doses = self.doses.replace([np.inf, -np.inf], None)
        return super().to_dict() | {"doses": doses.to_dict("records")}
