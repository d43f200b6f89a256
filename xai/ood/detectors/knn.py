"""Distance to the k-th nearest fit image."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai.core.results.message import Message
from xai.core.validation import check_choice, check_whole
from xai.ood.detectors.base import DETECTORS, Detector, Learned, Parts, State
from xai.ood.detectors.reference import FeatureRows, Reference, to_unit

_GROUP = 32  # columns whose largest value is looked at first
_BLOCK = 64 << 20  # bytes of inner products at once
_SHARE, _LEAST, _MOST = 1000, 10, 1000


def most_similar(rows: Tensor, bank: Tensor, count: int) -> Tensor:
    """Return the numbers (n, count) of the bank's rows (m, d) with the largest inner products, the largest first.

    The `count` largest values lie in the `count` groups of columns with the largest maxima, so only these are sorted.
    Cost: n * m * d multiplications and 64 MB, whatever n and m.
    """
    step = max(1, _BLOCK // (len(bank) * rows.element_size()))
    with torch.no_grad():
        blocks = [_top(rows[k : k + step] @ bank.T, count) for k in range(0, len(rows), step)]
    return torch.cat(blocks)


def _top(values: Tensor, count: int) -> Tensor:
    """Return the places (n, count) of the largest values of each row (n, m), the largest first."""
    whole = values.shape[1] // _GROUP
    if whole <= 4 * count:
        return values.topk(count, dim=1).indices
    grouped = values[:, : whole * _GROUP].reshape(len(values), whole, _GROUP)
    groups = grouped.amax(2).topk(count, dim=1).indices
    places = (groups[..., None] * _GROUP + torch.arange(_GROUP, device=values.device)).flatten(1)
    rest = torch.arange(whole * _GROUP, values.shape[1], device=values.device).expand(len(values), -1)
    places = torch.cat([places, rest], 1)
    best = values.gather(1, places).topk(count, dim=1).indices
    return places.gather(1, best)


def distances(rows: Tensor, bank: Tensor, places: Tensor) -> Tensor:
    """Return Euclidean distances (n, k) of rows (n, d) to the bank's rows of places (n, k), without cancellation."""
    step = max(1, _BLOCK // (places.shape[1] * rows.shape[1] * rows.element_size()))
    parts = [(rows[k : k + step, None] - bank[places[k : k + step]]).norm(dim=2) for k in range(0, len(rows), step)]
    return torch.cat(parts)


@DETECTORS.register("knn")
@dataclass(frozen=True)
class KNN(Detector):
    """Distance of normalised features to the k-th nearest fit image.

    Args:
        k: number of the neighbour; None takes one of every thousand fit images, 10 to 1,000 (50 of CIFAR-10's 50,000,
            1,000 of ImageNet's million, as in the paper).
        distance: "kth" or "mean", of the k nearest.

    Source: Sun et al. 2022 (arXiv 2204.06507).
    """

    name: ClassVar[str] = "knn"
    title: ClassVar[str] = "Nearest neighbours"
    family: ClassVar[str] = "distance"
    needs: ClassVar[tuple[str, ...]] = ("features",)
    reads: ClassVar[frozenset[str]] = frozenset({"bank"})
    unit: ClassVar[str] = "distance"

    k: int | None = None
    distance: str = "kth"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_whole("k", self.k, optional=True)
        check_choice("distance", self.distance, ("kth", "mean"))

    def _fit(self, reference: Reference) -> Learned:
        assert reference.bank is not None
        bank = to_unit(reference.bank.features)
        requested = self._requested(len(bank))
        used = min(requested, len(bank))
        template = "k is {used}, the number of fit images, and not {k}"
        notes = () if used == requested else (Message(template, used=used, k=requested),)
        return Learned({"bank": bank}, {"k": used, "bank": len(bank)}, notes)

    def _parts(self, state: State, rows: FeatureRows) -> Parts:
        bank = state["bank"]
        points = rows.unit.to(bank)
        places = most_similar(points, bank, min(self._requested(len(bank)), len(bank)))
        if self.distance == "kth":
            return {"k-th neighbour": distances(points, bank, places[:, -1:])[:, 0].double()}
        return {"mean of k neighbours": distances(points, bank, places).mean(1).double()}

    def _requested(self, size: int) -> int:
        return self.k or min(_MOST, max(_LEAST, round(size / _SHARE)))
