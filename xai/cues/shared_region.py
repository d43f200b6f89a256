"""A region that the explanations of a class share and that is not the object, put into pictures of other classes."""

from collections.abc import Iterator

import torch
from scipy import ndimage, stats
from torch import Tensor
from torch.nn import functional as F

from xai.cues._base import Donated, Form, Scene, cue

GRID = 7
_FEWEST = 8  # pictures that a class must have been answered for
_MAPS = 12  # explained for each class
_ROWS = ("top", "upper middle", "middle", "lower middle", "bottom")
_COLUMNS = ("left", "centre left", "centre", "centre right", "right")


@cue("shared_region", "what the explanations of a class point to in common beside the object, put into other pictures")
def shared_region(scene: Scene) -> Iterator[Form]:
    """Yield one form for each class whose explanations share a region beside the object.

    The object is where masks are; without masks it is taken to be in the middle, and only cells at the edge of a
    7 x 7 grid are looked at. A cell is shared when the mean lift (share of the map over share of the area) of the
    class's maps is above 1, at 97.5 %, and above that of every other class's maps.
    """
    known = [label for label in range(len(scene.names)) if len(scene.answered(label)) >= _FEWEST]
    lifts = {label: _lifts(scene, label) for label in known}
    means = {label: values.mean(0) for label, values in lifts.items()}
    for label, values in lifts.items():
        others = [mean for other, mean in means.items() if other != label]
        rest = (scene.pictures.said != label).nonzero()[:, 0]
        if others and len(rest) >= _FEWEST:
            shared = (_lower(values) > 1) & (means[label] > torch.stack(others).amax(0)) & _beside(scene, label)
            if bool(shared.any()):
                cells = _around_best(shared, means[label])
                yield _form(scene, label, cells, rest)


def _form(scene: Scene, label: int, cells: Tensor, rest: Tensor) -> Form:
    mask = F.interpolate(cells[None, None].float(), scene.size, mode="nearest")[0, 0].bool()
    words = f"what explanations of {scene.names[label]!r} share"
    donors, others = scene.pictures.take(scene.answered(label)), scene.pictures.take(rest)
    return Donated(
        "shared_region", f"shared region, class {label}", _place(cells), words, donors, others, mask, target=label
    )


def _lifts(scene: Scene, label: int) -> Tensor:
    """Return share of the map over share of the area, by cell (m, GRID, GRID), of some pictures answered as a class."""
    rows = scene.answered(label)[:_MAPS]
    maps = scene.explain(scene.pictures.images[rows], label).clamp_min(0)
    cells = F.adaptive_avg_pool2d(maps[:, None], GRID)[:, 0]
    return cells / cells.mean((1, 2), keepdim=True).clamp_min(1e-30)


def _lower(values: Tensor) -> Tensor:
    """Return the lower 97.5 % limit of the mean over pictures of (m, GRID, GRID)."""
    count = len(values)
    half: Tensor = values.std(0) * float(stats.t.ppf(0.975, count - 1) / count**0.5)
    return values.mean(0) - half


def _beside(scene: Scene, label: int) -> Tensor:
    """Return the cells (GRID, GRID) that are not the object in most of the pictures answered as a class."""
    masks = scene.pictures.masks
    if masks is None:
        edge = torch.ones(GRID, GRID, dtype=torch.bool)
        edge[1:-1, 1:-1] = False
        return edge
    covered = F.adaptive_avg_pool2d(masks[scene.answered(label)][:, None].float(), GRID)[:, 0]
    beside: Tensor = covered.mean(0) < 0.5
    return beside


def _around_best(shared: Tensor, mean: Tensor) -> Tensor:
    """Return the connected cells around the one with the largest mean."""
    pieces: Tensor = torch.from_numpy(ndimage.label(shared.numpy())[0])
    best = int(torch.where(shared, mean, torch.zeros_like(mean)).argmax())
    return pieces == pieces.flatten()[best]


def _place(cells: Tensor) -> str:
    """Say where the middle of some cells is."""
    row, column = (cells.nonzero().double().mean(0) * (len(_ROWS) - 1) / (GRID - 1)).round().long().tolist()
    return "middle" if _ROWS[row] == "middle" and _COLUMNS[column] == "centre" else f"{_ROWS[row]} {_COLUMNS[column]}"
