"""Histograms of principal components."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai.core.results.message import Message
from xai.core.validation import check_number, check_whole
from xai.ood.detectors.base import DETECTORS, Detector, Learned, Parts, State
from xai.ood.detectors.reference import FeatureRows, Reference

_EMPTY = 0.5  # images that an empty bin, and all that lies beyond the last one, counts for
_LEAST, _MOST = 5, 100
_ROUNDING = 1e-5  # of the largest mean: a component that varies less does not vary
_FEW = 3  # images for each bin, below which a histogram is said to be empty


@DETECTORS.register("hbos")
@dataclass(frozen=True)
class HBOS(Detector):
    """How rare each principal component of the features is among the fit images, added up.

    Args:
        bins: of each histogram, of equal width; None takes the square root of the number of images, 5 to 100.
        variance: share of the variance that the components kept hold together.

    Source: Goldstein and Dengel 2012 (histogram-based outlier score), on principal components as in MATLAB's
    networkDistributionDiscriminator. Piecewise constant: explain it by occlusion, not by gradients.
    """

    name: ClassVar[str] = "hbos"
    title: ClassVar[str] = "Histograms"
    family: ClassVar[str] = "distance"
    needs: ClassVar[tuple[str, ...]] = ("features",)
    reads: ClassVar[frozenset[str]] = frozenset({"moments", "bank"})
    unit: ClassVar[str] = "log rarity"

    bins: int | None = None
    variance: float = 0.999

    def __post_init__(self) -> None:
        """Check the settings."""
        check_whole("bins", self.bins, 2, optional=True)
        check_number("variance", self.variance, "[1e-6, 1]")

    def _fit(self, reference: Reference) -> Learned:
        moments, bank = reference.moments, reference.bank
        assert moments is not None
        assert bank is not None
        values, vectors = torch.linalg.eigh(moments.covariance())
        count = components(values.flip(0), self.variance)
        axes = vectors.flip(1)[:, :count].contiguous()
        bins = self.bins or min(_MOST, max(_LEAST, round(math.sqrt(len(bank)))))
        points = (bank.features.double() - moments.mean) @ axes
        low, high = points.amin(0), points.amax(0)
        rounding = _ROUNDING * float(moments.mean.abs().max())
        width, still = ((high - low) / bins).clamp_min(1e-12), (high - low) / bins < rounding
        low = torch.where(still, (low + high) / 2 - (bins // 2 + 0.5) * rounding, low)
        width = torch.where(still, rounding, width)
        place = ((points - low) / width).long().clamp(0, bins - 1)
        counts = torch.zeros(count, bins, dtype=torch.float64, device=points.device)
        counts.scatter_add_(1, place.T, torch.ones_like(points.T))
        height = counts.clamp_min(_EMPTY) / counts.amax(1, keepdim=True)
        beyond = torch.log(counts.amax(1) / _EMPTY)
        state = {
            "mean": moments.mean,
            "axes": axes,
            "low": low,
            "width": width,
            "rarity": -height.log(),
            "beyond": beyond,
        }
        template = "{count} fit images in {bins} bins: most bins are empty, and rarity says little"
        few = (Message(template, count=len(bank), bins=bins),)
        return Learned(state, {"components": count, "bins": bins}, few if len(bank) < _FEW * bins else ())

    def _parts(self, state: State, rows: FeatureRows) -> Parts:
        rare = rarities(state, (rows.pooled.double() - state["mean"]) @ state["axes"])
        first = max(1, rare.shape[1] // 2)
        return {"leading components": rare[:, :first].sum(1), "minor components": rare[:, first:].sum(1)}


def rarities(state: State, points: Tensor) -> Tensor:
    """Return the rarity (n, k) of each component of points (n, k)."""
    table, bins = state["rarity"], state["rarity"].shape[1]
    place = ((points - state["low"]) / state["width"]).floor()
    inside = (place >= 0) & (points <= state["low"] + bins * state["width"])
    rarity = table.T.gather(0, place.long().clamp(0, bins - 1))
    return torch.where(inside, rarity, state["beyond"])


def components(values: Tensor, share: float) -> int:
    """Return how many of the largest eigenvalues (d,), descending, hold a share of their sum."""
    cumulated = values.clamp_min(0).cumsum(0)
    if float(cumulated[-1]) <= 0:
        return 1
    return min(len(values), int((cumulated < share * cumulated[-1] * (1 - 1e-12)).sum()) + 1)
