"""Norm balls, random numbers, and the loop and losses of all attacks.

Every function of the balls takes images (N, C, H, W) and works row by row; `eps` is a number or one per row.
Misclassified images leave at once; only survivors go on to the next step, restart and attack. No parameter gradient is
ever computed, and every claim is judged again at the end by a fresh forward of the original model (`base.py`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.core.model.classifier import Classifier
from xai.core.model.hooks import gradients
from xai.errors import NameLookupError, Stopped, UnsupportedModelError

_GOLDEN, _FIRST, _SECOND = -7046029254386353131, -4658895280553007687, -7723592293110705685  # splitmix64, signed
_MANTISSA = 1 << 53


def seeds_of(seed: int, keys: Sequence[bytes], device: torch.device) -> Tensor:
    """Return one int64 seed per image (N,), from the seed of the run and the digest of each."""
    numbers = [int.from_bytes(key[:8], "big", signed=True) for key in keys]
    start = _mixed(torch.tensor(numbers, dtype=torch.int64, device=device))
    return _mixed(start ^ _mixed(torch.tensor(seed, dtype=torch.int64, device=device)))


def uniform(seeds: Tensor, draw: int, shape: Sequence[int]) -> Tensor:
    """Return float64 uniform numbers (N, *shape) in [0, 1), draw number `draw` of each image's stream.

    Source: Steele et al. 2014 (splitmix64), used as a counter.
    """
    return many_uniform(seeds, draw, 1, shape)[0]


def many_uniform(seeds: Tensor, first: int, draws: int, shape: Sequence[int]) -> Tensor:
    """Return what `uniform` gives for draws in a row, from `first` on (draws, N, *shape), at the price of one."""
    count = math.prod(shape)
    numbers = torch.tensor([_wrapped((draw + 1) * _GOLDEN) for draw in range(first, first + draws)])
    base = _mixed(seeds[None] + numbers.to(seeds)[:, None])
    steps = torch.arange(1, count + 1, device=seeds.device) * _GOLDEN
    bits = _shifted(_mixed(base[..., None] + steps), 11)
    return (bits.double() / _MANTISSA).view(draws, len(seeds), *shape)


def normal(seeds: Tensor, draw: int, shape: Sequence[int]) -> Tensor:
    """Return float64 standard normal numbers (N, *shape)."""
    values: Tensor = torch.special.ndtri(uniform(seeds, draw, shape).clamp(2.0**-53, 1 - 2.0**-53))
    return values


def signs(seeds: Tensor, draw: int, shape: Sequence[int]) -> Tensor:
    """Return float64 numbers (N, *shape), each -1 or 1."""
    return torch.where(uniform(seeds, draw, shape) < 0.5, -1.0, 1.0).double()


def _mixed(bits: Tensor) -> Tensor:
    bits = (bits ^ _shifted(bits, 30)) * _FIRST
    bits = (bits ^ _shifted(bits, 27)) * _SECOND
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Shift right without the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _wrapped(value: int) -> int:
    """Return an integer modulo 2^64, signed."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


NORMS = ("linf", "l2", "l1")
DUAL = {"linf": "l1", "l2": "l2", "l1": "linf"}
_TINY = 1e-12
_SPARSE = 0.05  # share of the pixels that one step of an l1 attack changes
Eps = float | Tensor


def check_norm(norm: str) -> str:
    """Return the norm.

    Raises:
        NameLookupError: none of "linf", "l2", "l1".
    """
    if norm not in NORMS:
        raise NameLookupError("norm", norm, NORMS)
    return norm


def length(delta: Tensor, norm: str) -> Tensor:
    """Return the norm (N,) of differences."""
    flat = delta.flatten(1)
    if norm == "linf":
        return flat.abs().amax(1)
    return flat.norm(dim=1) if norm == "l2" else flat.abs().sum(1)


def distance(images: Tensor, clean: Tensor, norm: str) -> Tensor:
    """Return distances (N,) in float64."""
    return length(images.double() - clean.double(), norm)


def wide(values: Eps, like: Tensor) -> Tensor:
    """Return a number, or one per row, so that it works on images."""
    tensor = torch.as_tensor(values, dtype=like.dtype, device=like.device)
    return tensor.view(-1, 1, 1, 1) if tensor.ndim else tensor


def project(images: Tensor, clean: Tensor, eps: Eps, norm: str) -> Tensor:
    """Return images inside ball and box: the nearest ones for linf and l1, scaled and then cut for l2."""
    radius = wide(eps, images)
    if norm == "linf":
        return torch.minimum(torch.maximum(images, clean - radius), clean + radius).clamp(0, 1)
    if norm == "l2":
        delta = images - clean
        factor = (radius.flatten() / length(delta, "l2").clamp_min(_TINY)).clamp_max(1)
        return (clean + delta * wide(factor, images)).clamp(0, 1)
    return _project_l1(images, clean, radius)


def _project_l1(images: Tensor, clean: Tensor, radius: Tensor) -> Tensor:
    """Return the nearest point of l1 ball and box: clip(soft(delta, t), -x, 1 - x) for the t where the norm fits.

    The norm falls with t along straight lines between the places where a pixel starts to move (its |delta|) and where
    it leaves the border of the box (|delta| minus its room): one sort finds the line. Source: Croce & Hein 2021
    (APGD-l1).
    """
    delta = (images - clean).flatten(1)
    room = torch.where(delta > 0, 1 - clean.flatten(1), clean.flatten(1))
    size = delta.abs()
    target = radius.expand(len(images), 1, 1, 1).flatten()
    target = (target - size.shape[1] * torch.finfo(size.dtype).eps / 4).clamp_min(0)  # what rounding may add up to
    inside = torch.minimum(size, room).sum(1) <= target
    threshold = _threshold(size, (size - room).clamp_min(0), target)
    moved = torch.minimum((size - threshold[:, None]).clamp_min(0), room)
    shrunk = torch.where(inside[:, None], torch.minimum(size, room), moved) * delta.sign()
    return (clean + shrunk.view_as(clean)).clamp(0, 1)


def _threshold(size: Tensor, border: Tensor, target: Tensor) -> Tensor:
    """Return t (N,) with sum(min(relu(size - t), size - border)) = target; border <= size is where a pixel is free."""
    places = torch.cat([size, border], 1).double()
    slopes = torch.cat([torch.ones_like(size), -torch.ones_like(border)], 1).double()
    order = places.argsort(1, descending=True)
    places, slopes = places.gather(1, order), slopes.gather(1, order).cumsum(1)
    drops = places[:, :-1] - places[:, 1:]
    norms = torch.cat([places.new_zeros(len(places), 1), (slopes[:, :-1] * drops).cumsum(1)], 1)
    k = (norms < target.double()[:, None]).sum(1).clamp(1, places.shape[1] - 1)[:, None] - 1
    left = (target.double()[:, None] - norms.gather(1, k)) / slopes.gather(1, k).clamp_min(_TINY)
    return (places.gather(1, k) - left)[:, 0].clamp_min(0).to(size.dtype)


def steepest(gradient: Tensor, norm: str) -> Tensor:
    """Return the step of length one that raises a loss most; for l1 spread over the largest 5 % of the gradient.

    Source: l1: Tramer & Boneh 2019 (SLIDE).
    """
    if norm == "linf":
        return gradient.sign()
    if norm == "l2":
        return gradient / wide(length(gradient, "l2").clamp_min(_TINY), gradient)
    flat = gradient.flatten(1)
    count = max(1, round(_SPARSE * flat.shape[1]))
    least = flat.abs().topk(count, 1).values[:, -1:]
    chosen = flat.sign() * (flat.abs() >= least.clamp_min(_TINY))
    return (chosen / chosen.abs().sum(1, keepdim=True).clamp_min(1)).view_as(gradient)


def random_start(clean: Tensor, eps: Eps, norm: str, seeds: Tensor, draw: int) -> Tensor:
    """Return random points of ball and box, uniform in the ball before the box cuts."""
    shape = clean.shape[1:]
    if norm == "linf":
        delta = 2 * uniform(seeds, draw, shape) - 1
    else:
        make: Callable[..., Tensor] = normal if norm == "l2" else _laplace
        delta = make(seeds, 2 * draw, shape)
        delta = delta / wide(length(delta, norm).clamp_min(_TINY), delta)
        delta = delta * wide(uniform(seeds, 2 * draw + 1, (1,))[:, 0] ** (1 / shape.numel()), delta)
    return project(clean + wide(eps, clean) * delta.to(clean), clean, eps, norm)


def border_start(clean: Tensor, eps: Eps, norm: str, seeds: Tensor, draw: int) -> Tensor:
    """Return random points of the border of the ball, before the box cuts."""
    delta = random_start(torch.full_like(clean, 0.5), 0.5, norm, seeds, draw) - 0.5
    delta = delta / wide(length(delta, norm).clamp_min(_TINY), delta)
    return project(clean + delta * wide(eps, delta), clean, eps, norm)


def _laplace(seeds: Tensor, draw: int, shape: torch.Size) -> Tensor:
    half = uniform(seeds, draw, shape) - 0.5
    return -half.sign() * torch.log1p(-2 * half.abs().clamp_max(0.5 - 2.0**-53))


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
