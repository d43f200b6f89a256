"""GradientSHAP: expected gradients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai.core.results.message import Message
from xai.core.runtime.randomness import generator
from xai.core.validation import check_whole
from xai.errors import RangeError
from xai.explanations.methods._gradients import (
    BASELINES,
    baseline_images,
    clean_scores,
    completeness,
    completeness_note,
    error_note,
    mean_and_error,
    moments,
    scores_without_gradient,
    sum_of_slopes,
)
from xai.explanations.methods.base import EXPLAINERS, Cost, Explainer, MethodInput, MethodOutput
from xai.explanations.methods.fills import Fill


@EXPLAINERS.register("gradient_shap")
@dataclass(frozen=True)
class GradientSHAP(Explainer):
    """Integrated gradients averaged over several baselines, by sampling: no single baseline decides.

    attribution = mean over samples of (x - z) * d score / d pixel at z + a (x - z), the baselines z in turn and a
    uniform in [0, 1], stratified for each baseline. The values add up to score(x) - mean score(z) but for the sampling:
    how far they miss it is in `details` ("gap", "difference"), as is the standard error of each value.

    Misleads where the baselines are no neutral images for this model; the best are other images of its data, given
    as a tensor.

    Args:
        samples: gradients, shared among the baselines.
        baseline: names joined by "+": "black", "mean", "blur", "noise" (a fresh one each time); or one number; or a
            tensor of images (K, C, h, w) in [0, 1]; or a list of any of these.

    Cost: `samples` rows forward and back, one row forward for the image, each baseline and each noise; at most 64
    rows at once; all classes of one image share the forwards.
    Source: Erion et al. 2021, eq. 3 (arXiv 1906.10670); Lundberg's GradientExplainer. Differs: stratified places;
    baselines made from the image unless given; captum's version has no bound on rows and draws from torch's state.
    """

    name: ClassVar[str] = "gradient_shap"
    title: ClassVar[str] = "GradientSHAP"
    family: ClassVar[str] = "gradient"
    unit: ClassVar[str] = "logit"
    needs: ClassVar[tuple[str, ...]] = ("gradients",)
    stochastic: ClassVar[bool] = True
    one_by_one: ClassVar[bool] = True
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"baseline": BASELINES}

    samples: int = 48
    baseline: Fill | Sequence[Fill] = "black+blur+noise"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_whole("samples", self.samples)
        if self.samples < len(_listed(self.baseline)):
            raise RangeError(
                f"Expected `samples` of at least {len(_listed(self.baseline))}, one for each baseline, but got "
                f"{self.samples}."
            )

    @property
    def cost(self) -> Cost:
        """One row per sample, the image, and the baselines."""
        kinds = _listed(self.baseline)
        seen = sum(len(range(k, self.samples, len(kinds))) if _is_noise(kinds[k]) else 1 for k in range(len(kinds)))
        return Cost(forward=self.samples + seen + 1, backward=self.samples)

    def _attribute(self, work: MethodInput) -> MethodOutput:
        image = work.images
        logits, targets, clean = clean_scores(work)
        lines = _Paths(work, _listed(self.baseline), self.samples, targets)

        def weighted(slopes: Tensor, *_: int) -> Tensor:
            return moments(slopes * (image - lines.starts))

        mean, error = mean_and_error(sum_of_slopes(work, targets, self.samples, lines.points, weighted), self.samples)
        attribution = mean.to(image.dtype)
        details = completeness(attribution, clean[0] - lines.mean_score())
        for detail, row in zip(details, error.to(image.dtype), strict=True):
            detail["standard_error"] = row
        cure = Message("raise `samples`, or do not trust the values")
        gap = completeness_note(details, "f(image) - mean f(baselines)", cure)
        return MethodOutput(
            attribution, targets, work.spread(logits), notes=[gap, error_note(mean, error)], details=details
        )


class _Paths:
    """The lines from baselines to one image, and a point on each: sample k uses baseline k modulo their number.

    Attributes:
        starts: (r, C, h, w) where the lines of the last call of `points` begin.
    """

    def __init__(self, work: MethodInput, kinds: Sequence[Fill], samples: int, targets: Tensor) -> None:
        self.work, self.kinds, self.samples, self.targets = work, kinds, samples, targets
        self.fixed = torch.cat([baseline_images(work, kind) for kind in kinds])
        self.starts = self.fixed[:0]
        self._scores = work.images.new_zeros(samples, len(targets))

    def points(self, first: int, last: int) -> Tensor:
        """Return the points of samples first..last (r, C, h, w), and ask for the scores of baselines not seen yet."""
        samples = range(first, last)
        self.starts = torch.stack([self._start(k) for k in samples])
        new = torch.tensor([k for k in samples if self._is_new(k)], dtype=torch.int64, device=self.starts.device)
        if len(new):
            scores = scores_without_gradient(self.work, self.starts[new - first], self.targets)
            self._scores[new] = scores.to(self._scores.dtype)
        places = torch.tensor([self._place(k) for k in samples], dtype=self.starts.dtype, device=self.starts.device)
        return self.starts + places.view(-1, 1, 1, 1) * (self.work.images - self.starts)

    def mean_score(self) -> Tensor:
        """Return the mean score of all baselines (n,), after all points."""
        known = [k if self._is_new(k) else k % len(self.kinds) for k in range(self.samples)]
        return self._scores[known].mean(0)

    def _is_new(self, k: int) -> bool:
        return k < len(self.kinds) or _is_noise(self.kinds[k % len(self.kinds)])

    def _start(self, k: int) -> Tensor:
        if not _is_noise(self.kinds[k % len(self.kinds)]):
            return self.fixed[k % len(self.kinds)]
        image = self.work.images
        return torch.rand(image.shape[1:], generator=self._generator(2 * k)).to(image)

    def _place(self, k: int) -> float:
        """Return where on its line sample k lies, one in each of as many equal parts as its baseline has samples."""
        turn, kind = divmod(k, len(self.kinds))
        turns = len(range(kind, self.samples, len(self.kinds)))
        return (turn + float(torch.rand((), generator=self._generator(2 * k + 1)))) / turns

    def _generator(self, draw: int) -> torch.Generator:
        return generator(self.work.seed, self.work.keys[0], draw)


def _listed(baseline: Fill | Sequence[Fill]) -> list[Fill]:
    """Return the baselines one by one."""
    if isinstance(baseline, str):
        return [name.strip() for name in baseline.split("+")]
    if isinstance(baseline, Tensor):
        return list(baseline) if baseline.ndim == 4 else [baseline]
    return [image for each in baseline for image in _listed(each)] if isinstance(baseline, Sequence) else [baseline]


def _is_noise(kind: Fill) -> bool:
    return isinstance(kind, str) and kind == "noise"
