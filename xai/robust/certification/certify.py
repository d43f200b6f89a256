"""Certificates and output bounds: the verbs and their results."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from xai.core.images.border import open_data
from xai.core.images.inputs import ImageLike
from xai.core.labels import labels_of
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.hooks import borrowed
from xai.core.model.usage_checks import with_doubts
from xai.core.results.codec import finite
from xai.core.results.message import Message
from xai.core.results.result import Provenance, Result
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.core.runtime.randomness import image_key
from xai.core.validation import check_eps, check_seed, radius_doubts
from xai.errors import NameLookupError, RangeError, ShapeError, UnsupportedModelError
from xai.robust.certification.linear import METHODS, NORMS
from xai.robust.certification.prover import ROUNDING, Prover
from xai.robust.certification.smoothing import SmoothingNoise, smooth
from xai.stats.intervals import wilson


class OutputBounds(tuple[Tensor, Tensor]):
    """Lower and upper bounds of logits, (N, K) each: a pair with notes.

    Attributes:
        notes: what is to be known of the model, and what was done to the images.

    Example:
        >>> import xai
        >>> images = xai.load_data("example:fashion-test").subset(2).images[:]
        >>> found = xai.output_bounds(xai.load("example:fashion"), images, images, method="ibp")
        >>> low, high = found
        >>> low is found.lower, tuple(high.shape)
        (True, (2, 10))
    """

    notes: tuple[str, ...]

    def __new__(cls, lower: Tensor, upper: Tensor, notes: Iterable[str] = ()) -> Self:
        """Make the pair."""
        pair = super().__new__(cls, (lower, upper))
        pair.notes = tuple(notes)
        return pair

    def __getnewargs__(self) -> Any:
        """Return what a copy is made of."""
        return self[0], self[1], self.notes

    def to_dict(self) -> dict[str, Any]:
        """Return both bounds as lists, and the notes, JSON-ready; infinite bounds are None."""
        bounds = {"lower": self.lower.tolist(), "upper": self.upper.tolist()}
        return {name: finite(rows) for name, rows in bounds.items()} | {"notes": list(self.notes)}

    @property
    def lower(self) -> Tensor:
        """The lower bounds."""
        return self[0]

    @property
    def upper(self) -> Tensor:
        """The upper bounds."""
        return self[1]


@dataclass(frozen=True, eq=False)
class Certificate(Result):
    """For which images no change inside the ball can change the answer.

    Attributes:
        verified: (N,) bool: right, and certified to stay so.
        margin: (N,) float64: certified lower bound of the true logit minus the best other one; for smoothing the radius
            minus eps.
        margins: (N, K) the same per class, NaN for the true one and for smoothing.
        labels: (N,) ground truth.
        predictions: (N,) of the clean images; for smoothing of the smoothed model, -1 where it abstains.
        eps: (N,) radius.
        norm: "linf", "l2" or "l1".
        method: as asked for.
        decided_by: (N,) the method that verified each image, "" where none did.
        provenance: model, further settings, seed of smoothing and versions.
        notes: how to read it.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(4)
        >>> certificate = xai.certify(clf, data.images[:], data.labels, eps=0.1 / 255, method="ibp")
        >>> certificate.verified.shape
        torch.Size([4])
    """

    _kind: ClassVar[str] = "certificate"
    _listed: ClassVar[tuple[str, ...]] = ("verified", "margin", "labels", "predictions", "eps")
    _derived: ClassVar[tuple[str, ...]] = ("certified_accuracy", "interval")

    verified: Tensor
    margin: Tensor
    margins: Tensor
    labels: Tensor
    predictions: Tensor
    eps: Tensor
    norm: str
    method: str
    decided_by: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    @property
    def certified_accuracy(self) -> float:
        """Share of all images that are verified: a lower bound of the robust accuracy."""
        return float(self.verified.double().mean()) if len(self) else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of it, over the draw of images."""
        low, high = wilson(int(self.verified.sum()), len(self))
        return float(low), float(high)


EVERY = (*METHODS, "auto", "smoothing")
_CUT = Message("balls are cut to pixels in [0, 1]")
_CUT_APART = Message(
    "balls are cut to pixels in [0, 1]; pixels in [0, 1] count where a pixel has no room at all and as a box, not "
    "along with the ball"
)
_NOT_CUT = Message("balls are not cut")


def output_bounds(
    model: Classifier | nn.Module,
    lower: Any,
    upper: Any,
    method: str = "crown",
    *,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> OutputBounds:
    """Return bounds of the logits for every image between two.

    Args:
        model: a classifier or a bare module.
        lower: (N, C, h, w) in [0, 1].
        upper: the same shape, nowhere below `lower`.
        method: "ibp", "crown_ibp" or "crown", from quick and loose to slow and tight.
        progress: None, True for a bar, or a callable `(done, total)`.
        should_stop: asked between chunks; True ends the work with `xai.errors.Stopped`.

    Returns:
        OutputBounds: lower and upper bounds (N, K) in float64, on the CPU, as computed (see `certify` for rounding), a
            pair that can be unpacked; its `notes` say what is to be known of the model.

    Raises:
        ShapeError: two shapes.
        RangeError: `lower` above `upper`.
        NameLookupError: no such method.
        UnsupportedModelError: a layer that bounds do not know, or a softmax at the end.

    Cost: about two forwards for "ibp" and a backward per class more for "crown_ibp"; for "crown" also a backward per
    inner number whose sign is not known, over the part of the image that it sees.
    Source: Gowal et al. 2018 (IBP, arXiv 1810.12715), Zhang et al. 2018 (CROWN, arXiv 1811.00866), Zhang et al. 2020
    (CROWN-IBP, arXiv 1906.06316); max pooling as in auto_LiRPA. Equal to auto_LiRPA's values to 1e-8 on the networks of
    the tests; inner signs that the box of a layer on the way settles are not asked further, which can only be tighter
    for them.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(2)
        >>> low, high = xai.output_bounds(clf, data.images[:], data.images[:], method="ibp")  # balls of radius 0
        >>> bool((high - low < 1e-3).all())
        True
    """
    if method not in METHODS:
        raise NameLookupError("method of bounds", method, METHODS)
    classifier = as_classifier(model)
    batches = [classifier.prepare(v) for v in (lower, upper)]
    low, high = (batch.inputs.to(classifier.device).double() for batch in batches)
    if low.shape != high.shape:
        raise ShapeError(f"Expected two boxes of one shape, but got {tuple(low.shape)} and {tuple(high.shape)}.")
    if bool((low > high).any()):
        raise RangeError("Expected `lower` nowhere above `upper`. Give the two in the other order.")
    prover = Prover.of(classifier, low)
    if prover.network.link == "softmax":
        raise UnsupportedModelError(
            f"{classifier.name!r} ends in a softmax: its logits have no bounds of their own. Take off its last layer, "
            "or use certify, whose margins need none."
        )
    with reporting(progress, "bounds") as report:
        below, above = prover.ranges(low, high, method, progress=report, should_stop=should_stop)
    return OutputBounds(below.cpu(), above.cpu(), dict.fromkeys([*batches[0].notes, *batches[1].notes]))


def certify(
    model: Classifier | nn.Module,
    images: ImageLike,
    labels: Any = None,
    eps: Any = 2 / 255,
    norm: str = "linf",
    method: str = "crown",
    *,
    clip: bool = True,
    seed: int = 0,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
    **settings: Any,
) -> Certificate:
    """Prove that no change inside a ball changes the answer.

    Args:
        model: a classifier or a bare module.
        images: in any form that `xai.explain` takes, or a data set; balls are around the model's inputs.
        labels: the truth, (N,) indices or names; None takes those of a data set. An image whose prediction is wrong is
            never verified.
        eps: radius in the scale of pixels in [0, 1]; one for all, or one per image.
        norm: "linf", "l2" or "l1".
        method: "ibp", "crown_ibp", "crown"; "auto" goes through the three, each on what is not certified yet;
            "smoothing" for any model (l2 only), a statement about the model under noise that holds with probability
            1 - alpha per image.
        clip: cut the balls to pixels in [0, 1], which proves more. For l2 and l1 the box and the ball are used one at a
            time, which is sound but not the best.
        seed: of smoothing; the noise belongs to the image, whatever stands beside it.
        progress: None, True for a bar, or a callable `(done, total)`.
        should_stop: asked between chunks; True ends the work with `xai.errors.Stopped`.
        settings: of smoothing: `sigma`, `samples`, `first`, `alpha`.

    Returns:
        Certificate with `.verified`, `.margin`, `.certified_accuracy`, `.interval`.

    Raises:
        NameLookupError: no such norm, method or setting.
        RangeError: a radius below 0.
        ShapeError: another number of labels than of images.
        TargetError: a label that is no class.
        UnsupportedModelError: a layer that bounds do not know; it is named.
        Stopped: `should_stop()` was true.

    Cost: see `output_bounds`; for "smoothing" first + samples forwards per image.
    Source: see `output_bounds`; smoothing: Cohen et al. 2019 (arXiv 1902.02918).

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(4)
        >>> certificate = xai.certify(clf, data.images[:], data.labels, eps=0.1 / 255, method="crown_ibp")
        >>> 0 <= certificate.certified_accuracy <= 1
        True
    """
    for value, known, kind in ((norm, NORMS, "norm"), (method, EVERY, "method of certify")):
        if value not in known:
            raise NameLookupError(kind, value, known)
    seed, classifier, noise = check_seed(seed), as_classifier(model), _noise(method, norm, settings)
    batch = classifier.prepare(images := open_data(images))
    classifier.check_images(batch.inputs)
    classifier.count_classes(batch.inputs)
    ground_truth, notes = labels_of(classifier, images, labels, len(batch.inputs))
    radius = _radius(eps, len(ground_truth), norm)
    inputs, ground_truth, radius = (part.to(classifier.device) for part in (batch.inputs, ground_truth, radius))
    notes += batch.notes + radius_doubts(sorted(set(radius.tolist())), norm, inputs[0].numel())
    task = _CertificationTask(classifier, inputs, ground_truth, radius, norm, method, seed, notes)
    with reporting(progress, "certify") as report:
        result = task.smoothing(noise, report, should_stop) if noise else task.bounding(clip, report, should_stop)
        return with_doubts(classifier, inputs, result)


def _noise(method: str, norm: str, settings: dict[str, Any]) -> SmoothingNoise | None:
    known = tuple(f.name for f in fields(SmoothingNoise)) if method == "smoothing" else ()
    for name in settings:
        if name not in known:
            raise NameLookupError(f"setting of {method}", name, known or ("none but for smoothing",))
    if method != "smoothing":
        return None
    if norm != "l2":
        raise NameLookupError("norm of smoothing", norm, ("l2",))
    return SmoothingNoise(**settings)


def _radius(eps: Any, count: int, norm: str) -> Tensor:
    try:
        radii = torch.as_tensor(eps, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        radii = torch.tensor(torch.nan)
    if radii.ndim > 1 or (radii.ndim == 1 and len(radii) != count) or not bool(((radii >= 0) & radii.isfinite()).all()):
        raise RangeError(f"Expected `eps` as a number of at least 0, or one per image, but got {eps!r}. 2 / 255, say.")
    check_eps(float(radii.max()), norm)
    return radii.expand(count)


@dataclass(frozen=True, eq=False)
class _CertificationTask:
    classifier: Classifier
    inputs: Tensor
    ground_truth: Tensor
    eps: Tensor
    norm: str
    method: str
    seed: int
    notes: Sequence[str]

    def bounding(self, clip: bool, report: Progress | None, should_stop: ShouldStop | None) -> Certificate:
        """Bound the margins, with harder methods on what is left."""
        prover = Prover.of(self.classifier, self.inputs, clip=clip)
        predictions = self.classifier.logits_of(self.inputs).argmax(1).to(self.inputs.device)
        right, needed = predictions == self.ground_truth, prover.rounding(self.inputs, self.eps)
        stages = METHODS if self.method == "auto" else (self.method,)
        margins = self.inputs.new_full((len(right), prover.network.classes), -torch.inf, dtype=torch.float64)
        margins.scatter_(1, self.ground_truth[:, None], torch.nan)
        certified, by = torch.zeros_like(right), torch.full_like(self.ground_truth, -1)
        for number, stage in enumerate(stages):
            rows = (~certified & (right | (len(stages) == 1))).nonzero()[:, 0]
            if not len(rows):
                break
            shown = _shown(report, number, len(stages), len(right), len(rows))
            inputs, ground_truth, eps = (part[rows] for part in (self.inputs, self.ground_truth, self.eps))
            bounds = prover.margins(
                inputs, ground_truth, eps, self.norm, stage, progress=shown, should_stop=should_stop
            )
            margins[rows] = torch.maximum(margins[rows], bounds)
            certified[rows] = right[rows] & (least(bounds) > needed[rows])
            by[rows[certified[rows]]] = number
        decided = ["" if k < 0 else stages[k] for k in by.tolist()]
        rounding = Message(
            "certified in float64 for real numbers, not for each rounding of the model: margins have to exceed {share} "
            "of the largest logit and the bound of rounding",
            share=ROUNDING,
        )
        ball = _CUT if clip and self.norm == "linf" else _CUT_APART if clip else _NOT_CUT
        return self._record(least(margins), margins, predictions, decided, {"clip": clip}, [rounding, ball])

    def smoothing(self, noise: SmoothingNoise, report: Progress | None, should_stop: ShouldStop | None) -> Certificate:
        """Sample noisy copies."""
        keys = [image_key(image) for image in self.inputs]
        with borrowed(self.classifier.module):
            chosen, radius = smooth(
                self.classifier, self.inputs, noise, keys, self.seed, progress=report, should_stop=should_stop
            )
        right = chosen == self.ground_truth.cpu()
        margin = torch.where(right, radius - self.eps.cpu(), torch.tensor(-torch.inf, dtype=torch.float64))
        by = ["smoothing" if good else "" for good in (margin >= 0).tolist()]
        nothing = torch.full((len(margin), self.classifier.num_classes), torch.nan, dtype=torch.float64)
        note = Message(
            "about the model under noise of sigma {sigma} on each pixel, wrong with a chance of at most {alpha} per "
            "image; margins are radius minus eps",
            **{"sigma": noise.sigma, "alpha": noise.alpha},
        )
        settings = {f.name: getattr(noise, f.name) for f in fields(noise)}
        return self._record(margin, nothing, chosen, by, settings, [note])

    def _record(
        self,
        margin: Tensor,
        margins: Tensor,
        predictions: Tensor,
        by: list[str],
        settings: dict[str, Any],
        notes: list[str],
    ) -> Certificate:
        return Certificate(
            verified=torch.tensor([bool(name) for name in by], dtype=torch.bool),
            margin=margin.cpu(),
            margins=margins.cpu(),
            labels=self.ground_truth.cpu(),
            predictions=predictions.cpu(),
            eps=self.eps.cpu().clone(),
            norm=self.norm,
            method=self.method,
            decided_by=tuple(by),
            provenance=Provenance.of(self.classifier, settings, self.seed),
            notes=(*self.notes, *notes),
        )


def least(margins: Tensor) -> Tensor:
    """Return the least margin (n,) over the other classes."""
    return margins.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf).amin(1)


def _shown(
    report: Progress | None, stage: int, stages: int, count: int, rows: int
) -> Callable[[int, int], None] | None:
    """Return a progress over the images of all stages; those that a stage need not look at count as done."""
    if report is None:
        return None
    report(stage * count + count - rows, stages * count)
    return lambda done, total: report((stage + 1) * count - total + done, stages * count)
