"""Small grey images laid over each other: a shift, a little turn and a change of size are taken back."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xai.core.rows import ShouldStop
from xai.errors import Stopped

_BLOCK = 1024
_STEPS = 8
_SHIFT = 0.18  # of the side: the largest shift that is tried
_TURN, _SCALE = 0.2, 0.2  # radians and share of size, at most
_SHARED = 0.6  # of the image that must overlap
_HOPELESS = 0.8  # distance at the best shift from which on no more is tried
_RIDGE = 1e-3
_SHARPNESS = (0.25, 0.5, 0.25)  # a blur against what JPEG and sampling change


def aligned_distances(first: np.ndarray, second: np.ndarray, should_stop: ShouldStop | None = None) -> np.ndarray:
    """Return the distance (P,) of image pairs (P, s, s) after the second was laid over the first.

    The distance is sqrt(1 - r^2), r the correlation of what overlaps; 1 where less than 60 % does. The start is the
    shift of at most 18 % of the side at which both correlate best, then Gauss-Newton steps over shift, turn and size.

    Args:
        first: grey images.
        second: others, mirrored and turned already.
        should_stop: asked between blocks.

    Raises:
        Stopped: `should_stop()` was true.

    Source: Lucas and Kanade 1981; intensities are matched by gain and offset (Evangelidis and Psarakis 2008).
    """
    found = np.ones(len(first))
    for start in range(0, len(first), _BLOCK):
        if should_stop is not None and should_stop():
            raise Stopped(f"Stopped after {start} of {len(first)} pairs were laid over each other, as asked.")
        part = slice(start, start + _BLOCK)
        found[part] = _block(_blurred(first[part]), _blurred(second[part])).numpy()
    return found


def _blurred(images: np.ndarray) -> Tensor:
    kernel = torch.tensor(_SHARPNESS)
    rows = torch.from_numpy(np.ascontiguousarray(images)).float()[:, None]
    padded = F.pad(rows, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, (kernel[:, None] * kernel)[None, None])[:, 0]


def _block(first: Tensor, second: Tensor) -> Tensor:
    """Return distances (P,)."""
    side = first.shape[-1]
    line = torch.linspace(-1, 1, side)
    y, x = torch.meshgrid(line, line, indexing="ij")
    pose = torch.zeros(len(first), 4)  # size, turn, shift across and down, in half sides
    pose[:, 2:] = _best_shift(first, second) * 2 / (side - 1)
    warped, inside = _warped(second, pose, x, y)
    best = _compared(first, warped, inside)[0]
    kept = (best <= _HOPELESS).nonzero()[:, 0]
    best[kept] = torch.minimum(best[kept], _refined(first[kept], second[kept], pose[kept], x, y))
    return best


def _refined(first: Tensor, second: Tensor, pose: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the smallest distance (P,) met on the way from these poses."""
    best = torch.ones(len(first))
    for step in range(_STEPS + 1):
        warped, inside = _warped(second, pose, x, y)
        distance, gain, rest = _compared(first, warped, inside)
        best = torch.minimum(best, distance)
        if step < _STEPS:
            pose = _limited(pose + _update(warped, inside, gain, rest, x, y))
    return best


def _best_shift(first: Tensor, second: Tensor) -> Tensor:
    """Return the whole shift (P, 2), across and down, at which the images correlate best."""
    side, most = first.shape[-1], max(1, round(_SHIFT * first.shape[-1]))
    one, two = (rows - rows.mean((1, 2), keepdim=True) for rows in (first, second))
    size = 2 * side
    both = torch.fft.irfft2(
        torch.fft.rfft2(one, (size, size)).conj() * torch.fft.rfft2(two, (size, size)), (size, size)
    )
    near = torch.arange(-most, most + 1)
    window = both[:, near[:, None] % size, near % size].flatten(1)
    place = window.argmax(1)
    return torch.stack([near[place % len(near)], near[place // len(near)]], 1).float()


def _warped(second: Tensor, pose: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the second images (P, s, s) seen through the poses, and which places (P, s, s) they cover."""
    size, turn, across, down = (value[:, None, None] for value in pose.unbind(1))
    grid = torch.stack([(1 + size) * x - turn * y + across, turn * x + (1 + size) * y + down], -1)
    warped = F.grid_sample(second[:, None], grid, align_corners=True, padding_mode="border")[:, 0]
    return warped, (grid.abs().amax(-1) <= 1 + 1e-4).float()


def _compared(first: Tensor, warped: Tensor, inside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return distances (P,), the gain (P,) that fits the second to the first, and what remains (P, s, s)."""
    count = inside.sum((1, 2)).clamp_min(1)
    one, two = (rows - ((rows * inside).sum((1, 2)) / count)[:, None, None] for rows in (first, warped))
    product, own, other = ((a * b * inside).sum((1, 2)) for a, b in ((one, two), (one, one), (two, two)))
    gain = product / other.clamp_min(1e-9)
    alike = (product / (own * other).sqrt().clamp_min(1e-9)).clamp(0, 1)
    distance = torch.where(count >= _SHARED * first.shape[1] * first.shape[2], (1 - alike**2).sqrt(), 1.0)
    return distance, gain, (one - gain[:, None, None] * two) * inside


def _update(warped: Tensor, inside: Tensor, gain: Tensor, rest: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the Gauss-Newton step (P, 4)."""
    spacing = 2 / (warped.shape[-1] - 1)
    down, across = torch.gradient(warped, spacing=spacing, dim=(1, 2))
    slopes = torch.stack([across * x + down * y, down * x - across * y, across, down], -1)
    slopes = (slopes * (gain[:, None, None] * inside)[..., None]).flatten(1, 2)
    normal = slopes.transpose(1, 2) @ slopes
    normal += _RIDGE * normal.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-9)[:, None, None] * torch.eye(4)
    steps: Tensor = torch.linalg.solve(normal, (slopes.transpose(1, 2) @ rest.flatten(1)[..., None]))[..., 0]
    return steps


def _limited(pose: Tensor) -> Tensor:
    most = torch.tensor([_SCALE, _TURN, 2 * _SHIFT, 2 * _SHIFT])
    return pose.nan_to_num().clamp(-most, most)
