"""The loop that all attacks share, and the losses they raise.

Misclassified images leave at once; only survivors go on to the next step, restart and attack. No parameter gradient is
ever computed, and every claim is judged again at the end by a fresh forward of the original model (`base.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.core.model.classifier import Classifier
from xai.core.model.hooks import gradients
from xai.errors import Stopped, UnsupportedModelError
from xai.robust.attacks.balls import Eps, project, random_start, wide

_TINY = 1e-12
Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of the true class."""
    return F.cross_entropy(logits, labels, reduction="none")


def divergence(logits: Tensor, clean_logits: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of the probabilities from those of `answers`: KL(answers || logits)."""
    log, reference = logits.log_softmax(1), clean_logits.log_softmax(1)
    return (reference.exp() * (reference - log)).sum(1)


def best_other(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the largest logit of another class."""
    hidden = torch.zeros_like(logits).scatter_(1, labels[:, None], torch.inf)
    return (logits - hidden).amax(1)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the best other logit minus the true one."""
    return best_other(logits, labels) - logits.gather(1, labels[:, None])[:, 0]


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the difference of logits ratio: the margin over the first minus the third largest logit.

    Blind to the scale of the logits. With two classes the margin over itself says nothing: cross-entropy stands in.
    Source: Croce & Hein 2020, eq. (6).
    """
    if logits.shape[1] < 3:
        return cross_entropy(logits, labels)
    top = logits.topk(3, 1).values
    return margin(logits, labels) / (top[:, 0] - top[:, 2] + _TINY)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the target's logit minus the true one, over the first minus the mean of third and fourth largest logit.

    With fewer than four classes the plain difference stands in. Source: Croce & Hein 2020, eq. (7).
    """
    gap = logits.gather(1, targets[:, None])[:, 0] - logits.gather(1, labels[:, None])[:, 0]
    if logits.shape[1] < 4:
        return gap
    top = logits.topk(4, 1).values
    return gap / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + _TINY)


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "margin": margin, "dlr": dlr}


Score = Callable[[Tensor, Tensor], Tensor]


@dataclass(eq=False)
class Search:
    """Images of one chunk and what was found for them.

    Attributes:
        classifier: answers; a frozen copy where one answers the same, the model itself where not.
        clean: (n, C, h, w).
        labels: (n,) the truth.
        targets: (n,) the class to reach, or None when any other will do.
        eps: radius, one for all or (n,).
        norm: "linf", "l2" or "l1".
        seeds: (n,) int64, of the images.
        samples: forwards averaged per gradient and per judgement, for models that answer at random.
        warm: (n, C, h, w) points to begin at before anything random, projected; equal to `clean` where none is known.
        done: (n,) bool: misclassified already; settled ones are not searched.
        best: (n, C, h, w) first adversarial of the misclassified ones, last iterate of the others.
        forwards: rows sent through the model.
        backwards: rows sent back.
        credits: which attack of a sequence changed an image.
    """

    classifier: Classifier
    clean: Tensor
    labels: Tensor
    targets: Tensor | None
    eps: Eps
    norm: str
    seeds: Tensor
    samples: int = 1
    warm: Tensor | None = None
    should_stop: Callable[[], bool] | None = None
    forwards: int = 0
    backwards: int = 0
    credits: dict[int, str] = field(default_factory=dict)
    done: Tensor = field(init=False)
    best: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Start with every image to be searched."""
        self.done = torch.zeros(len(self.clean), dtype=torch.bool, device=self.clean.device)
        self.best = self.clean.clone()

    def credit(self, name: str, misclassified: Tensor) -> None:
        """Note which attack of a sequence changed some images (n,) bool."""
        self.credits |= dict.fromkeys(misclassified.nonzero()[:, 0].tolist(), name)

    def alive(self) -> Tensor:
        """Return the numbers of the images that are not misclassified yet."""
        return (~self.done).nonzero()[:, 0]

    def radius(self, rows: Tensor) -> Eps:
        """Return the radius of some images."""
        return self.eps[rows] if isinstance(self.eps, Tensor) else self.eps

    def start(self, rows: Tensor, draw: int) -> Tensor:
        """Return random points of the balls of some images."""
        return random_start(self.clean[rows], self.radius(rows), self.norm, self.seeds[rows], draw)

    def hinted(self) -> Tensor:
        """Return the numbers of the images for which `warm` knows a point."""
        if self.warm is None:
            return torch.empty(0, dtype=torch.int64, device=self.clean.device)
        return (self.warm != self.clean).flatten(1).any(1).nonzero()[:, 0]

    def inside(self, images: Tensor, rows: Tensor) -> Tensor:
        """Return images projected into their balls and the box."""
        return project(images, self.clean[rows], self.radius(rows), self.norm)

    def scaled(self, values: Tensor, rows: Tensor, share: float) -> Tensor:
        """Return steps of length one times a share of the radius."""
        radius = self.radius(rows)
        return values * (wide(radius, values) * share)

    def misclassified(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Return which answers are what the attack is after; a tie at the top counts as the true class."""
        if self.targets is not None:
            targets = self.targets[rows]
            return logits.argmax(1) == targets
        ground_truth = logits.gather(1, self.labels[rows][:, None])[:, 0]
        return ground_truth < logits.amax(1)

    def past(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Return how far answers (n, K) are past the decision boundary (n,), in logits: above 0 for adversarials."""
        if self.targets is not None:
            return -margin(logits, self.targets[rows])
        return margin(logits, self.labels[rows])

    def logits(self, images: Tensor) -> Tensor:
        """Return logits without gradients, averaged over `samples`."""
        self._check_stop()
        self.forwards += len(images) * self.samples
        with torch.no_grad():
            logits = self.classifier.raw_logits(images)
            for _ in range(self.samples - 1):
                logits = logits + self.classifier.raw_logits(images)
        return logits / self.samples

    def look(self, images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Judge images; keep the misclassified ones. Returns their logits and which they are."""
        logits = self.logits(images)
        return logits, self.keep(images, rows, logits)

    def keep(self, images: Tensor, rows: Tensor, logits: Tensor) -> Tensor:
        """Keep the first adversarial of each, or the last iterate; return which are misclassified now."""
        misclassified = self.misclassified(logits, rows)
        new = ~self.done[rows]
        self.best[rows[new]] = images[new]
        self.done[rows[new & misclassified]] = True
        return misclassified

    def gradient(self, images: Tensor, score: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, `score(logits)` (n,) and its gradient towards the images.

        Raises:
            UnsupportedModelError: no gradient reaches the images.
        """
        self._check_stop()
        total, values, logits = torch.zeros_like(images), None, None
        for _ in range(self.samples):
            leaf = images.detach().requires_grad_()
            with torch.enable_grad():
                output = self.classifier.raw_logits(leaf)
                value = score(output)
            total += _towards(value.sum(), leaf)
            logits = output.detach() if logits is None else logits + output.detach()
            values = value.detach() if values is None else values + value.detach()
        self.forwards += len(images) * self.samples
        self.backwards += len(images) * self.samples
        assert logits is not None
        assert values is not None
        return logits / self.samples, values / self.samples, total / self.samples

    def _check_stop(self) -> None:
        if self.should_stop is not None and self.should_stop():
            raise Stopped("Stopped between two steps of the attack, as asked.")


def _towards(value: Tensor, leaf: Tensor) -> Tensor:
    (gradient,) = gradients(value, [leaf])
    if gradient is None:
        raise UnsupportedModelError(
            "No gradient reaches the pixels: the model detaches its input. Use an attack without gradients, such as "
            "'square', and do not read robustness from gradient attacks."
        )
    return gradient
