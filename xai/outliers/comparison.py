"""Detectors side by side, with everything that follows from their scores."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from xai.core.drawing import draw
from xai.core.records import Saved, plain
from xai.errors import NameLookupError
from xai.outliers.conformal import Guarantee

if TYPE_CHECKING:
    import pandas as pd

COVARIATE = "covariate"
GROUPS = ("near", "far", COVARIATE)
_COLUMNS = (
    *("set", "group", "method", "pictures", "auroc", "auroc_low", "auroc_high", "aupr_out", "aupr_in"),
    *("fpr_ood_accepted@95id", "fpr_id_rejected@95ood", "auroc_full_spectrum"),
    *("rejected_in", "rejected_in_low", "rejected_in_high", "rejected_out", "rejected_out_low", "rejected_out_high"),
    *("gap_to_msp", "gap_low", "gap_high", "p_value", "p_holm", "against_msp"),
)


@dataclass(frozen=True, eq=False, repr=False)
class OODComparison(Saved):
    """M detectors on ordinary pictures and S sets of foreign ones.

    Attributes:
        labels: of the detectors (M).
        sets: group, name and label of each set (S).
        calibration: (M, c) scores of the calibration pictures.
        inside: (M, n) scores of the ordinary test pictures.
        outside: S of (M, m) scores of the foreign pictures.
        rows: one per set and detector, see `table`.
        alpha: of the decision whose rates are shown.
        guarantee: how often ordinary pictures will be rejected.
        settings: of each detector, and the figures that it took from the fit pictures.
        seed: of everything random.
        model: name, fingerprint and preprocessing.
        versions: of the packages.
        notes: what was left out and what to beware of.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> fit, rest = (xai.load_data(f"example:fashion-{part}").subset(200) for part in ("train", "test"))
        >>> digits, test = xai.load_data("example:digits").subset(50), rest.part("test")
        >>> table = xai.compare_ood(clf, fit, rest.part("calibration"), test, digits, methods=["msp", "knn"]).table
        >>> table.shape[0]
        2
    """

    labels: tuple[str, ...]
    sets: tuple[Mapping[str, str], ...]
    calibration: Tensor = field(repr=False)
    inside: Tensor
    outside: tuple[Tensor, ...]
    rows: tuple[Mapping[str, Any], ...]
    alpha: float
    guarantee: Guarantee
    settings: Mapping[str, Mapping[str, Any]]
    seed: int
    model: Mapping[str, Any]
    versions: Mapping[str, str]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of detectors."""
        return len(self.labels)

    def __repr__(self) -> str:
        """Sizes and model."""
        sets, count = ", ".join(held["label"] for held in self.sets), self.inside.shape[1]
        return f"OODComparison({len(self)} detectors, {count} pictures against {sets}, model: {self.model['name']})"

    @property
    def table(self) -> "pd.DataFrame":
        """One row per set and detector, the best first within a set.

        `fpr_ood_accepted@95id` is the share of foreign pictures accepted where 95 % of the ordinary ones are kept,
        `fpr_id_rejected@95ood` the share of ordinary ones rejected where 95 % of the foreign ones are caught: both are
        called FPR95 elsewhere. `rejected_in` and `rejected_out` are what the calibrated decision at alpha does.
        `auroc_full_spectrum` counts covariate-shifted pictures as ordinary. `p_holm` is the paired test against msp.
        """
        import pandas as pd

        found = pd.DataFrame(list(self.rows))
        found = found[[name for name in _COLUMNS if name in found]]
        order = {held["label"]: place for place, held in enumerate(self.sets)}
        return found.sort_values(
            ["set", "auroc"], key=lambda c: c.map(order) if c.name == "set" else -c, kind="stable", ignore_index=True
        )

    @property
    def areas(self) -> "pd.DataFrame":
        """AUROC of each detector (rows) on each set (columns)."""
        import pandas as pd

        found = pd.DataFrame(list(self.rows)).pivot(index="method", columns="set", values="auroc")
        return found.loc[list(self.labels), [held["label"] for held in self.sets]]

    def scores_of(self, label: str) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the scores of the ordinary test pictures and of each set by one detector.

        Raises:
            NameLookupError: no such detector.
        """
        if label not in self.labels:
            raise NameLookupError("detector in this comparison", label, self.labels)
        place = self.labels.index(label)
        sets = {held["label"]: found[place] for held, found in zip(self.sets, self.outside, strict=True)}
        return self.inside[place], sets

    def plot(self, methods: list[str] | None = None) -> Any:
        """Draw histograms of the scores, ordinary against each set; return the matplotlib figure.

        Args:
            methods: labels; None draws all.
        """
        return draw("ood_comparison", self, list(self.labels) if methods is None else methods)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the scores, JSON-ready."""
        return self._fields() | {"sentence": self.guarantee.sentence}

    _kind: ClassVar[str] = "ood comparison"

    def _arrays(self) -> Mapping[str, np.ndarray]:
        arrays = {"calibration": self.calibration.numpy(), "inside": self.inside.numpy()}
        arrays |= {f"outside{k}": found.numpy() for k, found in enumerate(self.outside)}
        return arrays

    @classmethod
    def _restored(cls, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        result: dict[str, Any] = dict(fields)
        result |= {name: tuple(result[name]) for name in ("labels", "sets", "rows", "notes")}
        result["guarantee"] = Guarantee(**result["guarantee"])
        tensors = {name: torch.from_numpy(np.array(values)) for name, values in arrays.items()}
        outside = tuple(tensors[f"outside{k}"] for k in range(len(result["sets"])))
        return cls(**result, calibration=tensors["calibration"], inside=tensors["inside"], outside=outside)

    def _fields(self) -> dict[str, Any]:
        arrays = {"calibration", "inside", "outside", "guarantee"}
        found = {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.name not in arrays}
        return found | {"guarantee": asdict(self.guarantee)}
