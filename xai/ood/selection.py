"""Which detector: tried on shifts of the user's own images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xai.core.model.classifier import Classifier
from xai.core.model.features import FeatureTap
from xai.core.model.fingerprint import parts_of
from xai.core.model.hooks import borrowed
from xai.core.results.message import Message, joined
from xai.core.runtime.randomness import generator, image_key
from xai.ood.detectors.base import DETECTORS
from xai.ood.detectors.reference import ModelView
from xai.stats.auroc import auroc, auroc_interval, paired_test

if TYPE_CHECKING:
    import pandas as pd

_GRID = 4  # patches a side
_BLURRED = 4  # places a side that are left of a blurred image


def noise(images: Tensor, seed: int) -> Tensor:
    """Return images whose every pixel is drawn anew, evenly from 0 to 1."""
    drawn = [torch.rand(image.shape, generator=generator(seed, image_key(image))) for image in images]
    return torch.stack(drawn).to(images)


def patches(images: Tensor, seed: int) -> Tensor:
    """Return images cut into 4 x 4 patches that change places; a rest at the right and below stays."""
    height, width = images.shape[2] // _GRID, images.shape[3] // _GRID
    if min(height, width) == 0:
        return images
    made = images.clone()
    for image, target in zip(images, made, strict=True):
        order = torch.randperm(_GRID**2, generator=generator(seed, image_key(image), 1)).tolist()
        for place, source in enumerate(order):
            (top, left), (row, column) = divmod(place, _GRID), divmod(source, _GRID)
            cut = image[:, row * height : (row + 1) * height, column * width : (column + 1) * width]
            target[:, top * height : (top + 1) * height, left * width : (left + 1) * width] = cut
    return made


def inversion(images: Tensor, _seed: int) -> Tensor:
    """Return negatives."""
    return 1 - images


def blur(images: Tensor, _seed: int) -> Tensor:
    """Return images of which only 4 x 4 places are left, with smooth transitions."""
    coarse = F.adaptive_avg_pool2d(images, _BLURRED)
    return F.interpolate(coarse, images.shape[2:], mode="bilinear", align_corners=False).clamp(0, 1)


def flat(images: Tensor, _seed: int) -> Tensor:
    """Return images of one colour, the mean of each."""
    return images.mean((2, 3), keepdim=True).expand_as(images).clone()


SHIFTS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "noise": noise,
    "shuffled patches": patches,
    "inversion": inversion,
    "blur": blur,
    "flat colour": flat,
}


@dataclass(frozen=True, eq=False)
class Shifted:
    """Some images of a data set, as the model sees them, shifted when they are asked for.

    Attributes:
        classifier: brings images to its size.
        source: anything that gives images by number.
        numbers: of those wanted.
        name: of the shift, or "" for the images as they are.
        seed: of everything random.
    """

    classifier: Classifier
    source: Any
    numbers: Sequence[int]
    name: str = ""
    seed: int = 0

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.numbers)

    def __getitem__(self, some: slice | int) -> Tensor:
        """Return images (n, C, h, w) in [0, 1], or one (C, h, w)."""
        if not isinstance(some, slice):
            return self._read([self.numbers[some]])[0]
        return self._read(list(self.numbers[some]))

    def _read(self, rows: list[int]) -> Tensor:
        many = hasattr(self.source, "decoded")
        given = self.source.decoded(rows) if many else [self.source[k] for k in rows]
        inputs = self.classifier.prepare(given).inputs.float()
        return SHIFTS[self.name](inputs, self.seed) if self.name else inputs


# Mean of near and far AUROC in OpenOOD v1.5, over those there are of ResNet-18 on CIFAR-10 and ImageNet-200 and
# ResNet-50 on ImageNet; of Swin-T and ViT-B/16 on ImageNet. Only their order is used, among detectors that the user's
# images do not tell apart.
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
        images: how many in-distribution images each was tried on, and as many of each shift.
        reason: in words.
    """

    chosen: str
    kind: str
    rows: tuple[Mapping[str, Any], ...]
    images: int
    reason: str

    @property
    def table(self) -> "pd.DataFrame":
        """One row per detector, the best first."""
        import pandas as pd

        frame = pd.DataFrame(list(self.rows))
        first, last = ["method"], ["auroc", "low", "high", "p_against_best", "at_chance"]
        return frame[[*first, *(name for name in frame if name not in {*first, *last}), *last]] if self.rows else frame

    @property
    def at_chance(self) -> tuple[str, ...]:
        """Detectors that tell the shifts from in-distribution images no better than a coin."""
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
        inside: scores (n,) of in-distribution images by detector.
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
        single = {shift: auroc(inside[name], scores[name]) for shift, scores in outside.items()}
        rows.append(
            {"method": name, **single, "auroc": areas[name], "low": low, "high": high}
            | {"p_against_best": test[2], "at_chance": low <= 0.5}
        )
    near = [row["method"] for row in rows if row["p_against_best"] > _LEVEL]
    chosen = max(near, key=lambda name: (published.get(_plain(name), 0.0), areas[name]))
    count = len(next(iter(inside.values())))
    return Choice(chosen, kind, tuple(rows), count, _reason(chosen, best, near, areas, kind, rows))


def by_kind(module: nn.Module, names: Sequence[str]) -> Choice:
    """Choose by the kind of network alone, where there are too few images to try."""
    kind = network_kind(module)
    published = PUBLISHED.get(kind, PUBLISHED["convolutional"])
    chosen = max(names, key=lambda name: published.get(_plain(name), 0.0))
    template = (
        "{method} has the best published figures on {kind} networks; too few calibration images to try detectors on "
        "shifts of them"
    )
    reason = Message(template, method=chosen, kind=Message(_known(kind)))
    return Choice(chosen, kind, (), 0, reason)


def advise(name: str, classifier: Classifier) -> tuple[bool, str]:
    """Return whether a detector is advised for a classifier, and why, by published figures; nothing is measured.

    Cost: one forward row.
    """
    grey = torch.full((1, classifier.channels, *(classifier.input_size or _PROBE)), 0.5)
    tap = FeatureTap(classifier)
    with borrowed(classifier.module), torch.no_grad():
        tap.run(grey)
    missing = DETECTORS[name]().missing(ModelView(tap.head))
    if missing:
        return False, missing
    kind = _known(network_kind(classifier.module))
    own, usual = PUBLISHED[kind].get(name), PUBLISHED[kind]["msp"]
    if own is None:
        return True, Message("works on this model; no published figures on {kind} networks", kind=Message(kind))
    template = "published AUROC on {kind} networks {auroc:.1f}, msp {msp:.1f}"
    return own >= usual, Message(template, kind=Message(kind), auroc=own, msp=usual)


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
    return [value for scores in outside.values() for value in scores[name].tolist()]


def _reason(
    chosen: str,
    best: str,
    near: Sequence[str],
    areas: Mapping[str, float],
    kind: str,
    rows: Sequence[Mapping[str, Any]],
) -> str:
    parts = [
        Message(
            "on shifts of your own images {method} detects best (AUROC {auroc:.3f})", method=best, auroc=areas[best]
        )
    ]
    if any(name != chosen for name in near):
        template = (
            "no evidence that {others} detect less, and {chosen} has the best published figures of these on {kind} "
            "networks"
        )
        others = ", ".join(name for name in near if name != best)
        parts.append(Message(template, others=others, chosen=chosen, kind=Message(_known(kind))))
    chance = [row["method"] for row in rows if row["at_chance"]]
    if chance:
        parts.append(Message("at chance on this model: {methods}", methods=", ".join(chance)))
    advice = Message(
        "these shifts are large: compare detectors on out-of-distribution images of your own with xai.compare_ood"
    )
    return joined([*parts, advice])
