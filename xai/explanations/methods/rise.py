"""RISE."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import scipy
import torch
from torch import Tensor
from torch.nn import functional as F

from xai.core.results.message import Message
from xai.core.runtime.randomness import generator
from xai.core.validation import check_number, check_whole
from xai.engine.prepare import SAMPLE, Prepared, in_low_precision, prepare
from xai.explanations.methods.base import EXPLAINERS, Cost, Explainer, MethodInput, MethodOutput
from xai.explanations.methods.fills import WHOLE, Fill, fill_image


@EXPLAINERS.register("rise")
@dataclass(frozen=True, eq=False)
class Rise(Explainer):
    """Shows the image through random soft masks; a pixel's value is the slope of the score on how far it was shown.

    Masks are coarse random grids, enlarged smoothly and shifted. value_i = Cov(mask_i, score) / Var(mask_i), which has
    no bias towards the mean score, with a 95 % interval of each pixel's slope in `details`.

    Misleads where the fill takes part in the answer; noisy with few masks (the intervals say so).

    Args:
        samples: number of masks.
        grid: cells of a mask along a side.
        probability: of a cell to be shown.
        fill: what shows elsewhere: "zero", "mean", "blur", "noise", a number or a tensor in [0, 1].
        fast: low precision where the device is quicker in it and a check passes.

    Cost: `samples` rows forward of a prepared copy of the model; memory does not grow with them.
    Source: Petsiuk et al. 2018, section 3 (arXiv 1806.07421). Differs: slope instead of the mean of masks weighted by
    score, whose offset is the mean score.
    """

    name: ClassVar[str] = "rise"
    title: ClassVar[str] = "RISE"
    family: ClassVar[str] = "occlusion"
    unit: ClassVar[str] = "change of the class score when shown"
    needs: ClassVar[tuple[str, ...]] = ()
    stochastic: ClassVar[bool] = True
    one_by_one: ClassVar[bool] = True
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"fill": WHOLE}

    samples: int = 2000
    grid: int = 7
    probability: float = 0.5
    fill: Fill = "zero"
    fast: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        check_whole("samples", self.samples, 3)
        check_whole("grid", self.grid)
        check_number("probability", self.probability, "(0, 1)")

    @property
    def cost(self) -> Cost:
        """One row per mask."""
        return Cost(forward=self.samples, backward=0)

    def _attribute(self, work: MethodInput) -> MethodOutput:
        prepared = prepare(work.classifier, work.images)
        logits = prepared.logits(work.images).to(work.inputs.dtype)
        targets, size = work.targets(logits), (work.images.shape[2], work.images.shape[3])
        filled = fill_image(work.images, self.fill, key=work.keys[0], seed=work.seed)
        sums = _MaskSums(work.scores(logits, targets)[0].double(), size)

        def ask(model: Prepared, start: int, stop: int) -> tuple[Tensor, Tensor]:
            masks = torch.stack([self._mask(size, generator(work.seed, work.keys[0], k)) for k in range(start, stop)])
            masks = masks.to(work.images)
            shown = filled + masks[:, None] * (work.images - filled)
            return masks.flatten(1).double(), work.scores(model.logits(shown).double(), targets)

        def falls(model: Prepared) -> Tensor:
            return work.scores(model.logits(work.images).double(), targets) - ask(model, 0, SAMPLE)[1]

        model, note = in_low_precision(prepared, falls) if self.fast else (prepared, "")
        limit = model.row_limit(work.images.expand(min(64, self.samples), -1, -1, -1), most=32)
        work.run_rows(lambda start, stop: sums.add(*ask(model, start, stop)), self.samples, limit)
        slope, half = (v.view(len(targets), 1, *size).to(work.inputs.dtype) for v in sums.slopes())
        share = float((slope.abs() > half).double().mean())
        template = "{count} masks; {share:.0%} of the pixels differ from 0 at the 95 % level"
        notes = [Message(template, count=self.samples, share=share)]
        details = [{"low": (mean - wide)[0], "high": (mean + wide)[0]} for mean, wide in zip(slope, half, strict=True)]
        return MethodOutput(
            slope, targets, work.spread(logits), notes=[*notes, *([note] if note else [])], details=details
        )

    def _mask(self, size: tuple[int, int], source: torch.Generator) -> Tensor:
        """Return one mask (h, w) in [0, 1]."""
        cells = [-(-side // self.grid) for side in size]
        coarse = (torch.rand(1, 1, self.grid + 1, self.grid + 1, generator=source) < self.probability).float()
        large = F.interpolate(coarse, [(self.grid + 1) * c for c in cells], mode="bilinear", align_corners=False)[0, 0]
        down, across = (int(torch.randint(c, (1,), generator=source)) for c in cells)
        return large[down : down + size[0], across : across + size[1]]


class _MaskSums:
    """Sums over masks from which slopes and their errors follow; scores are taken from the clean one, for rounding."""

    def __init__(self, clean: Tensor, size: tuple[int, int]) -> None:
        places = size[0] * size[1]
        self.clean, self.count = clean, 0
        self.mask, self.square = (clean.new_zeros(places) for _ in range(2))
        self.score, self.score_square = torch.zeros_like(clean), torch.zeros_like(clean)
        self.both = clean.new_zeros(len(clean), places)

    def add(self, masks: Tensor, scores: Tensor) -> None:
        """Take in masks (r, h w) and their scores (r, n)."""
        scores = scores - self.clean
        self.count += len(masks)
        self.mask += masks.sum(0)
        self.square += masks.square().sum(0)
        self.score += scores.sum(0)
        self.score_square += scores.square().sum(0)
        self.both += scores.T @ masks

    def slopes(self) -> tuple[Tensor, Tensor]:
        """Return slopes (n, h w) and half the widths of their 95 % intervals."""
        count = self.count
        mask, score = self.mask / count, self.score / count
        spread = (self.square / count - mask.square()).clamp_min(1e-12)
        slope = (self.both / count - score[:, None] * mask) / spread
        total = (self.score_square / count - score.square()).clamp_min(0)[:, None]
        rest = (total / spread - slope.square()).clamp_min(0) / (count - 2)
        return slope, rest.sqrt() * float(scipy.stats.t.ppf(0.975, count - 2))
