"""The nearest point of a hyperplane inside the box [0, 1], in three norms."""

import torch
from torch import Tensor

_TINY = 1e-12


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
    return direction * torch.minimum(slope * _length(size * slope, room / slope.clamp_min(_TINY), need)[:, None], room)


def _length(gain: Tensor, full: Tensor, need: Tensor) -> Tensor:
    """Return t (n,) with sum(gain * min(t, full)) = need, or the largest `full` where that is not enough."""
    order = full.argsort(1)
    places, gains = full.gather(1, order).double(), gain.gather(1, order).double()
    rest = gains.flip(1).cumsum(1).flip(1)  # of those not full yet
    widths = torch.diff(places, dim=1, prepend=places.new_zeros(len(places), 1))
    reached = (rest * widths).cumsum(1)
    k = (reached < need.double()[:, None]).sum(1).clamp_max(places.shape[1] - 1)[:, None]
    left = (reached.gather(1, k) - need.double()[:, None]).clamp_min(0)
    return (places.gather(1, k) - left / rest.gather(1, k).clamp_min(_TINY))[:, 0].clamp_min(0).to(gain.dtype)


def _greedy(size: Tensor, room: Tensor, need: Tensor) -> Tensor:
    """Return moves (n, D): the largest weights use all their room until the need is met."""
    order = size.argsort(1, descending=True)
    gains = (size * room).gather(1, order).double()
    before = gains.cumsum(1) - gains
    share = ((need.double()[:, None] - before) / gains.clamp_min(_TINY)).clamp(0, 1)
    moves = (share * room.gather(1, order)).to(room.dtype)
    return torch.zeros_like(room).scatter_(1, order, moves)
