"""Shared parts of all attacks.

Here are the checks before, the batches, the fresh forward pass that judges, and the record.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from xai.core.images.border import open_data
from xai.core.images.inputs import ImageLike
from xai.core.labels import labels_of
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.hooks import borrowed, gradients_on
from xai.core.model.objective import Target, target_indices
from xai.core.model.usage_checks import with_doubts
from xai.core.registry import Registry
from xai.core.results.message import Message
from xai.core.results.result import Provenance
from xai.core.runtime.batching import Progress, ShouldStop, in_chunks, reporting
from xai.core.runtime.randomness import image_key
from xai.core.validation import check_eps, check_seed, radius_doubts
from xai.engine.prepare import prepare
from xai.errors import ContractError, NameLookupError, TargetError
from xai.robust.attacks import MODULES
from xai.robust.attacks.result import AttackResult
from xai.robust.attacks.search import Search, check_norm, distance, seeds_of

OUTSIDE = 1e-6  # relative: how far a float32 image may leave its ball, measured in float64
_MOST = 256


@dataclass(frozen=True)
class AttackCost:
    """Rows sent through the network and back, per image that is never misclassified."""

    forward: int
    backward: int


class Attack(ABC):
    """The base class of attacks.

    An attack is a frozen dataclass of its settings with one private function that searches.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    family: ClassVar[str]
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    needs: ClassVar[tuple[str, ...]] = ("gradients",)
    stochastic: ClassVar[bool] = True
    minimal: ClassVar[bool] = False  # looks for the smallest distance; `eps` may be None
    ball: ClassVar[bool] = True  # False: rotations and the like, whose distance says nothing
    can_target: ClassVar[bool] = True

    @property
    @abstractmethod
    def cost(self) -> AttackCost:
        """Rows per image at these settings."""

    @abstractmethod
    def _attack(self, search: Search) -> None:
        """Search adversarial examples: `search.keep` or `search.look` take in what was found."""

    @final
    def run(
        self,
        model: Classifier | nn.Module,
        images: ImageLike,
        labels: Any = None,
        *,
        eps: float | None = None,
        norm: str = "linf",
        targeted: Target = None,
        seed: int = 0,
        progress: bool | Progress | None = None,
        should_stop: ShouldStop | None = None,
        keys: Sequence[bytes] | None = None,
        warm: Tensor | None = None,
    ) -> AttackResult:
        """Attack images; see `xai.attack` for the arguments.

        `keys`, one per image, stand for it in random draws. `warm` (N, C, h, w) are points, such as counterexamples of
        a larger ball, where `pgd` takes a few steps before it begins at random; equal to the image where there is
        none.
        """
        began = time.perf_counter()
        seed, classifier = check_seed(seed), as_classifier(model)
        radius = self._checked_eps(eps, check_norm(norm))
        images = open_data(images)
        batch = classifier.prepare(images)
        classifier.check_images(batch.inputs)
        classifier.count_classes(batch.inputs)
        inputs = batch.inputs.to(device=classifier.device, dtype=torch.promote_types(classifier.dtype, torch.float32))
        ground_truth, notes = labels_of(classifier, images, labels, len(inputs))
        ground_truth = ground_truth.to(inputs.device)
        targets = None if targeted is None else self._target_classes(classifier, targeted, ground_truth)
        job = _AttackJob(self, classifier, inputs, ground_truth, targets, radius, norm, seed, keys, warm, should_stop)
        with borrowed(classifier.module), gradients_on(), reporting(progress, self.name) as report:
            job.run(report)
        doubts = radius_doubts([radius], norm, inputs[0].numel()) if self.ball and eps is not None else ()
        return job.result(eps, time.perf_counter() - began, [*batch.notes, *notes, *doubts])

    def _checked_eps(self, eps: float | None, norm: str) -> float:
        if norm not in self.norms:
            raise TargetError(
                f"{self.name} works in {', '.join(self.norms)}, but got norm={norm!r}. Choose one of them."
            )
        if eps is None:
            if not self.minimal and self.ball:
                return check_eps(DEFAULT_EPS[norm], norm)
            return float("inf")
        return check_eps(eps, norm)

    def _target_classes(self, classifier: Classifier, targeted: Target, ground_truth: Tensor) -> Tensor:
        if not self.can_target:
            raise TargetError(f"{self.name} has no targeted form. Leave `targeted` out, or use 'pgd'.")
        targets = target_indices(classifier, targeted, len(ground_truth))
        assert targets is not None
        targets = targets.to(ground_truth.device)
        if bool((targets == ground_truth).any()):
            where = int((targets == ground_truth).nonzero()[0, 0])
            raise TargetError(f"Expected `targeted` classes other than the true ones, but image {where} has its own.")
        return targets


DEFAULT_EPS = {"linf": 8 / 255, "l2": 0.5, "l1": 12.0}
ATTACKS: Registry[type[Attack]] = Registry("attack", "xai.robust.attacks", MODULES)


@dataclass(eq=False)
class _AttackJob:
    """One call: rows in chunks, the judgement, the record."""

    attack: Attack
    classifier: Classifier
    inputs: Tensor
    ground_truth: Tensor
    targets: Tensor | None
    eps: float
    norm: str
    seed: int
    keys: Sequence[bytes] | None
    warm: Tensor | None
    should_stop: ShouldStop | None

    def run(self, report: Progress | None) -> None:
        """Attack all images."""
        count = len(self.inputs)
        self.best, self.by = self.inputs.clone(), [""] * count
        self.forwards = self.backwards = 0
        self.clean_logits = self._judge(self.inputs)
        self.logits = self.clean_logits.clone()
        self.notes: list[str] = []
        clean = _predictions(self.clean_logits, self.ground_truth)
        self.right = (clean == self.ground_truth) & ((clean != self.targets) if self.targets is not None else True)
        rows = self.right.nonzero()[:, 0]
        keys = self.keys or [image_key(image) for image in self.inputs]
        self.seeds = seeds_of(self.seed, keys, self.inputs.device)
        if len(rows):
            self.searcher = searcher(self.classifier, self.inputs[rows])
            limit = min(_MOST, self.classifier.row_limit(self.inputs))
            in_chunks(
                lambda a, b: self._chunk(rows[a:b]),
                len(rows),
                limit=limit,
                progress=report,
                should_stop=self.should_stop,
            )

    def _chunk(self, rows: Tensor) -> None:
        """Attack some images; those whose claim fails with the model itself are attacked once more with it."""
        lost = self._searched(self.searcher, rows)
        if len(lost) and self.searcher is not self.classifier:
            lost = self._searched(self.classifier, lost)
        if len(lost):
            self.notes.append(
                Message(
                    "{count} image(s) were misclassified once and not when run again: counted as robust",
                    count=len(lost),
                )
            )

    def _searched(self, classifier: Classifier, rows: Tensor) -> Tensor:
        targets = None if self.targets is None else self.targets[rows]
        search = Search(
            classifier,
            self.inputs[rows],
            self.ground_truth[rows],
            targets,
            self.eps,
            self.norm,
            self.seeds[rows],
            samples=getattr(self.attack, "eot", 1),
            warm=None if self.warm is None else self.warm[rows].to(self.inputs),
            should_stop=self.should_stop,
        )
        self.attack._attack(search)
        self.forwards, self.backwards = self.forwards + search.forwards, self.backwards + search.backwards
        return self._take(search, rows)

    def _take(self, search: Search, rows: Tensor) -> Tensor:
        """Judge what a search claims with the model itself and by the float64 distance; return claims that fail."""
        images = search.best.detach().clamp(0, 1)
        logits = self._judge(images)
        real = search.misclassified(logits, torch.arange(len(rows), device=rows.device))
        if self.attack.ball:
            limit = self.eps * (1 + OUTSIDE) + OUTSIDE
            far = distance(images, search.clean, self.norm) > limit
            if bool((far & ~(search.done & torch.tensor(self.attack.minimal))).any()):
                raise ContractError(f"{self.attack.name} left the {self.norm} ball of radius {self.eps:.6g}.")
            real &= ~far
            images = torch.where(far.view(-1, 1, 1, 1) & torch.tensor(self.eps < float("inf")), search.clean, images)
            logits = torch.where(far[:, None], self.clean_logits[rows], logits)
        self.best[rows], self.logits[rows] = images.to(self.best), logits
        for k, (row, hit) in enumerate(zip(rows.tolist(), real.tolist(), strict=True)):
            self.by[row] = search.credits.get(k, self.attack.name) if hit else ""
        return rows[search.done & ~real & ~(far if self.attack.ball else torch.zeros_like(real))]

    def _judge(self, images: Tensor) -> Tensor:
        self.forwards += len(images)
        return self.classifier.logits_of(images).to(images)

    def result(self, eps: float | None, seconds: float, notes: Sequence[str]) -> AttackResult:
        """Return the record."""
        predictions, clean = (_predictions(v, self.ground_truth) for v in (self.logits, self.clean_logits))
        attack, classifier = self.attack, self.classifier
        wrong = int((clean != self.ground_truth).sum())
        misclassified = Message(
            "{count} of {total} images are misclassified before the attack and were left alone",
            **{"count": wrong, "total": len(clean)},
        )
        every = [*notes, *self.notes]
        every += [misclassified] if wrong else []
        settings = {f.name: getattr(attack, f.name) for f in fields(attack)}  # type: ignore[arg-type]
        return AttackResult(
            adversarial=self.best.cpu(),
            clean=self.inputs.cpu(),
            success=torch.tensor([bool(name) for name in self.by], dtype=torch.bool),
            distance=distance(self.best, self.inputs, self.norm).cpu(),
            predictions=predictions.cpu(),
            clean_predictions=clean.cpu(),
            labels=self.ground_truth.cpu(),
            logits=self.logits.cpu(),
            method=attack.name,
            eps=eps if attack.minimal or not attack.ball else self.eps,
            norm=self.norm,
            broken_by=tuple(self.by),
            targeted=None if self.targets is None else tuple(self.targets.tolist()),
            forwards=self.forwards,
            backwards=self.backwards,
            seconds=seconds,
            provenance=Provenance.of(classifier, settings, self.seed),
            notes=tuple(dict.fromkeys(every)),
        )


def _predictions(logits: Tensor, ground_truth: Tensor) -> Tensor:
    """Return predictions (N,); a tie at the top counts as the true class."""
    tied = logits.gather(1, ground_truth[:, None])[:, 0] >= logits.amax(1)
    return torch.where(tied, ground_truth, logits.argmax(1))


def searcher(classifier: Classifier, images: Tensor) -> Classifier:
    """Return a frozen copy without batch norm where it answers the same, and the model itself where not."""
    prepared = prepare(classifier, images)
    copy = prepared.plain or prepared.classifier
    return copy if any("differs by" in note for note in prepared.notes) else classifier


def attack(
    model: Classifier | nn.Module,
    images: ImageLike,
    labels: Any = None,
    method: str = "pgd",
    eps: float | None = None,
    norm: str = "linf",
    steps: int | None = None,
    targeted: Target = None,
    seed: int = 0,
    *,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
    **settings: Any,
) -> AttackResult:
    """Search for small changes that make a classifier answer wrongly.

    Args:
        model: from `xai.load`, an `xai.Classifier`, or a bare `nn.Module` that takes pixels in [0, 1].
        images: in any form that `xai.explain` takes, or a data set; what is changed are the model's inputs.
        labels: the truth (N,), as indices or names; None takes those of a data set. Images that are wrong to begin
            with are left alone.
        method: fgsm, bim, pgd, mifgsm, apgd-ce, apgd-dlr, apgd-t, fab-t, square, autoattack, deepfool, cw, ddn, fmn,
            spatial, noise.
        eps: radius in the scale of pixels in [0, 1] (8/255, not 8). None takes 8/255 (linf), 0.5 (l2) or 12 (l1);
            methods that look for the smallest change then take what they find.
        norm: "linf", "l2" or "l1".
        steps: of methods that have them; None takes the method's own.
        targeted: class to reach, one for all or one per image; None takes any wrong one.
        seed: fixes everything random, per image: neither batch size nor order matter.
        progress: None, True for a bar, or a callable `(done, total)`.
        should_stop: asked at every forward; True ends the work with `xai.errors.Stopped`.
        settings: of the method; a wrong name suggests near ones.

    Returns:
        AttackResult; `.robust_accuracy` is an upper bound of the truth: no attack proves robustness, see `xai.certify`.

    Raises:
        InputError: an image, label or setting that cannot be used.
        NameLookupError: no such method, norm or setting.
        UnsupportedModelError: the model lets no gradient through and the method needs one.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(8)
        >>> found = xai.attack(clf, data.images[:], data.labels, "pgd", eps=8 / 255, steps=5)
        >>> bool((found.distance <= 8 / 255 + 1e-6).all())
        True
    """
    attacker = ATTACKS[method]
    settings |= {} if steps is None else {"steps": steps}
    known = [f.name for f in fields(attacker)]  # type: ignore[arg-type]  # every attack is a dataclass
    for name in settings:
        if name not in known:
            raise NameLookupError(f"setting of {method}", name, known)
    classifier = as_classifier(model)
    arguments: dict[str, Any] = {"eps": eps, "norm": norm, "targeted": targeted, "seed": seed, "progress": progress}
    result = attacker(**settings).run(classifier, images, labels, **arguments, should_stop=should_stop)
    return with_doubts(classifier, result.clean, result)
