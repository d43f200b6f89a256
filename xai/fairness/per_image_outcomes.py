"""Outcomes and measured properties, one value per image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xai.core.images.border import open_data
from xai.core.labels import labels_of
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.resizing import InputReader
from xai.core.registry import Registry
from xai.core.results.codec import finite
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.core.validation import check_seed
from xai.errors import InputError
from xai.explanations.methods.base import EXPLAINERS
from xai.explanations.rating.rate import rate_explanation
from xai.ood.detector import OODDetector
from xai.ood.judgement import OUT_OF_DISTRIBUTION
from xai.robust.attacks.base import ATTACKS

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_TINY = 1e-6
_BLOCKS = 7
Measure = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ImageProperty:
    """A number of an image.

    Attributes:
        name: as in tables.
        low: what an image with a small value is, in words.
        high: what an image with a large value is.
        channels: that an image must have; None for any.
        measure: from images (N, C, h, w) in [0, 1] to values (N,).
    """

    name: str
    low: str
    high: str
    channels: int | None
    measure: Measure


PROPERTIES: Registry[ImageProperty] = Registry("property")


def _measured(name: str, low: str, high: str, channels: int | None = None) -> Callable[[Measure], Measure]:
    def enter(measure: Measure) -> Measure:
        PROPERTIES.register(name)(ImageProperty(name, low, high, channels, measure))
        return measure

    return enter


def measure(images: Tensor) -> dict[str, np.ndarray]:
    """Return every property that applies, by name, of images (N, C, h, w) in [0, 1]: (N,) float64 each.

    Cost: a few passes over the pixels; none of a network.
    """
    fitting = [PROPERTIES[name] for name in PROPERTIES if PROPERTIES[name].channels in {None, images.shape[1]}]
    return {each.name: each.measure(images.float()).double().cpu().numpy() for each in fitting}


def _grey(images: Tensor) -> Tensor:
    """Return brightness (N, 1, h, w)."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    return (images * images.new_tensor(_LUMA).view(3, 1, 1)).sum(1, keepdim=True)


def _spread(grey: Tensor) -> Tensor:
    return grey.flatten(1).std(1, correction=0)


@_measured("brightness", "dark", "bright")
def brightness(images: Tensor) -> Tensor:
    """Return the mean of the grey image, 0 to 1."""
    return _grey(images).mean((1, 2, 3))


@_measured("contrast", "low-contrast", "high-contrast")
def contrast(images: Tensor) -> Tensor:
    """Return the standard deviation of the grey image, 0 to 0.5."""
    return _spread(_grey(images))


@_measured("colourfulness", "pale", "colourful", channels=3)
def colourfulness(images: Tensor) -> Tensor:
    """Return the spread of opponent colours and their distance from grey, from 0.

    Source: Hasler and Suesstrunk 2003, equation 7, for pixels in [0, 1].
    """
    red, green, blue = images.flatten(2).unbind(1)
    first, second = red - green, (red + green) / 2 - blue
    spread = (first.var(1, correction=0) + second.var(1, correction=0)).sqrt()
    return spread + 0.3 * (first.mean(1) ** 2 + second.mean(1) ** 2).sqrt()


@_measured("warmth", "bluish", "reddish", channels=3)
def warmth(images: Tensor) -> Tensor:
    """Return mean red minus mean blue, -1 to 1."""
    return images[:, 0].mean((1, 2)) - images[:, 2].mean((1, 2))


@_measured("sharpness", "blurred", "sharp")
def sharpness(images: Tensor) -> Tensor:
    """Return the root mean square of the Laplacian over the contrast: what edges there are, how steep they are."""
    grey = _grey(images)
    kernel = grey.new_tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    edges = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernel)
    return edges.square().mean((1, 2, 3)).sqrt() / (_spread(grey) + _TINY)


@_measured("texture", "plain", "textured")
def texture(images: Tensor) -> Tensor:
    """Return the share of the variance that lies inside blocks of a seventh of the image, 0 to 1."""
    grey = _grey(images)
    size = [-(-side // _BLOCKS) for side in grey.shape[2:]]
    means = F.avg_pool2d(grey, size, ceil_mode=True, count_include_pad=False)
    coarse = F.interpolate(means, scale_factor=[float(s) for s in size], mode="nearest")
    inside = grey - coarse[..., : grey.shape[2], : grey.shape[3]]
    return inside.square().mean((1, 2, 3)) / (_spread(grey).square() + _TINY)


@_measured("object size", "with a small object", "with a large object")
def object_size(images: Tensor) -> Tensor:
    """Return the share of pixels that differ from the edge's median colour by half of the largest such difference.

    A guess without masks: good for an object on plain ground, a figure like any other where the ground is busy.
    """
    edge = torch.cat([images[:, :, 0], images[:, :, -1], images[..., 0], images[..., -1]], -1)
    ground = edge.median(-1).values[..., None, None]
    distance = (images - ground).abs().amax(1).flatten(1)
    most = distance.quantile(0.99, dim=1, keepdim=True) if distance.shape[1] < 1 << 24 else distance.amax(1, True)
    return ((distance > 0.5 * most) & (most > _TINY)).float().mean(1)


_AT_ONCE = 256  # images attacked or judged in one call
_FEW = 8  # explained in one call
ROBUST, REJECTED, SANE, RELIABLE = (
    "robust accuracy",
    "false rejection",
    "explanation passes the sanity check",
    "explanation is not rejected",
)
_Measure = Callable[[Tensor, np.ndarray], tuple[dict[str, np.ndarray], Sequence[str]]]
_Part = tuple[_Measure, np.ndarray, int]  # what is measured, of which images, how many at a time


class Treatment(dict[str, np.ndarray]):
    """What was measured per image, {name: (N,) float64}, with notes.

    Attributes:
        notes: what is to be known of the model, and what was done to the images.

    Example:
        >>> import xai
        >>> data = xai.load_data("example:fashion-test").subset(6)
        >>> xai.treatment(xai.load("example:fashion"), data, attack="fgsm").notes
        ()
    """

    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the values by name, and the notes, JSON-ready; NaN is None."""
        values = {name: finite(column.tolist()) for name, column in self.items()}
        return {"values": values, "notes": list(self.notes)}


def treatment(
    model: Classifier | nn.Module,
    data: Any,
    labels: Any = None,
    *,
    attack: str | None = "pgd",
    eps: float | None = None,
    norm: str = "linf",
    detector: OODDetector | None = None,
    method: str | None = None,
    samples: int = 200,
    seed: int = 0,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Treatment:
    """Measure outcomes per image as `xai.bias(..., extra=...)` takes them.

    They say which images are attacked, rejected or badly explained first.

    Args:
        model: a classifier or a bare module.
        data: a data set of `xai.load_data`, or images that can be indexed.
        labels: the truth (N,), indices or names; None takes the data's.
        attack: name of the attack for "robust accuracy": 1 where the answer is right and stays so. None leaves it out.
        eps: its radius, in the scale of pixels in [0, 1]; None takes 8/255 (linf), 0.5 (l2) or 12 (l1).
        norm: "linf", "l2" or "l1".
        detector: of `xai.fit_ood`, for "false rejection": 1 where it rejects the image. None leaves it out.
        method: of explanation, such as "gradcam", for "explanation passes the sanity check" (the map is another one
            with random weights) and "explanation is not rejected" (by any question of `xai.rate_explanation`); nan
            where an image was not drawn. None leaves both out.
        samples: images that are explained, drawn at random.
        seed: of everything random.
        progress: None, True for a bar, or a callable `(done, total)` in images.
        should_stop: asked between images; True ends the work with `xai.errors.Stopped`.

    Returns:
        Treatment: {name: (N,) float64}; its `notes` say what is to be known of the model.

    Raises:
        InputError: nothing is asked for, or no labels for an attack.

    Cost: that of the attack on all images, and for each of `samples` what `xai.rate_explanation` costs.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(6)
        >>> found = xai.treatment(clf, data, attack="fgsm")
        >>> {name: values.shape for name, values in found.items()}
        {'robust accuracy': (6,)}
    """
    classifier, seed, data = as_classifier(model), check_seed(seed), open_data(data)
    reader = InputReader(classifier, data)
    count = len(reader)
    drawn = np.sort(np.random.default_rng(abs(seed)).permutation(count)[: samples if method is not None else 0])
    parts: list[_Part] = []
    if attack is not None:
        ground_truth = labels_of(classifier, data, labels, count)[0]
        parts.append(
            (_Attacked(classifier, ground_truth, attack, eps, norm, seed, should_stop), np.arange(count), _AT_ONCE)
        )
    if detector is not None:
        parts.append((_judged(detector, should_stop), np.arange(count), _AT_ONCE))
    if method is not None:
        parts.append((_explained(classifier, method, seed, should_stop), drawn, _FEW))
    if not parts:
        raise InputError("Expected an attack, a detector or a method of explanation, but got None for all. Name one.")
    return _measured_outcomes(parts, reader, progress)


def _measured_outcomes(parts: Sequence[_Part], reader: InputReader, progress: bool | Progress | None) -> Treatment:
    treatment = Treatment()
    done, total = 0, sum(len(rows) for _, rows, _ in parts)
    with reporting(progress, "treatment") as report:
        for measure, rows, size in parts:
            for start in range(0, len(rows), size):
                some = rows[start : start + size]
                measured, notes = measure(reader.inputs(some.tolist()), some)
                treatment.notes = tuple(dict.fromkeys([*treatment.notes, *notes]))
                for name, values in measured.items():
                    treatment.setdefault(name, np.full(len(reader), np.nan))[some] = values
                done += len(some)
                if report is not None:
                    report(done, total)
    return treatment


class _Attacked:
    """Whether answers are right and stay right."""

    def __init__(
        self,
        classifier: Classifier,
        ground_truth: Tensor,
        attack: str,
        eps: float | None,
        norm: str,
        seed: int,
        should_stop: ShouldStop | None,
    ) -> None:
        self._attacker = ATTACKS[attack]()
        self._classifier, self._ground_truth = classifier, ground_truth
        self._settings = {"eps": eps, "norm": norm, "seed": seed, "should_stop": should_stop}

    def __call__(self, images: Tensor, rows: np.ndarray) -> tuple[dict[str, np.ndarray], Sequence[str]]:
        ground_truth = self._ground_truth[torch.from_numpy(rows)]
        result = self._attacker.run(self._classifier, images, ground_truth, **self._settings)  # type: ignore[arg-type]
        return {ROBUST: (result.predictions.cpu() == ground_truth).double().numpy()}, result.notes


def _judged(detector: OODDetector, should_stop: ShouldStop | None) -> _Measure:
    def measure(images: Tensor, _rows: np.ndarray) -> tuple[dict[str, np.ndarray], Sequence[str]]:
        judgement = detector.judge(images, should_stop=should_stop)
        return {
            REJECTED: np.array([verdict == OUT_OF_DISTRIBUTION for verdict in judgement.verdicts], dtype=np.float64)
        }, judgement.notes

    return measure


def _explained(classifier: Classifier, method: str, seed: int, should_stop: ShouldStop | None) -> _Measure:
    def measure(images: Tensor, _rows: np.ndarray) -> tuple[dict[str, np.ndarray], Sequence[str]]:
        explanation = EXPLAINERS[method]().explain(classifier, images, seed=seed, should_stop=should_stop)
        rating = rate_explanation(classifier, images, explanation, seed=seed, should_stop=should_stop)
        verdicts = [{check.name: check.verdict for check in checks} for checks in rating.checks]
        sane = [{"trust": 1.0, "doubt": 0.0, "reject": 0.0}.get(own.get("sanity", ""), np.nan) for own in verdicts]
        reliable = np.array([verdict != "reject" for verdict in rating.verdicts], float)
        return {SANE: np.array(sane), RELIABLE: reliable}, explanation.notes

    return measure
