"""Nearest neighbours."""

from dataclasses import dataclass
from typing import ClassVar

from xai.core.results.message import Message
from xai.core.validation import check_choice, check_whole
from xai.ood.detectors.base import DETECTORS, Detector, Learned, Parts, State
from xai.ood.detectors.neighbours import distances, most_similar
from xai.ood.detectors.reference import FeatureRows, Reference, to_unit

_SHARE, _LEAST, _MOST = 1000, 10, 1000


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
