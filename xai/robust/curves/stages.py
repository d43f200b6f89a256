"""The stages of work of a curve, cheapest first. They leave bounds for each image."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from xai.core.model.classifier import Classifier
from xai.core.results.message import Message
from xai.core.runtime.batching import Progress, ShouldStop
from xai.errors import ContractError, Stopped, UnsupportedModelError
from xai.robust.attacks.base import Attack
from xai.robust.attacks.search import distance, project
from xai.robust.certification.prover import Prover

TIME_RAN_OUT = Message("time ran out")
SLACK = 1e-6  # relative: how far a float32 image may lie outside its ball, measured in float64


@dataclass(eq=False)
class ImageBounds:
    """One line per image. A certificate holds for all smaller radii, a counterexample for all larger ones.

    Attributes:
        images: (N, C, h, w) clean model inputs.
        labels: (N,) ground truth.
        eps: increasing radii (E).
        predictions: (N,) classes of the nearest counterexample, of the clean image where none is known.
        certified_radii: (N,) int64: how many radii are certified, from the smallest on.
        broken: (N,) int64: number of the smallest radius that is broken; E where none is.
        nearest: (N, C, h, w) the nearest counterexample; the clean image where none is known.
        distance: (N,) float64 to it; infinite where none is known.
        broken_by: (N,) name of the attack that found it, "" where none did; "clean" for wrong answers to begin with.
        certified_by: (N,) name of the method of the last certificate.
    """

    images: Tensor
    labels: Tensor
    eps: tuple[float, ...]
    predictions: Tensor
    certified_radii: Tensor = field(init=False)
    broken: Tensor = field(init=False)
    nearest: Tensor = field(init=False)
    distance: Tensor = field(init=False)
    broken_by: list[str] = field(init=False)
    certified_by: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Start with nothing certified and nothing broken but what is wrong to begin with."""
        count, wrong = len(self.images), self.predictions != self.labels
        self.certified_radii = torch.zeros(count, dtype=torch.int64)
        self.broken = torch.where(wrong, 0, len(self.eps))
        self.nearest = self.images.clone()
        self.distance = torch.full((count,), torch.inf, dtype=torch.float64).masked_fill(wrong, 0.0)
        self.broken_by = ["clean" if bad else "" for bad in wrong.tolist()]
        self.certified_by = [""] * count

    def to_attack(self, level: int) -> Tensor:
        """Return the images whose largest open radius is this one: an attack that fails here has done its work."""
        return ((self.broken == level + 1) & (self.certified_radii <= level)).nonzero()[:, 0]

    def open(self) -> Tensor:
        """Return the images with a radius that is neither certified nor broken."""
        return (self.certified_radii < self.broken).nonzero()[:, 0]

    def take(
        self, rows: Tensor, images: Tensor, distance: Tensor, predictions: Tensor, names: Sequence[str], real: Tensor
    ) -> Tensor:
        """Note counterexamples (n, C, h, w) of some images that are nearer than the known ones.

        Args:
            rows: (n,) numbers of the images.
            images: the counterexamples.
            distance: (n,) float64 from the clean images.
            predictions: (n,) their classes.
            names: n names of the attacks.
            real: (n,) bool: which are counterexamples at all.

        Returns:
            The numbers of the images for which something new was noted.
        """
        new = (real & (distance < self.distance[rows])).nonzero()[:, 0]
        which = rows[new]
        self.nearest[which], self.distance[which] = images[new].to(self.nearest), distance[new]
        self.predictions[which] = predictions[new]
        for row, k in zip(which.tolist(), new.tolist(), strict=True):
            self.broken_by[row] = names[k]
        limits = torch.tensor(self.eps, dtype=torch.float64) * (1 + SLACK) + SLACK
        self.broken[which] = torch.searchsorted(limits, self.distance[which])
        self.check()
        return which

    def take_certificates(self, rows: Tensor, verified: Tensor, levels: Tensor, method: str) -> None:
        """Note for which of some images (n,) a radius was certified, each with the number of its own (n,)."""
        which = rows[verified]
        self.certified_radii[which] = torch.maximum(self.certified_radii[which], levels[verified] + 1)
        for row in which.tolist():
            self.certified_by[row] = method
        self.check()

    def check(self) -> None:
        """Hold certificates and counterexamples against each other.

        Raises:
            ContractError: an image is certified at a radius at which it is broken.
        """
        both = (self.certified_radii > self.broken).nonzero()[:, 0]
        if len(both):
            row = int(both[0])
            raise ContractError(
                f"Image {row} is certified up to {self.eps[int(self.certified_radii[row]) - 1]:.6g} by "
                f"{self.certified_by[row]!r}, but {self.broken_by[row]!r} changed the prediction at "
                f"{float(self.distance[row]):.6g}: one of them is wrong. Please report it with the model."
            )


_TO_CERTIFY = 32  # images for which certificates start from the same guess
_AT_ONCE = 256  # images for one call: what is lost when time runs out in the midst of it


@dataclass(frozen=True)
class CurveStage:
    """What one attack or certificate did.

    Attributes:
        name: of the attack or of the method of bounds.
        kind: "attack" or "certificate".
        images: how many it was tried on, each once.
        cells: how many pairs of image and radius it decided.
        seconds: wall time.
        finished: whether it came to its end within the budget.
        note: why it was left out, or "".
    """

    name: str
    kind: str
    images: int
    cells: int
    seconds: float
    finished: bool
    note: str = ""


@dataclass(eq=False)
class Clock:
    """Asks whether to go on."""

    budget: float | None
    should_stop: ShouldStop | None
    began: float = field(default_factory=time.monotonic)

    def late(self) -> bool:
        """Whether the budget is spent."""
        return self.budget is not None and time.monotonic() - self.began >= self.budget

    def stop(self) -> bool:
        """Whether to end the stage: the budget is spent or the caller asks for it."""
        return self.late() or (self.should_stop is not None and self.should_stop())


@dataclass(eq=False)
class CurveWork:
    """The stages of one curve.

    Attributes:
        classifier: the model.
        bounds: what is known.
        norm: "linf", "l2" or "l1".
        seed: of everything random.
        keys: one per image, stands for it in everything random.
        clock: budget and stop.
        stages: what was done.
    """

    classifier: Classifier
    bounds: ImageBounds
    norm: str
    seed: int
    keys: Sequence[bytes]
    clock: Clock
    report: Progress | None = None
    stages: list[CurveStage] = field(default_factory=list)
    total: int = 1

    def attack(self, attack: Attack) -> None:
        """Attack at each image's largest open radius, and on towards smaller ones while it succeeds."""
        self._stage(attack.name, "attack", lambda tried: self._attacked(attack, tried))

    def certify(self, prover: Prover, method: str) -> None:
        """Prove each image up to the largest radius that the method can."""
        self._stage(method, "certificate", lambda tried: self._certified(prover, method, tried))

    def leave_out(self, name: str, kind: str, why: str) -> None:
        """Note a stage that cannot be done."""
        self.stages.append(CurveStage(name, kind, 0, 0, 0.0, finished=False, note=why))

    def _attacked(self, attack: Attack, tried: set[int]) -> None:
        count = len(self.bounds.open())
        for level in reversed(range(len(self.bounds.eps))):
            for rows in _parts(self.bounds.to_attack(level)):
                self._tell(len(tried) / count)
                tried.update(rows.tolist())
                result = attack.run(
                    self.classifier,
                    self.bounds.images[rows],
                    self.bounds.labels[rows],
                    eps=self.bounds.eps[level],
                    norm=self.norm,
                    seed=self.seed,
                    keys=[self.keys[row] for row in rows.tolist()],
                    should_stop=self.clock.stop,
                    warm=self.bounds.nearest[rows],
                )
                self._shrink(
                    self.bounds.take(
                        rows, result.adversarial, result.distance, result.predictions, result.broken_by, result.success
                    )
                )

    def _shrink(self, rows: Tensor) -> None:
        """Draw counterexamples into the next smaller ball while they are still misclassified: one forward each."""
        bounds = self.bounds
        radii = torch.tensor(bounds.eps, dtype=torch.float64)
        while len(rows := rows[bounds.broken[rows] > bounds.certified_radii[rows]]):
            clean = bounds.images[rows]
            drawn = project(bounds.nearest[rows], clean, radii[bounds.broken[rows] - 1].to(clean), self.norm)
            predictions = predictions_of(self.classifier, drawn, bounds.labels[rows])
            names = [bounds.broken_by[row] for row in rows.tolist()]
            wrong = predictions != bounds.labels[rows]
            rows = bounds.take(rows, drawn, distance(drawn, clean, self.norm), predictions, names, wrong)

    def _certified(self, prover: Prover, method: str, tried: set[int]) -> None:
        """Ask for each image where its certificates end, from where those of the images before mostly ended."""
        reached: list[int] = []
        open_rows = self.bounds.open()
        for rows in _parts(open_rows, _TO_CERTIFY):
            self._tell(len(tried) / len(open_rows))
            tried.update(rows.tolist())
            guess = int(torch.tensor(reached).median()) if reached else 0
            reached += self._climbed(prover, method, rows, guess).tolist()

    def _climbed(self, prover: Prover, method: str, rows: Tensor, guess: int) -> Tensor:
        """Go up from a guess while radii are certified, or down until one is; return their number (n,)."""
        bounds = self.bounds
        radii = torch.tensor(bounds.eps, dtype=torch.float64)
        failed = bounds.broken[rows].clone()
        level = torch.minimum(torch.full_like(failed, guess), failed - 1).maximum(bounds.certified_radii[rows])
        while len(left := (bounds.certified_radii[rows] < failed).nonzero()[:, 0]):
            open_rows, at = rows[left], level[left]
            images, labels = bounds.images[open_rows], bounds.labels[open_rows]
            margins = prover.margins(images, labels, radii[at], self.norm, method, should_stop=self.clock.stop)
            verified = prover.verified(images, margins, float(radii[at].max())).cpu()
            bounds.take_certificates(open_rows, verified, at, method)
            failed[left] = torch.where(verified, failed[left], at)
            level[left] = torch.where(verified, at + 1, at - 1)
        return bounds.certified_radii[rows]

    def _stage(self, name: str, kind: str, work: Callable[[set[int]], None]) -> None:
        began, before, tried = time.monotonic(), self._cells(), set[int]()
        note = TIME_RAN_OUT if self.clock.late() and len(self.bounds.open()) else self._ended(work, tried)
        seconds = time.monotonic() - began
        self.stages.append(CurveStage(name, kind, len(tried), self._cells() - before, seconds, not note, note))
        self._tell(0.0)

    def _tell(self, share: float) -> None:
        """Report how much is done, in hundredths of stages, with a share of the present one."""
        if self.report is not None:
            done = len(self.stages)
            self.report(int(100 * (done + min(share, 0.99))), 100 * max(self.total, done))

    def _ended(self, work: Callable[[set[int]], None], tried: set[int]) -> str:
        """Do the work; return why it did not come to its end, or ""."""
        try:
            work(tried)
        except Stopped:
            if not self.clock.late():
                raise
            return TIME_RAN_OUT
        except UnsupportedModelError as error:
            return error.message
        return ""

    def _cells(self) -> int:
        bounds = self.bounds
        return int(bounds.certified_radii.sum() + (len(bounds.eps) - bounds.broken).sum())


def _parts(rows: Tensor, size: int = _AT_ONCE) -> list[Tensor]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def predictions_of(classifier: Classifier, images: Tensor, ground_truth: Tensor) -> Tensor:
    """Return the classes (n,) that a classifier gives to inputs; a tie at the top counts as the true class."""
    logits = classifier.logits_of(images)
    tied = logits.gather(1, ground_truth[:, None])[:, 0] >= logits.amax(1)
    return torch.where(tied, ground_truth, logits.argmax(1))
