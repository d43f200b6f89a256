"""Proofs for pictures: margins that no change inside a ball can cross, and bounds of the logits over boxes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xai.bounds._network import Network, network_of
from xai.bounds.linear import METHODS, MOST, Region, bounds, largest, lower_bounds
from xai.bounds.result import Certificate
from xai.bounds.smoothing import Noise, smooth
from xai.core.classifier import Classifier, as_classifier
from xai.core.hooks import borrowed
from xai.core.images import ImageLike
from xai.core.labels import check_labels
from xai.core.records import versions
from xai.core.rows import Progress, ShouldStop, in_chunks, reporting
from xai.core.seeds import check_seed, image_key
from xai.errors import NameLookupError, RangeError, ShapeError

ROUNDING = 1e-9  # of the largest logit: what float64 may have rounded away, many times over
NORMS = ("linf", "l2", "l1")
EVERY = (*METHODS, "auto", "smoothing")
_REAL = (
    "proven in float64 for real numbers, not for each rounding of the model: margins have to exceed 1e-9 of the "
    "largest logit"
)


@dataclass(eq=False)
class Prover:
    """A network made ready once, for many questions.

    Attributes:
        network: of the classifier.
        clip: whether balls are cut to pixels in [0, 1].
    """

    network: Network
    clip: bool = True

    @classmethod
    def of(cls, classifier: Classifier, images: Tensor, *, clip: bool = True) -> "Prover":
        """Read a classifier; `images` (N, C, h, w) show the size of its input.

        Raises:
            UnsupportedModelError: a layer that bounds do not know.
        """
        with borrowed(classifier.module):
            return cls(network_of(classifier, images[:1]), clip)

    def margins(self, images: Tensor, labels: Tensor, eps: Tensor, norm: str, method: str) -> Tensor:
        """Return proven lower bounds (n, K) of true less other logit, NaN at the true class; eps is (n,)."""
        count = self.network.shape_of(len(self.network.layers)).numel()
        spec = _specification(labels, count)
        others = ~torch.nn.functional.one_hot(labels, count).bool()
        found = torch.full((len(images), count), torch.nan, dtype=torch.float64, device=images.device)

        def run(start: int, stop: int) -> None:
            region = Region.around(images[start:stop], eps[start:stop], norm, clip=self.clip)
            below = lower_bounds(self.network, region, method, spec[start:stop])
            found[start:stop] = found[start:stop].masked_scatter(others[start:stop], below)

        rows = max(1, MOST // (max(1, count - 1) * largest(self.network, len(self.network.layers))))
        with torch.no_grad():
            in_chunks(run, len(images), limit=rows)
        return found

    def verified(self, images: Tensor, margins: Tensor) -> Tensor:
        """Return which margins (n, K) prove the answer, rounding allowed for."""
        scale = self.network.logits(images).abs().amax(1) + 1
        return margins.nan_to_num(torch.inf).amin(1) > ROUNDING * scale


def _specification(labels: Tensor, count: int) -> Tensor:
    """Return (n, K - 1, K): true less other logit, other classes ascending."""
    every = torch.eye(count, dtype=torch.float64, device=labels.device)
    others = torch.arange(count, device=labels.device).expand(len(labels), -1)
    others = others[others != labels[:, None]].view(len(labels), count - 1)
    return every[labels][:, None] - every[others]


def output_bounds(
    model: Classifier | nn.Module, lower: Any, upper: Any, method: str = "crown"
) -> tuple[Tensor, Tensor]:
    """Return bounds of the logits for every picture between two.

    Args:
        model: a classifier or a bare module.
        lower: (N, C, h, w) in [0, 1].
        upper: the same shape, nowhere below `lower`.
        method: "ibp", "crown_ibp" or "crown", from quick and loose to slow and tight.

    Returns:
        Lower and upper bounds (N, K) in float64.

    Raises:
        ShapeError: two shapes.
        RangeError: `lower` above `upper`.
        NameLookupError: no such method.
        UnsupportedModelError: a layer that bounds do not know.

    Cost: about four forwards for "ibp"; for "crown" a backward per neuron whose sign is not known.
    Source: Gowal et al. 2018 (IBP), Zhang et al. 2018 (CROWN, arXiv 1811.00866), Zhang et al. 2020 (CROWN-IBP). Equal
    to auto_LiRPA's to 1e-8.
    """
    if method not in METHODS:
        raise NameLookupError("method of bounds", method, METHODS)
    classifier = as_classifier(model)
    low, high = (classifier.prepare(v).inputs.to(classifier.device).double() for v in (lower, upper))
    if low.shape != high.shape:
        raise ShapeError(f"Expected two boxes of one shape, but got {tuple(low.shape)} and {tuple(high.shape)}.")
    if bool((low > high).any()):
        raise RangeError("Expected `lower` nowhere above `upper`. Give the two in the other order.")
    network = Prover.of(classifier, low).network
    ends: list[tuple[Tensor, Tensor]] = []

    def run(start: int, stop: int) -> None:
        ends.append(bounds(network, Region(low[start:stop], high[start:stop]), method))

    rows = max(1, MOST // (classifier.num_classes * largest(network, len(network.layers))))
    with torch.no_grad():
        in_chunks(run, len(low), limit=rows)
    return torch.cat([a for a, _ in ends]).cpu(), torch.cat([b for _, b in ends]).cpu()


def certify(
    model: Classifier | nn.Module,
    images: ImageLike,
    labels: Any,
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
        images: in any form that `xai.explain` takes.
        labels: the truth, (N,).
        eps: radius in the scale of pixels in [0, 1]; one for all, or one per picture.
        norm: "linf", "l2" or "l1".
        method: "ibp", "crown_ibp", "crown"; "auto" goes through the three, each on what is not proven yet;
            "smoothing" for any model (l2 only), a statement about the model under noise that holds with probability
            1 - alpha per picture.
        clip: cut the balls to pixels in [0, 1], which proves more.
        seed: of smoothing.
        progress: None, True for a bar, or a callable `(done, total)`.
        should_stop: asked between chunks.
        settings: of smoothing: `sigma`, `samples`, `first`, `alpha`.

    Returns:
        Certificate with `.verified`, `.margin`, `.certified_accuracy`, `.interval`.

    Raises:
        NameLookupError: no such norm or method.
        RangeError: a radius below 0.
        UnsupportedModelError: a layer that bounds do not know.

    Source: see `output_bounds`; smoothing: Cohen et al. 2019 (arXiv 1902.02918).
    """
    for value, known, kind in ((norm, NORMS, "norm"), (method, EVERY, "method of certify")):
        if value not in known:
            raise NameLookupError(kind, value, known)
    seed, classifier = check_seed(seed), as_classifier(model)
    batch = classifier.prepare(images)
    classifier.count_classes(batch.inputs)
    inputs = batch.inputs.to(classifier.device)
    truth = check_labels(classifier, labels, len(inputs)).to(inputs.device)
    radius = _radius(eps, len(inputs)).to(inputs.device)
    task = _Task(classifier, inputs, truth, radius, norm, method, clip, seed, batch.notes)
    with reporting(progress, "certify") as report:
        return (
            task.smoothing(settings, report, should_stop)
            if method == "smoothing"
            else task.proof(settings, report, should_stop)
        )


def _radius(eps: Any, count: int) -> Tensor:
    found = torch.as_tensor(eps, dtype=torch.float64)
    if (
        found.ndim > 1
        or (found.ndim == 1 and len(found) != count)
        or not bool((found >= 0).all())
        or bool(found.isinf().any())
    ):
        raise RangeError(f"Expected `eps` as a number of at least 0, or one per picture, but got {eps!r}.")
    return found.expand(count)


@dataclass(frozen=True, eq=False)
class _Task:
    classifier: Classifier
    inputs: Tensor
    truth: Tensor
    eps: Tensor
    norm: str
    method: str
    clip: bool
    seed: int
    notes: tuple[str, ...] | Sequence[str]

    def proof(self, settings: dict[str, Any], report: Progress | None, should_stop: ShouldStop | None) -> Certificate:
        """Bound the margins, with harder methods on what is left."""
        for name in settings:
            raise NameLookupError(f"setting of {self.method}", name, ())
        prover = Prover.of(self.classifier, self.inputs, clip=self.clip)
        count, total = self.classifier.num_classes, len(self.inputs)
        margins = torch.full((total, count), -torch.inf, dtype=torch.float64, device=self.inputs.device)
        margins.scatter_(1, self.truth[:, None], torch.nan)
        predictions = self.classifier.logits_of(self.inputs).argmax(1).to(self.inputs.device)
        by = [""] * total
        stages = METHODS if self.method == "auto" else (self.method,)

        def run(start: int, stop: int) -> None:
            rows = torch.arange(start, stop, device=self.inputs.device)
            for stage in stages:
                if not len(rows):
                    return
                found = prover.margins(self.inputs[rows], self.truth[rows], self.eps[rows], self.norm, stage)
                margins[rows] = torch.maximum(margins[rows], found)
                proven = prover.verified(self.inputs[rows], margins[rows]) & (predictions[rows] == self.truth[rows])
                for row in rows[proven].tolist():
                    by[row] = stage
                rows = rows[~proven]

        in_chunks(run, total, limit=16, progress=report, should_stop=should_stop)
        notes = [*self.notes, _REAL]
        return self._record(margins.nan_to_num(torch.inf).amin(1), margins, predictions, by, {"clip": self.clip}, notes)

    def smoothing(
        self, settings: dict[str, Any], report: Progress | None, should_stop: ShouldStop | None
    ) -> Certificate:
        """Sample noisy copies."""
        known = ("sigma", "samples", "first", "alpha")
        for name in settings:
            if name not in known:
                raise NameLookupError("setting of smoothing", name, known)
        if self.norm != "l2":
            raise NameLookupError("norm of smoothing", self.norm, ("l2",))
        noise = Noise(**settings)
        keys = [image_key(image) for image in self.inputs]
        with borrowed(self.classifier.module):
            chosen, radius = smooth(
                self.classifier, self.inputs, noise, keys, self.seed, progress=report, should_stop=should_stop
            )
        right = chosen == self.truth.cpu()
        margin = torch.where(right, radius - self.eps.cpu(), torch.tensor(-torch.inf, dtype=torch.float64))
        by = ["smoothing" if good else "" for good in (margin >= 0).tolist()]
        nothing = torch.full((len(margin), self.classifier.num_classes), torch.nan, dtype=torch.float64)
        chance = f"wrong with a chance of at most {noise.alpha} per picture"
        note = f"about the model under noise of sigma {noise.sigma}, {chance}"
        kept = {"sigma": noise.sigma, "samples": noise.samples, "first": noise.first, "alpha": noise.alpha}
        return self._record(margin, nothing, chosen, by, kept, [*self.notes, note])

    def _record(
        self,
        margin: Tensor,
        margins: Tensor,
        predictions: Tensor,
        by: list[str],
        settings: dict[str, Any],
        notes: list[str],
    ) -> Certificate:
        classifier = self.classifier
        return Certificate(
            verified=torch.tensor([bool(name) for name in by], dtype=torch.bool),
            margin=margin.cpu(),
            margins=margins.cpu(),
            labels=self.truth.cpu(),
            predictions=predictions.cpu(),
            eps=self.eps.cpu().clone(),
            norm=self.norm,
            method=self.method,
            settings=settings,
            decided_by=tuple(by),
            model={
                "name": classifier.name,
                "fingerprint": classifier.fingerprint,
                "preprocessing": classifier.preprocessing,
            },
            versions=versions(),
            seed=self.seed,
            notes=tuple(notes),
        )
