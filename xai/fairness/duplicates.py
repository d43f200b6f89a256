"""Pairs of images that may be duplicates.

They are found by perceptual hashes of mirrored and turned images, and by nearest neighbours.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import scipy

from xai.core.runtime.batching import ShouldStop
from xai.errors import Stopped

_COEFFICIENTS = 12  # of the cosine transform in each direction
_HASHED = 8
_FAR = 14  # of 63 bits that may differ
_BLOCK = 512  # rows compared at a time
NEAREST = 12  # neighbours that say how close images come by chance
_HASH_NEAREST, _FEATURE_NEAREST = 3, 5


@dataclass(frozen=True, eq=False)
class Turn:
    """One of the eight ways to mirror and turn a square image."""

    name: str
    rows: bool
    columns: bool
    swapped: bool

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return images (..., s, s) turned."""
        turned = np.swapaxes(images, -1, -2) if self.swapped else images
        return turned[..., :: -1 if self.rows else 1, :: -1 if self.columns else 1]

    def of_coefficients(self, values: np.ndarray) -> np.ndarray:
        """Return the cosine coefficients (..., k, k) of turned images: a mirror changes the odd ones' signs."""
        turned = np.swapaxes(values, -1, -2) if self.swapped else values
        signs = (-1.0) ** np.arange(values.shape[-1])
        return turned * (signs[:, None] if self.rows else 1) * (signs if self.columns else 1)


TURNS = (
    Turn("", rows=False, columns=False, swapped=False),
    Turn("mirrored left to right", rows=False, columns=True, swapped=False),
    Turn("mirrored top to bottom", rows=True, columns=False, swapped=False),
    Turn("turned by 180 degrees", rows=True, columns=True, swapped=False),
    Turn("mirrored along the diagonal", rows=False, columns=False, swapped=True),
    Turn("turned by 90 degrees", rows=False, columns=True, swapped=True),
    Turn("turned by 270 degrees", rows=True, columns=False, swapped=True),
    Turn("mirrored along the other diagonal", rows=True, columns=True, swapped=True),
)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs to be looked at.

    Attributes:
        near: (N, k) nearest neighbours of each image among all, as it stands.
        first: (P,) numbers of images.
        second: (P,) of others; the second, turned, may be the first.
        turn: (P,) numbers of `TURNS`.
        moved: (P,) bool, whether the pair was proposed by what a shift does not change.
    """

    near: np.ndarray = field(repr=False)
    first: np.ndarray = field(repr=False)
    second: np.ndarray = field(repr=False)
    turn: np.ndarray = field(repr=False)
    moved: np.ndarray = field(repr=False)


def candidates(
    small: np.ndarray, features: np.ndarray | None = None, should_stop: ShouldStop | None = None
) -> Candidates:
    """Return pairs of images (N, s, s) that may be the same, each once.

    Args:
        small: grey images.
        features: (N, D), adds pairs that a network sees as alike; or None.
        should_stop: asked between blocks.

    Raises:
        Stopped: `should_stop()` was true.

    Cost: N^2 (215 + D) multiplications for neighbours, and eight comparisons of 64 bits for hashes.
    """
    values = cosines(small)[:, :_COEFFICIENTS, :_COEFFICIENTS]
    near = _nearest_rows(_unit(values.reshape(len(values), -1)[:, 1:]), NEAREST, should_stop)
    neighbour_pairs = [_pairs(near, 0)]
    if features is not None:
        neighbour_pairs.append(_pairs(_nearest_rows(_unit(features), _FEATURE_NEAREST, should_stop), 0))
    hashes = _hash(values)
    for number, turn in enumerate(TURNS):
        turned = _hash(turn.of_coefficients(values))
        neighbour_pairs.append(_pairs(_nearest_hashes(hashes, turned, should_stop), number))
    shifted = _nearest_rows(_spectra(small), _FEATURE_NEAREST, should_stop)
    neighbour_pairs.append(_pairs(shifted, 0))
    first, second, turn_of = np.concatenate(neighbour_pairs, 1)
    moved = np.arange(len(first)) >= len(first) - shifted.size
    back = _back()[turn_of]
    swap = first > second
    first, second, turn_of = np.where(swap, (second, first, back), (first, second, turn_of))
    every, place = np.unique(np.stack([first, second, turn_of]), axis=1, return_inverse=True)
    first, second, turn_of = every
    return Candidates(near, first, second, turn_of, np.bincount(place.reshape(-1), moved, len(first)) > 0)


def _spectra(small: np.ndarray) -> np.ndarray:
    """Return the strengths (N, D) of low frequencies, which a shift leaves as they are but for the rim."""
    side = small.shape[-1]
    values = np.abs(scipy.fft.fft2(small - small.mean((1, 2), keepdims=True)))[:, : _COEFFICIENTS // 2, :]
    frequencies = np.r_[0 : _COEFFICIENTS // 2, side - _COEFFICIENTS // 2 : side] % side
    return _unit(np.sqrt(values[:, :, frequencies]).reshape(len(small), -1))


def cosines(small: np.ndarray) -> np.ndarray:
    """Return the orthonormal cosine transform (N, s, s) of images."""
    coefficients: np.ndarray = scipy.fft.dctn(small, axes=(1, 2), norm="ortho")
    return coefficients


def _back() -> np.ndarray:
    """Return the number of the turn that undoes each turn."""
    probe = np.arange(9.0).reshape(3, 3)
    return np.array([next(k for k, back in enumerate(TURNS) if (back(turn(probe)) == probe).all()) for turn in TURNS])


def _unit(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit_rows: np.ndarray = (rows / np.maximum(length, 1e-12)).astype(np.float32)
    return unit_rows


def _nearest_rows(rows: np.ndarray, most: int, should_stop: ShouldStop | None) -> np.ndarray:
    """Return the `most` most similar other rows (N, k) of unit rows (N, D)."""
    most = max(0, min(most, len(rows) - 1))
    neighbours = np.zeros((len(rows), most), dtype=np.int64)
    for start, stop in _blocks(len(rows) if most else 0, should_stop):
        unlike = -(rows[start:stop] @ rows.T)
        unlike[np.arange(stop - start), np.arange(start, stop)] = np.inf
        neighbours[start:stop] = np.argpartition(unlike, most - 1, axis=1)[:, :most]
    return neighbours


def _blocks(count: int, should_stop: ShouldStop | None) -> Iterator[tuple[int, int]]:
    for start in range(0, count, _BLOCK):
        if should_stop is not None and should_stop():
            raise Stopped(f"Stopped after {start} of {count} images were compared, as asked.")
        yield start, min(count, start + _BLOCK)


def _hash(values: np.ndarray) -> np.ndarray:
    """Return 63 bits (N,) uint64: signs of the low cosine coefficients, without the mean."""
    bits = values[:, :_HASHED, :_HASHED].reshape(len(values), -1)[:, 1:] > 0
    weights = np.uint64(1) << np.arange(bits.shape[1], dtype=np.uint64)
    hashes: np.ndarray = (bits * weights).sum(1, dtype=np.uint64)
    return hashes


def _nearest_hashes(hashes: np.ndarray, turned: np.ndarray, should_stop: ShouldStop | None) -> np.ndarray:
    """Return the three others (N, 3) whose turned hashes are nearest; -1 where they are too far."""
    neighbours = np.full((len(hashes), _HASH_NEAREST), -1, dtype=np.int64)
    for start, stop in _blocks(len(hashes), should_stop):
        rows = np.arange(stop - start)
        apart = np.bitwise_count(hashes[start:stop, None] ^ turned[None])
        apart[rows, np.arange(start, stop)] = 64
        for k in range(_HASH_NEAREST):
            place = apart.argmin(1)
            neighbours[start:stop, k] = np.where(apart[rows, place] <= _FAR, place, -1)
            apart[rows, place] = 64
    return neighbours


def _pairs(near: np.ndarray, turn: int) -> np.ndarray:
    """Return (3, P): first, second and turn of each neighbour."""
    first = np.repeat(np.arange(len(near)), near.shape[1])
    second = near.reshape(-1)
    is_neighbour = second >= 0
    return np.stack([first[is_neighbour], second[is_neighbour], np.full(int(is_neighbour.sum()), turn)])
