"""Is a pair the same picture? Pixels are compared after alignment, and against how close pictures come by chance."""

from dataclasses import dataclass, field

import numpy as np

from xai.fairness.faults_pairs import TURNS, Candidates, Turn, cosines

_FIRST_BLUR = 1.0  # pixels; what JPEG and sampling change lies below
_BLURS = (0.0, 0.35, 0.5, 0.65, 0.8, 1.0, 1.25, 1.6)  # by which one of the two may be less sharp
_BLOCK = 4096
_KEPT = 20  # cosine coefficients in each direction: the others are blurred away
_RANK = 10  # the neighbour whose distance is the yardstick
CLOSE = 0.2  # of the yardstick
_LIKE, _SAME = 0.25, 0.02  # distances: at most, and the same whatever the neighbours
_COLOUR = 0.1  # between directions of mean colours, so that brightness does not count


@dataclass(frozen=True, eq=False)
class Matches:
    """Pairs that are the same picture.

    Attributes:
        first: (P,) numbers.
        second: (P,) numbers.
        turn: (P,) numbers of `TURNS`.
        distance: (P,) share of the variation that the one does not explain of the other, as a root; 0: all the same.
        relative: (P,) over the distance of the tenth nearest picture, which is not the same.
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


def verify(small: np.ndarray, colour: np.ndarray, found: Candidates) -> Matches:
    """Return the candidates that are the same picture but for sharpness, contrast, brightness, a mirror or a turn.

    The distance of a pair is sqrt(1 - r^2) with r the correlation of pixels, after the second was turned and either was
    blurred to the other's sharpness. It must be at most a fifth of the distance to the tenth nearest picture of both:
    then the data has no such pairs by chance, also where all pictures look alike, as small digits do.

    Args:
        small: (N, s, s) grey pictures.
        colour: (N, 3) mean colours, which must agree but for brightness.
        found: pairs to look at.
    """
    aligned = _Aligned(small)
    distance = aligned.distances(found.first, found.second, found.turn)
    yardstick = _yardstick(aligned, found.near)
    relative = distance / np.maximum(np.minimum(yardstick[found.first], yardstick[found.second]), 1e-12)
    hue = colour / np.maximum(np.linalg.norm(colour, axis=1, keepdims=True), 1e-6)
    apart = np.linalg.norm(hue[found.first] - hue[found.second], axis=1)
    kept = (distance <= _LIKE) & ((relative <= CLOSE) | (distance <= _SAME)) & (apart <= _COLOUR)
    return _best(*(part[kept] for part in (found.first, found.second, found.turn, distance, relative)))


class _Aligned:
    """Pictures as cosine coefficients, in which a blur is a factor for each, and a mirror or turn a change of signs."""

    def __init__(self, small: np.ndarray) -> None:
        side = small.shape[-1]
        kept = min(side, _KEPT)
        frequency = np.pi * np.arange(kept) / side
        square = frequency[:, None] ** 2 + frequency[None] ** 2
        first = np.exp(-square * _FIRST_BLUR**2 / 2)
        first[0, 0] = 0  # the mean
        self.values = (cosines(small)[:, :kept, :kept] * first).astype(np.float32)
        blurs = np.array(_BLURS)[:, None, None]
        self.factors = np.exp(-square * blurs**2 / 2).reshape(len(_BLURS), -1).astype(np.float32)
        energy = self.values.reshape(len(small), -1) ** 2
        self.lengths = np.sqrt(np.maximum(energy @ (self.factors**2).T, 1e-20))

    def distances(self, first: np.ndarray, second: np.ndarray, turn: np.ndarray) -> np.ndarray:
        """Return the distance (P,) of each pair, at the blur of either at which they are most alike."""
        found = np.zeros(len(first))
        for number, turned in enumerate(TURNS):
            own = np.flatnonzero(turn == number)
            for start in range(0, len(own), _BLOCK):
                part = own[start : start + _BLOCK]
                found[part] = self._distances(first[part], second[part], turned)
        return found

    def _distances(self, first: np.ndarray, second: np.ndarray, turned: Turn) -> np.ndarray:
        both = self.values[first] * turned.of_coefficients(self.values[second])
        products = both.reshape(len(first), -1).astype(np.float32) @ self.factors.T
        one, two = self.lengths[first], self.lengths[second]
        alike = np.maximum(products / (one * two[:, :1]), products / (one[:, :1] * two)).max(1)
        found: np.ndarray = np.sqrt(np.maximum(0.0, 1 - np.clip(alike, 0, 1) ** 2))
        return found


def _yardstick(aligned: _Aligned, near: np.ndarray) -> np.ndarray:
    """Return the distance (N,) of each picture's tenth nearest one; with fewer, of the farthest."""
    count, most = near.shape
    if most == 0:
        return np.ones(count)
    first = np.repeat(np.arange(count), most)
    ranked = np.sort(aligned.distances(first, near.reshape(-1), np.zeros(len(first), dtype=int)).reshape(count, most))
    found: np.ndarray = ranked[:, min(_RANK, most) - 1]
    return found


def _best(
    first: np.ndarray, second: np.ndarray, turn: np.ndarray, distance: np.ndarray, relative: np.ndarray
) -> Matches:
    """Return each pair once, as it is closest."""
    order = np.lexsort((distance, second, first))
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = (np.diff(first[order]) != 0) | (np.diff(second[order]) != 0)
    kept = order[fresh]
    return Matches(first[kept], second[kept], turn[kept], distance[kept], relative[kept])
