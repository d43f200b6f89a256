"""LIME."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from xai.core.results.message import Message
from xai.core.runtime.randomness import generator
from xai.core.validation import check_choice, check_number, check_whole
from xai.errors import ShapeError
from xai.explanations.explanation import Explanation
from xai.explanations.methods._masked import SEGMENTS, Fit, Masked, Segments, draw, weighted_ridge
from xai.explanations.methods.base import EXPLAINERS, Cost, Explainer, MethodInput, MethodOutput
from xai.explanations.methods.fills import WHOLE, Fill

ROUND = 250  # samples between two looks at whether the ranking is settled
TOP = 5  # regions whose ranking must be settled
LOW_FIT = 0.5
WAYS = ("lime",)


@EXPLAINERS.register("lime")
@dataclass(frozen=True, eq=False)
class Lime(Explainer):
    """Hides random sets of superpixels and fits a linear model of the score: a coefficient per region.

    Ridge regression of the score on which regions are shown, weighted by likeness to the whole image, exp(-d^2 / 2
    width^2) with d the cosine distance between the rows of ones and zeros, in closed form for all classes at once. Each
    coefficient has a 95 % interval (heteroscedasticity-consistent, HC1); R2 of the fit is in `details` and the notes.

    Misleads where the model is not linear in the regions (R2 says so), where the fill changes nothing, and where few
    samples leave the ranking to chance (the intervals say so).

    Args:
        samples: at most so many images are asked.
        segments: "slic", "quickshift", "felzenszwalb", "grid", or a label map (h, w) with any numbering.
        regions: about how many, for slic and grid.
        fill: what shows where a region is hidden: "mean" (its own mean colour), "zero", "blur", "noise", a number or a
            tensor in [0, 1].
        width: of the kernel.
        alpha: of the ridge.
        stop: ends early when the intervals of the five strongest regions no longer overlap.
        like: "lime" takes that library's way: quickshift, mean colours, probabilities, all samples.
        fast: low precision where the device is quicker in it and a check passes.

    Cost: `samples` rows forward of a prepared copy of the model, fewer with `stop`.
    Source: Ribeiro et al. 2016, equation 1 (arXiv 1602.04938); stopping as in Zhou et al. 2021 (arXiv 2106.07875).
    Differs: explains logits unless `like="lime"`. `to_lime` in this module gives lime's own ImageExplanation.
    """

    name: ClassVar[str] = "lime"
    title: ClassVar[str] = "LIME"
    family: ClassVar[str] = "regions"
    unit: ClassVar[str] = "change of the class score when shown"
    needs: ClassVar[tuple[str, ...]] = ()
    stochastic: ClassVar[bool] = True
    one_by_one: ClassVar[bool] = True
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"segments": SEGMENTS, "fill": WHOLE, "like": WAYS}

    samples: int = 1000
    segments: Segments = "slic"
    regions: int = 50
    fill: Fill = "mean"
    width: float = 0.25
    alpha: float = 1.0
    stop: bool = True
    like: str | None = None
    fast: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        check_choice("way of LIME", self.like, WAYS, optional=True)
        check_whole("samples", self.samples, 2)
        check_number("width", self.width, "(0, inf)")
        check_number("alpha", self.alpha, "[0, inf)")

    @property
    def cost(self) -> Cost:
        """One row per sample."""
        return Cost(forward=self.samples, backward=0)

    def _attribute(self, work: MethodInput) -> MethodOutput:
        as_lime = self.like == "lime"
        segments: Segments = "quickshift" if as_lime and isinstance(self.segments, str) else self.segments
        score = "probability" if as_lime and work.objective.score == "logit" else ""
        masked = Masked.of(work, segments, self.regions, "mean" if as_lime else self.fill, fast=self.fast, score=score)
        fit, used, settled = self._fit(work, masked)
        notes = [
            *masked.notes(used),
            _ranking(used, self.samples, settled, stop=self.stop and not as_lime),
            *_fits(fit),
        ]
        details = [
            {"segments": masked.hidden.labels, "samples": torch.tensor(used)} | fit.of(k)
            for k in range(len(work.inputs))
        ]
        return MethodOutput(
            masked.map_of(fit.coefficients), masked.targets, work.spread(masked.logits), notes=notes, details=details
        )

    def _fit(self, work: MethodInput, masked: Masked) -> tuple[Fit, int, bool]:
        """Ask in rounds; return the fit, the number of samples used, and whether the ranking is settled."""
        shown = draw((self.samples, masked.regions), generator(work.seed, work.keys[0]))
        shown[0] = True
        patient = not self.stop or self.like == "lime" or masked.regions < 2
        step = self.samples if patient else ROUND
        scores: list[Tensor] = []
        for start in range(0, self.samples, step):
            stop = min(self.samples, start + step)
            scores.append(masked.scores(shown[start:stop], start / self.samples, (stop - start) / self.samples))
            fit = fit_masks(shown[:stop], torch.cat(scores), self.width, self.alpha)
            if not patient and fit.settled(TOP):
                break
        return fit, stop, fit.settled(TOP)


def fit_masks(shown: Tensor, scores: Tensor, width: float, alpha: float) -> Fit:
    """Return LIME's linear model for coalitions and their scores.

    Args:
        shown: (n, K) bool, which regions are shown; the first row is usually the whole image.
        scores: (n, m), one column per class.
        width: of the kernel on the cosine distance to the whole image.
        alpha: of the ridge.
    """
    design = shown.to(scores.device).double()
    distance = 1 - (design.mean(1)).sqrt()
    weights = torch.exp(-distance.square() / (2 * width**2))
    return weighted_ridge(design, scores.double(), weights, alpha)


def _ranking(used: int, budget: int, settled: bool, *, stop: bool) -> Message:
    if settled:
        return Message(
            "the order of the strongest regions was settled after {count} of {total} samples",
            **{"count": used, "total": budget},
        )
    if stop:
        template = "the order of the strongest regions is not settled after {count} samples: raise `samples`"
        return Message(template, count=used)
    return Message("the order of the strongest regions is not settled after {count} samples", count=used)


def _fits(fit: Fit) -> list[Message]:
    worst = float(fit.r2.min())
    if worst >= LOW_FIT:
        return [Message("local fit: R2 = {r2:.2f}", r2=worst)]
    template = "local fit: R2 = {r2:.2f}, below {limit}: the model is not linear in these regions, so do not trust it"
    return [Message(template, r2=worst, limit=LOW_FIT)]


def to_lime(explanation: Explanation, k: int = 0) -> Any:
    """Return map `k` as the library lime's own ImageExplanation, with its images and masks.

    Args:
        explanation: of method "lime".
        k: number of the image, or of the class when one image was asked for several.

    Raises:
        ShapeError: an explanation of another method.

    Returns:
        lime.lime_image.ImageExplanation.
    """
    from lime.lime_image import ImageExplanation

    if not explanation.details or "coefficients" not in explanation.details[k] or explanation.method != "lime":
        raise ShapeError(f"Expected an explanation of method 'lime', but got {explanation.method!r}.")
    detail = explanation.details[k]
    original = torch.from_numpy(explanation.images[k]).permute(2, 0, 1).float() / 255
    pixels = explanation.geometries[k].apply(original, torch.full((len(original), 1, 1), 0.5)).permute(1, 2, 0)
    made = ImageExplanation(pixels.double().numpy(), detail["segments"].numpy())
    label, weights = int(explanation.targets[k]), detail["coefficients"].numpy()
    order = np.argsort(-np.abs(weights), kind="stable")
    made.top_labels = [label]
    made.intercept = {label: float(detail["intercept"])}
    made.local_exp = {label: [(int(region), float(weights[region])) for region in order]}
    made.score, made.local_pred = {label: float(detail["r2"])}, {label: float(detail["intercept"] + weights.sum())}
    return made
