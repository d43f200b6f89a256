"""Is a pair the same image? Pixels are compared after alignment."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xai.core.runtime.batching import ShouldStop
from xai.errors import Stopped
from xai.fairness.duplicates import TURNS, Candidates, Turn, cosines

_BLOCK_ALIGNED = 1024
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
    distances = np.ones(len(first))
    for start in range(0, len(first), _BLOCK_ALIGNED):
        if should_stop is not None and should_stop():
            raise Stopped(f"Stopped after {start} of {len(first)} pairs were laid over each other, as asked.")
        part = slice(start, start + _BLOCK_ALIGNED)
        distances[part] = _block(_blurred(first[part]), _blurred(second[part])).numpy()
    return distances


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
    promising = (best <= _HOPELESS).nonzero()[:, 0]
    best[promising] = torch.minimum(
        best[promising], _refined(first[promising], second[promising], pose[promising], x, y)
    )
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
    centred, two = (rows - rows.mean((1, 2), keepdim=True) for rows in (first, second))
    size = 2 * side
    both = torch.fft.irfft2(
        torch.fft.rfft2(centred, (size, size)).conj() * torch.fft.rfft2(two, (size, size)), (size, size)
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
    own_centred, two = (rows - ((rows * inside).sum((1, 2)) / count)[:, None, None] for rows in (first, warped))
    product, own, other = (
        (a * b * inside).sum((1, 2)) for a, b in ((own_centred, two), (own_centred, own_centred), (two, two))
    )
    gain = product / other.clamp_min(1e-9)
    alike = (product / (own * other).sqrt().clamp_min(1e-9)).clamp(0, 1)
    distance = torch.where(count >= _SHARED * first.shape[1] * first.shape[2], (1 - alike**2).sqrt(), 1.0)
    return distance, gain, (own_centred - gain[:, None, None] * two) * inside


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


_FIRST_BLUR = 1.0  # pixels; what JPEG and sampling change lies below
_BLURS = (0.0, 0.35, 0.5, 0.65, 0.8, 1.0, 1.25, 1.6)  # by which one of the two may be less sharp
_BLOCK = 4096
_KEPT = 20  # cosine coefficients in each direction: the others are blurred away
_RANK = 10  # the neighbour whose distance is the usual distance
CLOSE, CLOSE_LAID = 0.2, 0.25  # of the usual distance
_TRIED = 3  # closest pairs of each image that are laid over each other
_LIKE, _SAME = 0.25, 0.02  # distances: at most, and the same whatever the neighbours
_COLOUR = 0.1  # of the length of a mean colour


@dataclass(frozen=True, eq=False)
class Matches:
    """Pairs that are the same image.

    Attributes:
        first: (P,) numbers.
        second: (P,) numbers.
        turn: (P,) numbers of `TURNS`.
        distance: (P,) share of the variation that the one does not explain of the other, as a root; 0: all the same.
        relative: (P,) over the distance of the tenth nearest image, which is not the same.
    """

    first: np.ndarray
    second: np.ndarray
    turn: np.ndarray
    distance: np.ndarray = field(repr=False)
    relative: np.ndarray = field(repr=False)

    def ordered(self) -> "Matches":
        """Return the same, closest first."""
        order = np.lexsort((self.second, self.first, self.distance))
        return Matches(*(part[order] for part in vars(self).values()))


def verify(
    small: np.ndarray, colour: np.ndarray, candidates: Candidates, should_stop: ShouldStop | None = None
) -> Matches:
    """Return the candidates that are the same image but for sharpness, contrast, brightness, place and size.

    The distance of a pair is sqrt(1 - r^2) with r the correlation of pixels, after the second was mirrored or turned
    and either was blurred to the other's sharpness; where that is not enough, after it was laid over the first
    (`faults_alignment`). It must be at most a fifth of the distance to the tenth nearest image of both, measured in the
    same way (a quarter where it was laid over): then the data has no such pairs by chance, also where all images look
    alike, as small digits do.

    Args:
        small: (N, s, s) grey images.
        colour: (N, 3) mean colours, which must agree but for brightness, contrast and saturation.
        candidates: pairs to look at.
        should_stop: asked between blocks.

    Raises:
        Stopped: `should_stop()` was true.
    """
    aligned = _Aligned(small)
    distance = aligned.distances(candidates.first, candidates.second, candidates.turn)
    usual_distance = _usual_distance(aligned, candidates.near)
    least = np.maximum(np.minimum(usual_distance[candidates.first], usual_distance[candidates.second]), 1e-12)
    relative = distance / least
    alike = _hue_distance(colour[candidates.first], colour[candidates.second]) <= _COLOUR
    accepted = (distance <= _LIKE) & ((relative <= CLOSE) | (distance <= _SAME)) & alike
    rows = np.flatnonzero(~accepted & alike & (candidates.moved | (_rank(candidates, distance) < _TRIED)))
    laid = _laid_over(small, candidates, rows, least[rows], should_stop)
    distance[laid.rows], relative[laid.rows], accepted[laid.rows] = laid.distance, laid.relative, True
    return _best(
        *(part[accepted] for part in (candidates.first, candidates.second, candidates.turn, distance, relative))
    )


def _hue_distance(first: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return how far mean colours (P, 3) are apart in what brightness, contrast and saturation do not change.

    A colour minus its grey is a direction and a length; a copy has the same direction, and a grey one none.
    """
    parts = [rows - rows.mean(1, keepdims=True) for rows in (first, two)]
    sizes = [np.linalg.norm(part, axis=1) for part in parts]
    more = (sizes[0] >= sizes[1])[:, None]
    strong, weak = np.where(more, parts[0], parts[1]), np.where(more, parts[1], parts[0])
    along = (strong * weak).sum(1) / np.maximum((strong**2).sum(1), 1e-12)
    off = np.linalg.norm(weak - np.clip(along, 0, 1)[:, None] * strong, axis=1)
    distances: np.ndarray = off / np.maximum(
        np.minimum(np.linalg.norm(first, axis=1), np.linalg.norm(two, axis=1)), 1e-6
    )
    return distances


def _rank(candidates: Candidates, distance: np.ndarray) -> np.ndarray:
    """Return the place (P,) of each pair among those of either of its images, the closest first."""
    best = np.full(len(distance), np.iinfo(np.int64).max)
    for side in (candidates.first, candidates.second):
        order = np.lexsort((distance, side))
        start = np.flatnonzero(np.r_[True, np.diff(side[order]) != 0])
        place = np.arange(len(order)) - np.repeat(start, np.diff(np.r_[start, len(order)]))
        best[order] = np.minimum(best[order], place)
    return best


@dataclass(frozen=True, eq=False)
class _LaidOver:
    """Pairs that are the same once one is laid over the other: numbers among the candidates, and distances (P,)."""

    rows: np.ndarray
    distance: np.ndarray
    relative: np.ndarray


def _laid_over(
    small: np.ndarray, candidates: Candidates, rows: np.ndarray, least: np.ndarray, should_stop: ShouldStop | None
) -> _LaidOver:
    """Lay pairs over each other; the usual distance is measured likewise, of images that may be in a pair alone.

    Args:
        small: (N, s, s) grey images.
        candidates: all candidates.
        rows: (P,) numbers of those to try.
        least: (P,) usual distance of images as they lie, never below the one measured here.
        should_stop: asked between blocks.
    """
    turned = small[candidates.second[rows]]
    for number, turn in enumerate(TURNS):
        own = candidates.turn[rows] == number
        turned[own] = turn(turned[own])
    distance = aligned_distances(small[candidates.first[rows]], turned, should_stop)
    near = (distance <= _LIKE) & (distance <= CLOSE_LAID * least)
    rows, distance = rows[near], distance[near]
    images = np.unique(np.r_[candidates.first[rows], candidates.second[rows]])
    others = candidates.near[images]
    if others.shape[1] == 0 or len(rows) == 0:
        return _LaidOver(rows, distance, distance)
    repeated = np.repeat(images, others.shape[1])
    ranked = np.sort(
        aligned_distances(small[repeated], small[others.reshape(-1)], should_stop).reshape(others.shape), 1
    )
    usual_distance = np.ones(len(small))
    usual_distance[images] = np.maximum(ranked[:, min(_RANK, others.shape[1]) - 1], 1e-12)
    relative = distance / np.minimum(usual_distance[candidates.first[rows]], usual_distance[candidates.second[rows]])
    accepted = relative <= CLOSE_LAID
    return _LaidOver(rows[accepted], distance[accepted], relative[accepted])


class _Aligned:
    """Images as cosine coefficients, in which a blur is a factor for each, and a mirror or turn a change of signs."""

    def __init__(self, small: np.ndarray) -> None:
        side = small.shape[-1]
        coefficients = min(side, _KEPT)
        frequency = np.pi * np.arange(coefficients) / side
        square = frequency[:, None] ** 2 + frequency[None] ** 2
        first = np.exp(-square * _FIRST_BLUR**2 / 2)
        first[0, 0] = 0  # the mean
        self.values = (cosines(small)[:, :coefficients, :coefficients] * first).astype(np.float32)
        blurs = np.array(_BLURS)[:, None, None]
        self.factors = np.exp(-square * blurs**2 / 2).reshape(len(_BLURS), -1).astype(np.float32)
        energy = self.values.reshape(len(small), -1) ** 2
        self.lengths = np.sqrt(np.maximum(energy @ (self.factors**2).T, 1e-20))

    def distances(self, first: np.ndarray, second: np.ndarray, turn: np.ndarray) -> np.ndarray:
        """Return the distance (P,) of each pair, at the blur of either at which they are most alike."""
        distances = np.zeros(len(first))
        for number, turned in enumerate(TURNS):
            own = np.flatnonzero(turn == number)
            for start in range(0, len(own), _BLOCK):
                part = own[start : start + _BLOCK]
                distances[part] = self._distances(first[part], second[part], turned)
        return distances

    def _distances(self, first: np.ndarray, second: np.ndarray, turned: Turn) -> np.ndarray:
        both = self.values[first] * turned.of_coefficients(self.values[second])
        products = both.reshape(len(first), -1).astype(np.float32) @ self.factors.T
        first_lengths, two = self.lengths[first], self.lengths[second]
        alike = np.maximum(products / (first_lengths * two[:, :1]), products / (first_lengths[:, :1] * two)).max(1)
        distances: np.ndarray = np.sqrt(np.maximum(0.0, 1 - np.clip(alike, 0, 1) ** 2))
        return distances


def _usual_distance(aligned: _Aligned, near: np.ndarray) -> np.ndarray:
    """Return the distance (N,) of each image's tenth nearest one; with fewer, of the farthest."""
    count, most = near.shape
    if most == 0:
        return np.ones(count)
    first = np.repeat(np.arange(count), most)
    ranked = np.sort(aligned.distances(first, near.reshape(-1), np.zeros(len(first), dtype=int)).reshape(count, most))
    distances: np.ndarray = ranked[:, min(_RANK, most) - 1]
    return distances


def _best(
    first: np.ndarray, second: np.ndarray, turn: np.ndarray, distance: np.ndarray, relative: np.ndarray
) -> Matches:
    """Return each pair once, as it is closest."""
    order = np.lexsort((distance, second, first))
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = (np.diff(first[order]) != 0) | (np.diff(second[order]) != 0)
    closest = order[fresh]
    return Matches(first[closest], second[closest], turn[closest], distance[closest], relative[closest])
