"""Nearest neighbours by inner product: exact, a block at a time, without a matrix of all distances."""

import torch
from torch import Tensor

_GROUP = 32  # columns whose largest value is looked at first
_BLOCK = 64 << 20  # bytes of inner products at once


def most_similar(rows: Tensor, bank: Tensor, count: int) -> Tensor:
    """Return the numbers (n, count) of the bank's rows (m, d) with the largest inner products, the largest first.

    The `count` largest values lie in the `count` groups of columns with the largest maxima, so only these are sorted.
    Cost: n * m * d multiplications and 64 MB, whatever n and m.
    """
    step = max(1, _BLOCK // (len(bank) * rows.element_size()))
    with torch.no_grad():
        blocks = [_top(rows[k : k + step] @ bank.T, count) for k in range(0, len(rows), step)]
    return torch.cat(blocks)


def _top(values: Tensor, count: int) -> Tensor:
    """Return the places (n, count) of the largest values of each row (n, m), the largest first."""
    whole = values.shape[1] // _GROUP
    if whole <= 4 * count:
        return values.topk(count, dim=1).indices
    grouped = values[:, : whole * _GROUP].reshape(len(values), whole, _GROUP)
    groups = grouped.amax(2).topk(count, dim=1).indices
    places = (groups[..., None] * _GROUP + torch.arange(_GROUP, device=values.device)).flatten(1)
    rest = torch.arange(whole * _GROUP, values.shape[1], device=values.device).expand(len(values), -1)
    places = torch.cat([places, rest], 1)
    best = values.gather(1, places).topk(count, dim=1).indices
    return places.gather(1, best)


def distances(rows: Tensor, bank: Tensor, places: Tensor) -> Tensor:
    """Return Euclidean distances (n, k) of rows (n, d) to the bank's rows of places (n, k), without cancellation."""
    step = max(1, _BLOCK // (places.shape[1] * rows.shape[1] * rows.element_size()))
    parts = [(rows[k : k + step, None] - bank[places[k : k + step]]).norm(dim=2) for k in range(0, len(rows), step)]
    return torch.cat(parts)
