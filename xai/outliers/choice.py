"""Which detector: tried on shifts of the user's own pictures; the kind of network decides where these do not."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xai.core.classifier import Classifier
from xai.core.hooks import borrowed, parts_of
from xai.core.penultimate import FeatureTap
from xai.detectors import DETECTORS
from xai.detectors._rows import View
from xai.metrics.detection import auroc, auroc_interval, paired_test

if TYPE_CHECKING:
    import pandas as pd

# Mean of near and far AUROC in OpenOOD v1.5, over those there are of ResNet-18 on CIFAR-10 and ImageNet-200 and
# ResNet-50 on ImageNet; of Swin-T and ViT-B/16 on ImageNet. Only their order is used, among detectors that the user's
# pictures do not tell apart.
PUBLISHED: Mapping[str, Mapping[str, float]] = {
    "convolutional": {
        **{"fdbd": 88.4, "scale": 87.6, "react": 87.1, "gen": 86.9, "knn": 86.6, "maxlogit": 86.4, "energy": 86.3},
        **{"vim": 86.1, "rmd": 86.0, "msp": 85.6, "rmd++": 84.7, "ash": 84.0, "mahalanobis++": 82.7},
        **{"mahalanobis": 73.4, "odin": 84.5},
    },
    "transformer": {
        **{"mahalanobis++": 87.5, "rmd++": 87.4, "rmd": 85.8, "vim": 84.6, "mahalanobis": 84.6, "gen": 84.4},
        **{"knn": 81.5, "msp": 80.7, "react": 79.7, "maxlogit": 78.1, "energy": 74.0, "odin": 70.7},
        **{"ash": 49.0},
    },
}
_LEVEL = 0.05
_PROBE = (224, 224)


@dataclass(frozen=True)
class Choice:
    """How a detector was chosen.

    Attributes:
        chosen: label of the detector.
        kind: of the network: "convolutional", "transformer" or "other".
        rows: one per detector: label, AUROC on each shift and on all together with its interval, p-value against the
            best, whether it is at chance.
        pictures: how many ordinary pictures each was tried on, and as many of each shift.
        reason: in words.
    """

    chosen: str
    kind: str
    rows: tuple[Mapping[str, Any], ...]
    pictures: int
    reason: str

    @property
    def table(self) -> "pd.DataFrame":
        """One row per detector, the best first."""
        import pandas as pd

        found = pd.DataFrame(list(self.rows))
        first, last = ["method"], ["auroc", "low", "high", "p_against_best", "at_chance"]
        return found[[*first, *(name for name in found if name not in {*first, *last}), *last]] if self.rows else found

    @property
    def at_chance(self) -> tuple[str, ...]:
        """Detectors that tell the shifts from ordinary pictures no better than a coin."""
        return tuple(row["method"] for row in self.rows if row["at_chance"])

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        return asdict(self) | {"rows": [dict(row) for row in self.rows], "at_chance": list(self.at_chance)}


def choose(module: nn.Module, inside: Mapping[str, Tensor], outside: Mapping[str, Mapping[str, Tensor]]) -> Choice:
    """Choose among detectors by their scores.

    The one with the largest AUROC over all shifts is the best; among those that a paired test cannot tell from it, the
    one with the best published figures on networks of this kind is taken.

    Args:
        module: the network.
        inside: scores (n,) of ordinary pictures by detector.
        outside: by shift, scores (n,) by detector.
    """
    kind = network_kind(module)
    published = PUBLISHED.get(kind, PUBLISHED["convolutional"])
    pooled = {name: _together(outside, name) for name in inside}
    areas = {name: auroc(scores, pooled[name]) for name, scores in inside.items()}
    best = max(areas, key=lambda name: (areas[name], published.get(_plain(name), 0.0)))
    rows: list[dict[str, Any]] = []
    for name in sorted(areas, key=lambda name: -areas[name]):
        low, high = auroc_interval(inside[name], pooled[name])
        test = paired_test([inside[best], inside[name]], [pooled[best], pooled[name]])
        single = {shift: auroc(inside[name], found[name]) for shift, found in outside.items()}
        rows.append(
            {"method": name, **single, "auroc": areas[name], "low": low, "high": high}
            | {"p_against_best": test[2], "at_chance": low <= 0.5}
        )
    near = [row["method"] for row in rows if row["p_against_best"] > _LEVEL]
    chosen = max(near, key=lambda name: (published.get(_plain(name), 0.0), areas[name]))
    count = len(next(iter(inside.values())))
    return Choice(chosen, kind, tuple(rows), count, _reason(chosen, best, near, areas, kind, rows))


def by_kind(module: nn.Module, names: Sequence[str]) -> Choice:
    """Choose by the kind of network alone, where there are too few pictures to try."""
    kind = network_kind(module)
    published = PUBLISHED.get(kind, PUBLISHED["convolutional"])
    chosen = max(names, key=lambda name: published.get(_plain(name), 0.0))
    reason = (
        f"{chosen} has the best published figures on {_known(kind)} networks; too few calibration pictures to try "
        "detectors on shifts of them"
    )
    return Choice(chosen, kind, (), 0, reason)


def advise(name: str, classifier: Classifier) -> tuple[bool, str]:
    """Return whether a detector is advised for a classifier, and why, by published figures; nothing is measured.

    Cost: one forward row.
    """
    grey = torch.full((1, classifier.channels, *(classifier.input_size or _PROBE)), 0.5)
    tap = FeatureTap(classifier)
    with borrowed(classifier.module), torch.no_grad():
        tap.run(grey)
    missing = DETECTORS[name]().missing(View(tap.head))
    if missing:
        return False, missing
    kind = _known(network_kind(classifier.module))
    own, usual = PUBLISHED[kind].get(name), PUBLISHED[kind]["msp"]
    if own is None:
        return True, f"works on this model; no published figures on {kind} networks"
    said = f"published AUROC on {kind} networks {own:.1f}, msp {usual:.1f}"
    return own >= usual, said


def network_kind(module: nn.Module) -> str:
    """Return "transformer" for networks with attention, "convolutional" for others with convolutions, else "other"."""
    names = [type(part).__name__.lower() for part in parts_of(module)]
    if any("attention" in name for name in names):
        return "transformer"
    return "convolutional" if any(name.startswith("conv") for name in names) else "other"


def _known(kind: str) -> str:
    return kind if kind in PUBLISHED else "convolutional"


def _plain(label: str) -> str:
    """Return the name that published figures go by."""
    return "rmd++" if label == "rmd(normalise=True)" else label.partition("(")[0]


def _together(outside: Mapping[str, Mapping[str, Tensor]], name: str) -> list[float]:
    return [value for found in outside.values() for value in found[name].tolist()]


def _reason(
    chosen: str,
    best: str,
    near: Sequence[str],
    areas: Mapping[str, float],
    kind: str,
    rows: Sequence[Mapping[str, Any]],
) -> str:
    others = [name for name in near if name != chosen]
    said = f"on shifts of your own pictures {best} tells best what is foreign (AUROC {areas[best]:.3f})"
    if others:
        said += (
            f"; {', '.join(name for name in near if name != best)} cannot be told from it, and {chosen} has the best "
            f"published figures of these on {_known(kind)} networks"
        )
    chance = [row["method"] for row in rows if row["at_chance"]]
    more = f"; at chance on this network: {', '.join(chance)}" if chance else ""
    return f"{said}{more}. These shifts are far; compare detectors on foreign pictures of your own with xai.compare_ood"
