"""The fast adaptive boundary attack, towards the classes that come next."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai.core.validation import check_whole
from xai.robust.attacks.apgd_t import next_classes
from xai.robust.attacks.base import ATTACKS, Attack, AttackCost
from xai.robust.attacks.search import Search, length, random_start, wide

_TINY_NORMAL = 1e-12


def step_to_plane(points: Tensor, weights: Tensor, gap: Tensor, norm: str) -> Tensor:
    """Return the smallest step (n, D) from points (n, D) with weights . step = gap that stays in the box.

    Where the box does not reach the plane, the step goes to the corner nearest to it. Each pixel moves towards the sign
    of its weight: by the same length up to its room (linf), in proportion to its weight up to its room (l2), or those
    with the largest weights by all their room (l1). One sort finds the length.

    Args:
        points: inside the box.
        weights: normal vectors (n, D).
        gap: (n,) what weights . step has to be.
        norm: "linf", "l2" or "l1".

    Source: the problem of Croce & Hein 2020 (arXiv 1907.02044), eq. (4); solved here from its optimality conditions.
    """
    direction = weights.sign() * gap.sign()[:, None]
    room = torch.where(direction > 0, 1 - points, points) * (direction != 0)
    size, need = weights.abs(), gap.abs()
    if norm == "l1":
        return direction * _greedy(size, room, need)
    slope = torch.ones_like(size) if norm == "linf" else size
    return direction * torch.minimum(
        slope * _length(size * slope, room / slope.clamp_min(_TINY_NORMAL), need)[:, None], room
    )


def _length(gain: Tensor, full: Tensor, need: Tensor) -> Tensor:
    """Return t (n,) with sum(gain * min(t, full)) = need, or the largest `full` where that is not enough."""
    order = full.argsort(1)
    places, gains = full.gather(1, order).double(), gain.gather(1, order).double()
    rest = gains.flip(1).cumsum(1).flip(1)  # of those not full yet
    widths = torch.diff(places, dim=1, prepend=places.new_zeros(len(places), 1))
    reached = (rest * widths).cumsum(1)
    k = (reached < need.double()[:, None]).sum(1).clamp_max(places.shape[1] - 1)[:, None]
    left = (reached.gather(1, k) - need.double()[:, None]).clamp_min(0)
    return (places.gather(1, k) - left / rest.gather(1, k).clamp_min(_TINY_NORMAL))[:, 0].clamp_min(0).to(gain.dtype)


def _greedy(size: Tensor, room: Tensor, need: Tensor) -> Tensor:
    """Return moves (n, D): the largest weights use all their room until the need is met."""
    order = size.argsort(1, descending=True)
    gains = (size * room).gather(1, order).double()
    before = gains.cumsum(1) - gains
    share = ((need.double()[:, None] - before) / gains.clamp_min(_TINY_NORMAL)).clamp(0, 1)
    moves = (share * room.gather(1, order)).to(room.dtype)
    return torch.zeros_like(room).scatter_(1, order, moves)


_SHARE, _OVERSHOOT, _BACK = 0.1, 1.05, 0.9
_TINY = 1e-12


@ATTACKS.register("fab-t")
@dataclass(frozen=True)
class FABT(Attack):
    """Walks along the decision boundary to the nearest adversarial image, towards each of the classes ranked next.

    Finds small distances; with `eps` it counts what lies inside. Blind to the scale of the logits, not to masked
    gradients.

    Args:
        steps: number of steps per class.
        targets: classes tried, the most likely ones first.
        restarts: the first starts at the clean image, others inside the ball.

    Cost: two forwards and one backward row per step, class and restart.
    Source: Croce & Hein 2020 (arXiv 1907.02044), algorithm 1, targeted as in AutoAttack. Differs: the projection is
    solved from its optimality conditions; with `eps`, misclassified images leave at once.
    """

    name: ClassVar[str] = "fab-t"
    title: ClassVar[str] = "FAB-T"
    family: ClassVar[str] = "minimal"
    minimal: ClassVar[bool] = True

    steps: int = 100
    targets: int = 9
    restarts: int = 1

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            RangeError: counts below 1.
        """
        for name in ("steps", "targets", "restarts"):
            check_whole(name, getattr(self, name))

    @property
    def cost(self) -> AttackCost:
        """Rows for each step, class and restart."""
        each = self.steps * self.targets * self.restarts
        return AttackCost(forward=2 * each, backward=each)

    def _attack(self, search: Search) -> None:
        ranked = next_classes(search, self.targets)
        nearest = search.clean.new_full((len(search.clean),), torch.inf)
        for restart in range(self.restarts):
            for k in range(ranked.shape[1]):
                rows = search.alive() if _bounded(search) else torch.arange(len(nearest), device=nearest.device)
                if len(rows):
                    self._walk(search, rows, ranked[:, k], nearest, restart * ranked.shape[1] + k if restart else -1)

    def _walk(self, search: Search, rows: Tensor, targets: Tensor, nearest: Tensor, draw: int) -> None:
        images = search.clean[rows] if draw < 0 else self._start(search, rows, nearest, draw)
        for _ in range(self.steps):
            goal, ground_truth = targets[rows], search.labels[rows]
            _, gap, slope = search.gradient(images, _difference(goal, ground_truth))
            images = _ahead(search, rows, images, gap, slope)
            logits = search.logits(images)
            misclassified = search.misclassified(logits, rows)
            self._take(search, rows, images, misclassified, nearest)
            clean = search.clean[rows]
            images = torch.where(wide(misclassified, images).bool(), clean + (images - clean) * _BACK, images)
            if _bounded(search):
                stay = ~search.done[rows]
                rows, images = rows[stay], images[stay]
            if not len(rows):
                return

    def _take(self, search: Search, rows: Tensor, images: Tensor, misclassified: Tensor, nearest: Tensor) -> None:
        """Keep what is nearer than before; inside the ball it is done."""
        size = length(images - search.clean[rows], search.norm)
        better = misclassified & (size < nearest[rows])
        which = rows[better]
        nearest[which] = size[better]
        inside = size[better] <= torch.as_tensor(search.radius(which)).to(size)
        search.best[which[inside]] = images[better][inside]
        search.done[which[inside]] = True

    def _start(self, search: Search, rows: Tensor, nearest: Tensor, draw: int) -> Tensor:
        known = nearest[rows]
        radius = torch.as_tensor(search.radius(rows)).to(known).expand_as(known)
        radius = torch.minimum(torch.where(radius.isfinite(), radius, known), known)
        radius = torch.where(radius.isfinite(), radius, torch.ones_like(radius)) / 2
        return random_start(search.clean[rows], radius, search.norm, search.seeds[rows], draw)


def _bounded(search: Search) -> bool:
    return bool(torch.isfinite(torch.as_tensor(search.eps)).all())


def _difference(target: Tensor, ground_truth: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the score: the wanted logit minus the true one."""
    return lambda logits: (logits.gather(1, target[:, None]) - logits.gather(1, ground_truth[:, None]))[:, 0]


def _ahead(search: Search, rows: Tensor, images: Tensor, gap: Tensor, slope: Tensor) -> Tensor:
    """Step to the linearised boundary, drawn towards the point of it that is nearest to the clean image."""
    clean, norm = search.clean[rows], search.norm
    weights, points, origin = slope.flatten(1), images.flatten(1), clean.flatten(1)
    from_here = step_to_plane(points, weights, -gap, norm).view_as(images)
    offset = -gap + (weights * (points - origin)).sum(1)
    from_clean = step_to_plane(origin, weights, offset, norm).view_as(images)
    length_from_here, other = length(from_here, norm), length(from_clean, norm)
    share = (length_from_here / (length_from_here + other).clamp_min(_TINY)).clamp(0, _SHARE)
    share = wide(share, images)
    return ((images + _OVERSHOOT * from_here) * (1 - share) + (clean + _OVERSHOOT * from_clean) * share).clamp(0, 1)
