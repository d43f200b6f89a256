"""Metrics of attribution maps: faithfulness by removal, localisation against masks, similarity of two maps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import scipy
import torch
from torch import Tensor
from torch.nn import functional as F

_DIAGONAL = 1 / 12  # weight of a neighbour across the corner, half of one beside; ROAD section 4.2
_STEPS = 4  # of conjugate gradients at each size of blocks


def impute(image: Tensor, hidden: Tensor, noise: Tensor | None = None) -> Tensor:
    """Return copies of an image with hidden pixels replaced by weighted means of their neighbours.

    Each hidden pixel is the weighted mean of its eight neighbours (1/6 beside, 1/12 across the corner), a linear system
    that all copies solve at once, from coarse to fine; plus noise, so that a network cannot tell that it was filled.
    Where everything is hidden the image's mean colour is taken.

    Args:
        image: (1, C, h, w).
        hidden: (N, h, w) bool.
        noise: (1 or N, C, h, w) added to hidden pixels, or None.

    Returns:
        (N, C, h, w), within [0, 1].

    Cost: about 8 passes of a 3 x 3 filter over (N, C, h, w); none of the network.
    Source: Rong et al. 2022, section 4.2 (arXiv 2202.00449). Differs: solved iteratively, all copies together.
    """
    gone = hidden[:, None]
    known = torch.where(gone, torch.zeros_like(image), image)
    solved = _filled(known, (~gone).to(known.dtype))
    if noise is not None:
        solved = solved + torch.where(gone, noise, torch.zeros_like(noise))
    whole = gone.flatten(1).all(1).view(-1, 1, 1, 1)
    mean = image.mean((2, 3), keepdim=True)
    return torch.where(whole, mean, torch.where(gone, solved, image)).clamp(0, 1)


def _filled(total: Tensor, weight: Tensor) -> Tensor:
    """Return block means; blocks without a pixel are filled from larger blocks, then smoothed towards the solution.

    Starting from the coarsest blocks, few steps are enough at each size (cascadic multigrid).

    Args:
        total: (N, C, h, w) sums of what is seen in each block.
        weight: (N, 1, h, w) how much of each block is seen.
    """
    seen = weight > 0
    values = total / weight.clamp_min(1e-12)
    if max(total.shape[2:]) == 1 or bool(seen.all()):
        return values
    behind = _filled(F.avg_pool2d(total, 2, ceil_mode=True), F.avg_pool2d(weight, 2, ceil_mode=True))
    behind = F.interpolate(behind, total.shape[2:], mode="bilinear", align_corners=False)
    return _solve(torch.where(seen, values, behind), ~seen)


def _neighbours(values: Tensor) -> Tensor:
    """Return the weighted sum of the eight neighbours (N, C, h, w); nothing beyond the border.

    The weights are the product of (1, 2, 1) down and across, minus the middle: two passes of additions.
    """
    down = 2 * values
    down[:, :, 1:] += values[:, :, :-1]
    down[:, :, :-1] += values[:, :, 1:]
    across = 2 * down
    across[..., 1:] += down[..., :-1]
    across[..., :-1] += down[..., 1:]
    return across.sub_(values, alpha=4).mul_(_DIAGONAL)


def _solve(start: Tensor, gone: Tensor) -> Tensor:
    """Take conjugate-gradient steps for (D - W) x = 0 on the hidden pixels, all copies and channels at once."""
    degree = _neighbours(torch.ones_like(start[:1, :1]))
    hidden = gone.to(start.dtype)

    def apply(values: Tensor) -> Tensor:
        return (degree * values).sub_(_neighbours(values)).mul_(hidden)

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return torch.einsum("nchw,nchw->nc", a, b)[:, :, None, None]

    solution = start.clone()
    rest = -apply(solution)
    way, size = rest.clone(), dot(rest, rest)
    for _ in range(_STEPS):
        pushed = apply(way)
        step = size / dot(way, pushed).clamp_min(1e-20)
        solution += step * way
        rest -= step * pushed
        new = dot(rest, rest)
        way.mul_(new / size.clamp_min(1e-20)).add_(rest)
        size = new
    return solution


SHARES = (0.05, 0.15, 0.3, 0.6)


@dataclass(frozen=True, eq=False)
class Curves:
    """What the score does as pixels are removed; all are shares of the way from clean to empty, 0 to about 1.

    Attributes:
        shares: of pixels removed (S,).
        most_first: fall of the score when the most relevant go first (S,).
        least_first: fall when the least relevant go first (S,).
    """

    shares: Tensor
    most_first: Tensor
    least_first: Tensor

    @property
    def gap(self) -> float:
        """Mean distance of the two falls: above 0 when what the map calls relevant is; near 0 for a random map."""
        return float((self.most_first - self.least_first).mean())


def ranks(heatmap: Tensor, generator: torch.Generator) -> Tensor:
    """Return each pixel's place (h, w) int64 in the order from most to least relevant, ties in random order.

    Counts, not thresholds: a map with many equal values still removes exactly the share asked for.

    Args:
        heatmap: (h, w).
        generator: for the ties.
    """
    flat = heatmap.flatten().double().cpu()
    shuffled = torch.randperm(len(flat), generator=generator)
    order = shuffled[flat[shuffled].sort(descending=True, stable=True).indices]
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order))
    return places.view(heatmap.shape)


def masks_of(places: Tensor, shares: Sequence[float], *, most_first: bool) -> Tensor:
    """Return which pixels are removed (S, h, w): exactly round(share x pixels) of them.

    Args:
        places: (h, w) of `ranks`.
        shares: of pixels, 0 to 1.
        most_first: the most relevant go first; else the least.
    """
    count = places.numel()
    cut = torch.tensor([round(share * count) for share in shares]).view(-1, 1, 1)
    return places < cut if most_first else places >= count - cut


def removal_curves(
    score: Callable[[Tensor], Tensor],
    image: Tensor,
    heatmaps: Tensor,
    *,
    generator: torch.Generator,
    shares: Sequence[float] = SHARES,
    noise: float = 0.02,
    instead: Tensor | None = None,
    tick: Callable[[], None] | None = None,
) -> list[Curves]:
    """Return the curves of maps: pixels removed in both orders and filled in by noisy linear imputation (ROAD).

    Args:
        score: of images (N, C, h, w) in [0, 1] as (N,).
        image: (1, C, h, w).
        heatmaps: (M, h, w).
        generator: for ties and noise; the same noise for all maps.
        shares: of pixels to remove.
        noise: standard deviation of what is added to filled pixels.
        instead: an image (1, C, h, w) whose pixels are shown in place of imputed ones.
        tick: called after each map.

    Cost: 2 S rows forward per map, and two rows.
    Source: Rong et al. 2022 (arXiv 2202.00449). Differs: exact counts, ties at random; both orders are reported as
    shares of the way from the clean score to that of the wholly filled image.
    """
    grain = noise * torch.randn(image.shape, generator=generator).to(image)
    empty = image.mean((2, 3), keepdim=True).expand_as(image) + grain if instead is None else instead
    clean, bottom = score(torch.cat([image, empty.clamp(0, 1)])).double()
    span = (clean - bottom).abs().clamp_min(1e-9)
    curves = []
    for heatmap in heatmaps:
        places = ranks(heatmap, generator)
        hidden = torch.cat([masks_of(places, shares, most_first=first) for first in (True, False)])
        hidden = hidden.to(image.device)
        filled = impute(image, hidden, grain) if instead is None else torch.where(hidden[:, None], instead, image)
        falls = (clean - score(filled).double()) / span
        most, least = falls.cpu().split(len(shares))
        curves.append(Curves(torch.tensor(shares), most, least))
        if tick is not None:
            tick()
    return curves


def moved_copies(heatmap: Tensor, *, mirrored: bool = False) -> Tensor:
    """Return maps (31, h, w), or 32 mirrored ones, as smooth and as peaked as this one: it, moved elsewhere.

    The copies are rolled by quarters of both sides, as they are and turned by half a turn. Together with the map they
    are closed under these moves, and so they are with the mirrored ones: if the place of a map did not matter, its
    rank among them would be uniform. So they make an exact test without random draws. Sides below four pixels have
    fewer copies.

    Args:
        heatmap: (h, w).
        mirrored: the copies of the map's mirror image instead, none of which is the map.
    """
    height, width = heatmap.shape
    rolls = [(down, across) for down in _quarters(height) for across in _quarters(width)]
    start = heatmap.flip(1) if mirrored else heatmap
    every = [turned.roll(roll, (0, 1)) for turned in (start, start.flip(0, 1)) for roll in rolls]
    return torch.stack(every if mirrored else every[1:])


def _quarters(side: int) -> list[int]:
    return sorted({round(part * side / 4) % side for part in range(4)})


def model_free_maps(image: Tensor) -> dict[str, Tensor]:
    """Return maps (h, w) that know no model, by what they are: any explanation should rank pixels better.

    Args:
        image: (1, C, h, w) in [0, 1].
    """
    size = (int(image.shape[2]), int(image.shape[3]))
    pixels = image[0].detach().float().cpu()
    edges, grey = edge_map(image), pixels.mean(0)
    return {
        "a spot in the middle": centre_map(size),
        "an edge detector": edges,
        "a blurred edge detector": blurred(edges),
        "brightness": grey,
        "darkness": 1 - grey,
        "contrast with the mean colour": (pixels - pixels.mean((1, 2), keepdim=True)).norm(dim=0),
    }


def centre_map(size: tuple[int, int]) -> Tensor:
    """Return a Gaussian spot in the middle (h, w): what a photographer's habit alone would say."""
    rows, columns = (torch.linspace(-1, 1, side).square() for side in size)
    return torch.exp(-(rows[:, None] + columns) / (2 * 0.5**2))


def edge_map(image: Tensor) -> Tensor:
    """Return the strength of edges (h, w) of an image (1, C, h, w): what an edge detector alone would say."""
    grey = image[0].mean(0).detach().cpu()
    down, across = torch.gradient(grey) if min(grey.shape) > 1 else (grey, grey)
    return torch.sqrt(down.square() + across.square())


def blurred(heatmap: Tensor) -> Tensor:
    """Return a map (h, w) smoothed over some thirtieth of its shorter side, by three box means in a row."""
    reach = max(1, round(min(heatmap.shape) / 32))
    smooth = heatmap[None, None]
    for _ in range(3):
        smooth = F.avg_pool2d(smooth, 2 * reach + 1, 1, reach, count_include_pad=False)
    return smooth[0, 0]


def hits(heatmaps: Tensor, masks: Tensor) -> Tensor:
    """Return whether the largest value of each map lies inside its mask (N,) bool: the pointing game.

    Args:
        heatmaps: (N, h, w).
        masks: (N, h, w) bool.

    Source: Zhang et al. 2016 (arXiv 1608.00507). Differs: no tolerance around the mask.
    """
    best = heatmaps.flatten(1).argmax(1)
    return masks.flatten(1).gather(1, best[:, None])[:, 0].bool()


def attribution_inside(heatmaps: Tensor, masks: Tensor) -> Tensor:
    """Return the share (N,) of each map's positive values that lies inside its mask; 0 for maps without any.

    Args:
        heatmaps: (N, h, w).
        masks: (N, h, w) bool.
    """
    positive = heatmaps.clamp_min(0).flatten(1)
    total = positive.sum(1)
    inside = (positive * masks.flatten(1)).sum(1)
    return inside / total.clamp_min(1e-30)


def pearson(first: Tensor, second: Tensor) -> float:
    """Return the linear correlation of two maps of one shape, -1 to 1; 0 when either is constant."""
    a, b = (values.detach().double().cpu().flatten() for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale > 0 else 0.0


def spearman(first: Tensor, second: Tensor) -> float:
    """Return the rank correlation of two maps of one shape, ties sharing their mean rank; 0 when either is constant."""
    a, b = (
        torch.from_numpy(scipy.stats.rankdata(values.detach().double().cpu().flatten().numpy()))
        for values in (first, second)
    )
    return pearson(a, b)


def overlap_of_best(first: Tensor, second: Tensor, share: float = 0.1) -> float:
    """Return the Jaccard index of the best places of two maps: shared ones over all; ties in reading order.

    Args:
        first: (h, w).
        second: (h, w).
        share: of the places that count as best.
    """
    count = max(1, round(share * first.numel()))
    best = [
        set(values.flatten().sort(descending=True, stable=True).indices[:count].tolist()) for values in (first, second)
    ]
    return len(best[0] & best[1]) / len(best[0] | best[1])
