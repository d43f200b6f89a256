"""Does a map rank what the model uses? Pixels removed in the map's order, and what the score does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from xai.metrics.imputation import impute

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
    found = torch.empty_like(order)
    found[order] = torch.arange(len(order))
    return found.view(heatmap.shape)


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
        score: of pictures (N, C, h, w) in [0, 1] as (N,).
        image: (1, C, h, w).
        heatmaps: (M, h, w).
        generator: for ties and noise; the same noise for all maps.
        shares: of pixels to remove.
        noise: standard deviation of what is added to filled pixels.
        instead: an image (1, C, h, w) whose pixels are shown in place of imputed ones.
        tick: called after each map.

    Cost: 2 S rows forward per map, and two rows.
    Source: Rong et al. 2022 (arXiv 2202.00449). Differs: exact counts, ties at random; both orders are reported as
    shares of the way from the clean score to that of the wholly filled picture.
    """
    grain = noise * torch.randn(image.shape, generator=generator).to(image)
    empty = image.mean((2, 3), keepdim=True).expand_as(image) + grain if instead is None else instead
    clean, bottom = score(torch.cat([image, empty.clamp(0, 1)])).double()
    span = (clean - bottom).abs().clamp_min(1e-9)
    found = []
    for heatmap in heatmaps:
        places = ranks(heatmap, generator)
        hidden = torch.cat([masks_of(places, shares, most_first=first) for first in (True, False)])
        hidden = hidden.to(image.device)
        filled = impute(image, hidden, grain) if instead is None else torch.where(hidden[:, None], instead, image)
        falls = (clean - score(filled).double()) / span
        most, least = falls.cpu().split(len(shares))
        found.append(Curves(torch.tensor(shares), most, least))
        if tick is not None:
            tick()
    return found


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
    found = heatmap[None, None]
    for _ in range(3):
        found = F.avg_pool2d(found, 2 * reach + 1, 1, reach, count_include_pad=False)
    return found[0, 0]
