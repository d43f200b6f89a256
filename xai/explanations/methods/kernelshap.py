"""KernelSHAP."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import scipy
import torch
from torch import Tensor

from xai.core.results.message import Message
from xai.core.runtime.randomness import generator
from xai.core.validation import check_whole
from xai.explanations.methods._masked import SEGMENTS, Masked, Segments
from xai.explanations.methods.base import EXPLAINERS, Cost, Explainer, MethodInput, MethodOutput
from xai.explanations.methods.fills import WHOLE, Fill

EXACT = 12  # so many regions are enumerated
GROUPS = 20  # of pairs, for the jackknife


@EXPLAINERS.register("kernelshap")
@dataclass(frozen=True, eq=False)
class KernelShap(Explainer):
    """Shares the score among superpixels as Shapley values: what each adds, averaged over all orders of showing them.

    The values add up to score(image) - score(all hidden). Up to 12 regions all 2^K coalitions are asked and the
    values are exact. Beyond, coalitions are drawn from the Shapley kernel in pairs, each with its complement, and the
    constrained least-squares problem is solved; a jackknife over the pairs gives 95 % intervals.

    Misleads as every method that hides regions does: the fill takes part in the answer.

    Args:
        samples: coalitions asked, when not exact.
        segments: "slic", "quickshift", "felzenszwalb", "grid", or a label map (h, w) with any numbering.
        regions: about how many, for slic and grid.
        fill: "mean" (each region's mean colour), "zero", "blur", "noise", a number or a tensor in [0, 1].
        fast: low precision where the device is quicker in it and a check passes.

    Cost: `samples` rows forward of a prepared copy of the model, or 2^K for K regions up to 12.
    Source: Lundberg and Lee 2017, theorem 2 (arXiv 1705.07874); pairs and solution after Covert and Lee 2021 (arXiv
    2012.01536).
    """

    name: ClassVar[str] = "kernelshap"
    title: ClassVar[str] = "KernelSHAP"
    family: ClassVar[str] = "regions"
    unit: ClassVar[str] = "share of the class score"
    needs: ClassVar[tuple[str, ...]] = ()
    stochastic: ClassVar[bool] = True
    one_by_one: ClassVar[bool] = True
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"segments": SEGMENTS, "fill": WHOLE}

    samples: int = 1000
    segments: Segments = "slic"
    regions: int = 50
    fill: Fill = "mean"
    fast: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        check_whole("samples", self.samples, 2 * GROUPS)

    @property
    def cost(self) -> Cost:
        """One row per coalition."""
        return Cost(forward=self.samples, backward=0)

    def _attribute(self, work: MethodInput) -> MethodOutput:
        masked = Masked.of(work, self.segments, self.regions, self.fill, fast=self.fast)
        ends = masked.scores(torch.tensor([[False], [True]]).expand(2, masked.regions), 0.0, 0.0)
        if masked.regions <= EXACT:
            values, half = exact_shapley(masked.scores(coalitions(masked.regions)), masked.regions), None
            note = Message("exact: all {count} coalitions", count=2**masked.regions)
        else:
            shown = paired(masked.regions, self.samples // 2, generator(work.seed, work.keys[0]))
            values, half = solve_paired(shown, masked.scores(shown), ends)
            note = Message("{count} coalitions in pairs, intervals by jackknife", count=len(shown))
        details = [_details(masked, values, half, ends, k) for k in range(len(work.inputs))]
        notes = [*masked.notes(self.samples if half is not None else 1 << 12), note]
        return MethodOutput(
            masked.map_of(values), masked.targets, work.spread(masked.logits), notes=notes, details=details
        )


def _details(masked: Masked, values: Tensor, half: Tensor | None, ends: Tensor, k: int) -> dict[str, Tensor]:
    own = values[:, k]
    around = torch.zeros_like(own) if half is None else half[:, k]
    difference = ends[1, k] - ends[0, k]
    return {
        "segments": masked.hidden.labels,
        "coefficients": own,
        "low": own - around,
        "high": own + around,
        "difference": difference,
        "gap": difference - own.sum(),
    }


def coalitions(count: int) -> Tensor:
    """Return all coalitions (2^K, K) bool; row i shows region k when bit k of i is set."""
    return (torch.arange(1 << count)[:, None] >> torch.arange(count)) % 2 == 1


def exact_shapley(scores: Tensor, count: int) -> Tensor:
    """Return Shapley values (K, m) of the scores (2^K, m) of all coalitions, in the order of `coalitions`."""
    sizes = coalitions(count).sum(1)
    share = torch.tensor([1 / (count * math.comb(count - 1, min(s, count - 1))) for s in range(count + 1)])
    weights = share.double().to(scores.device)[sizes.to(scores.device)]
    every = torch.arange(1 << count, device=scores.device)
    values = []
    for region in range(count):
        without = every[(every >> region) % 2 == 0]
        added = scores[without | (1 << region)] - scores[without]
        values.append(weights[without] @ added)
    return torch.stack(values)


def paired(count: int, pairs: int, source: torch.Generator) -> Tensor:
    """Return coalitions (2 pairs, K) bool drawn from the Shapley kernel; rows 2i and 2i + 1 are complements."""
    sizes = torch.arange(1, count)
    chance = 1 / (sizes * (count - sizes)).double()
    drawn = sizes[torch.multinomial(chance, pairs, replacement=True, generator=source)]
    order = torch.rand(pairs, count, generator=source).argsort(1).argsort(1)
    shown = order < drawn[:, None]
    return torch.stack([shown, ~shown], 1).flatten(0, 1)


def solve_paired(shown: Tensor, scores: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Return values (K, m) that add up to the difference of the ends, and half the width of their 95 % intervals.

    Args:
        shown: (2 p, K) of `paired`.
        scores: (2 p, m).
        ends: (2, m) scores with nothing and with everything shown.
    """
    design = shown.to(scores.device).double()
    groups = torch.arange(len(design) // 2, device=scores.device).repeat_interleave(2) % GROUPS
    gram = torch.stack([design[groups == g].T @ design[groups == g] for g in range(GROUPS)])
    right = torch.stack([design[groups == g].T @ (scores - ends[0])[groups == g] for g in range(GROUPS)])
    difference = ends[1] - ends[0]
    whole = _constrained(gram.sum(0), right.sum(0), difference)
    left_out = torch.stack(
        [_constrained(gram.sum(0) - gram[g], right.sum(0) - right[g], difference) for g in range(GROUPS)]
    )
    spread = (left_out - left_out.mean(0)).square().sum(0) * (GROUPS - 1) / GROUPS
    return whole, spread.sqrt() * float(scipy.stats.t.ppf(0.975, GROUPS - 1))


def _constrained(gram: Tensor, right: Tensor, difference: Tensor) -> Tensor:
    """Return the least-squares solution whose values add up to `difference`."""
    inverse = torch.linalg.pinv(gram, hermitian=True)
    free = inverse @ right
    ones = inverse.sum(1, keepdim=True)
    coefficients: Tensor = free - ones * (free.sum(0) - difference) / ones.sum()
    return coefficients + (difference - coefficients.sum(0)) / len(coefficients)  # rounding
