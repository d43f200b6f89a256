"""What recurs anywhere in images of one class.

It is a number in which the class stands apart, or a mark at any place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xai.fairness.shortcuts.probes.repetition import FEWEST, background_level, commonest, same, steps, without_specks

_CARRIERS, _BETWEEN = 0.55, 0.15
_STRAYS, _ELSEWHERE_CLUSTER = (
    0.012,
    0.1,
)  # images of other classes that lie apart as well: a few anyhow, more across a gap
_OF_ONE = 2 / 3  # share of these that one class may have, which may be alike by nature
_DISTANCE = 3.0  # robust deviations of the other classes
_EVEN = 1e-3  # a deviation below which the other classes are taken to have one value


@dataclass(frozen=True)
class Split:
    """Where a class lies apart.

    Attributes:
        low: median of the other classes.
        high: median of the images of the class that lie apart.
        distance: of the two, in robust deviations of the other classes.
    """

    low: float
    high: float
    distance: float

    @property
    def threshold(self) -> float:
        """Half-way."""
        return (self.low + self.high) / 2


def split(
    own: np.ndarray,
    rest: np.ndarray,
    further: np.ndarray | None = None,
    *,
    classes: np.ndarray | None = None,
    natural: bool = True,
) -> Split | None:
    """Return where a class's values (n,) lie apart from those of the others (m,), None where they do not.

    What a class is by nature spreads: its values reach from those of the other classes to its own. What was added to
    most of its images leaves the rest of them where the other classes are, and a gap. So most must lie apart, a few
    may lie in between, none of the others may be there, and one at least must have stayed behind, unless all other
    images share one value, as an even background does. Those that stayed behind are few: `further` images of the
    class (k,) are looked at for them.
    """
    low, high = float(np.median(rest)), float(np.median(own))
    if abs(high - low) < 1e-9:
        return None
    spread = 1.4826 * float(np.median(np.abs(rest - low)))
    distance = abs(high - low) / max(spread, 1e-9)
    mine, theirs = (own - low) / (high - low), (rest - low) / (high - low)
    apart = float((mine > 2 / 3).mean()) >= _CARRIERS and _few(theirs, classes)
    between = sum(map(_between, (mine, theirs)))
    left = mine if further is None else np.concatenate([mine, (further - low) / (high - low)])
    behind = bool((left <= 1 / 3).any()) or float(np.ptp(rest)) < _EVEN or not natural
    if not (apart and between <= _BETWEEN and behind and distance >= _DISTANCE):
        return None
    return Split(low, float(np.median(own[mine > 2 / 3])), distance)


def _between(part: np.ndarray) -> float:
    return float(((part > 1 / 3) & (part <= 2 / 3)).mean())


def _few(theirs: np.ndarray, classes: np.ndarray | None) -> bool:
    """Say whether hardly any of the others lie apart, or some of several classes across a gap: they carry it too."""
    apart = theirs > 2 / 3
    strays = float(apart.mean())
    if strays <= _STRAYS or strays > _ELSEWHERE_CLUSTER or _between(theirs) > strays / 2:
        return strays <= _STRAYS
    if classes is None or len(set(classes.tolist())) < 2:
        return True
    return bool(np.bincount(classes[apart]).max() <= _OF_ONE * apart.sum())


_MOST = 24  # images of a class that are compared in pairs
_VALUES = 3e7  # of all pairs' correlations held at once
_TRIED = 6  # images that the others are laid upon
_NEAR = 2  # displacements up to which the object itself may explain a likeness
_AGREE = (0.5, 0.35)  # share of the images in which a pixel comes again
_PIXELS, _STEP = 5, 0.2  # objects that are alike have soft edges where they are laid upon each other
_AROUND, _SEEN = 3, 0.35  # pixels around the piece at least, and share of the carriers, for what is inserted beside it
_CLOSE, _APART = 0.06, 1.5  # distance of carriers, and how much further the others must be
_STRAYS_MOVING, _ELSEWHERE = 0.03, 0.1  # of the others that are as close: a few anyhow, more where they are carriers


@dataclass(frozen=True, eq=False)
class Piece:
    """A small template.

    Attributes:
        mask: (a, b) bool.
        content: (C, a, b).
        most: root mean square distance up to which an image carries it.
        drawn: (c, d) bool, the pixels to plant: also those that objects hide in many images.
        ink: (C, c, d) their values.
    """

    mask: Tensor
    content: Tensor
    most: float
    drawn: Tensor
    ink: Tensor

    def distance(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the root mean square distance at the best place (n,), and top and left of that place (n, 2)."""
        weights, count = self.mask.float()[None, None], float(self.mask.sum()) * images.shape[1]
        content = (self.content * self.mask)[None]
        squares = F.conv2d(images.square().sum(1, keepdim=True), weights)
        error = squares - 2 * F.conv2d(images, content) + content.square().sum()
        best, place = (error.flatten(1).clamp_min(0) / count).sqrt().min(1)
        across = error.shape[-1]
        return best, torch.stack([place // across, place % across], 1)


def moving(images: Tensor, labels: Tensor, classes: Sequence[int]) -> dict[int, Piece]:
    """Return what each class repeats at any place, where it does; arguments as of `repeated`."""
    pieces = {label: _moving(images[labels == label], images[labels != label]) for label in classes}
    return {label: piece for label, piece in pieces.items() if piece is not None}


def _moving(own: Tensor, rest: Tensor) -> Piece | None:
    size = own.shape[-2] * own.shape[-1]
    some = own[: max(FEWEST, min(_MOST, int((_VALUES / (2 * size)) ** 0.5)))]
    peaks, places = _likeness(some)
    level = background_level(rest)
    best = peaks.sort(1, descending=True).values[:, : max(3, len(some) // 2)].mean(1)
    for row in best.argsort(descending=True)[:_TRIED].tolist():
        agree = _agreement(some, row, places[row])
        for least in _AGREE:
            piece = _piece(some[row], agree >= least, level, own, rest)
            if piece is not None:
                return piece
    return None


def _likeness(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the highest correlation of each pair (n, n) beyond small displacements, and the displacement (n, n, 2)."""
    count, (height, width) = len(images), images.shape[-2:]
    grey = images.mean(1, keepdim=True)
    fine = (grey - F.avg_pool2d(F.pad(grey, (2,) * 4, mode="replicate"), 5, 1))[:, 0]
    fine = fine / fine.flatten(1).norm(dim=1).clamp_min(1e-6)[:, None, None]
    waves = torch.fft.rfft2(fine, s=(2 * height, 2 * width))
    waves = waves / (waves.abs().square().mean(0).sqrt() + 1e-4)  # what all images share counts less
    first, other = torch.triu_indices(count, count, 1)
    likeness = torch.fft.irfft2(waves[first].conj() * waves[other], s=(2 * height, 2 * width))
    for rows in (slice(None, _NEAR + 1), slice(-_NEAR, None)):
        for columns in (slice(None, _NEAR + 1), slice(-_NEAR, None)):
            likeness[:, rows, columns] = -torch.inf
    best, place = likeness.flatten(1).max(1)
    down, across = place // (2 * width), place % (2 * width)
    shift = torch.stack([(down + height) % (2 * height) - height, (across + width) % (2 * width) - width], 1)
    peaks, places = torch.zeros(count, count), torch.zeros(count, count, 2, dtype=torch.long)
    peaks[first, other] = peaks[other, first] = best
    places[first, other], places[other, first] = shift, -shift
    return peaks, places


def _agreement(images: Tensor, row: int, places: Tensor) -> Tensor:
    """Return the share of the other images (h, w) that, laid upon one by their displacements, have its pixel."""
    base, (height, width) = images[row], images.shape[-2:]
    shares = torch.zeros(height, width)
    for k, (down, across) in enumerate(places.tolist()):
        if k == row:
            continue
        top, bottom = max(0, -down), min(height, height - down)
        left, right = max(0, -across), min(width, width - across)
        if top < bottom and left < right:
            laid = images[k : k + 1, :, top + down : bottom + down, left + across : right + across]
            shares[top:bottom, left:right] += same(laid, base[:, top:bottom, left:right])[0]
    return shares / max(1, len(images) - 1)


def _piece(base: Tensor, agree: Tensor, level: float | None, own: Tensor, rest: Tensor) -> Piece | None:
    """Return the piece of an image where others agree, if it stands apart."""
    plain = torch.zeros_like(agree) if level is None else same(base[None], torch.full_like(base, level))[0]
    mask = without_specks(agree & ~plain)
    if int(mask.sum()) < _PIXELS or steps(base[None], mask) < _STEP:
        return None
    rows, columns = (mask.any(axis).nonzero()[:, 0] for axis in (1, 0))
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    content = base[(slice(None), *box)]
    piece = Piece(mask[box], content, _CLOSE, mask[box], content)
    near, far = piece.distance(own)[0], piece.distance(rest)[0]
    middle = float(near.median())
    apart = _beyond(far, max(middle, 0.02))
    if middle > _CLOSE or apart is None:
        return None
    return _complete(piece, (middle + apart) / 2, own, level)


def _beyond(far: Tensor, middle: float) -> float | None:
    """Return the distance (n,) beyond which other images are, but for a few; None where more come close.

    Those may be carriers as well: then they are as close as the carriers of the class, and not on the way there.
    """
    close = far <= _APART * middle
    strays = float(close.float().mean())
    carriers = _STRAYS_MOVING < strays <= _ELSEWHERE and float(far[close].median()) <= middle
    apart = float((far[~close] if carriers else far).quantile(_STRAYS_MOVING))
    return apart if apart > _APART * middle else None


def _complete(piece: Piece, limit: float, own: Tensor, level: float | None) -> Piece:
    """Return the piece with its surroundings as most carriers have them."""
    distance, places = piece.distance(own)
    carriers = distance <= limit
    around = max(_AROUND, *piece.mask.shape)  # the piece may be one letter of a word
    height, width = (side + 2 * around for side in piece.mask.shape)
    padded = F.pad(own[carriers], (around,) * 4, value=-1.0)
    cut = [
        image[:, y : y + height, x : x + width] for image, (y, x) in zip(padded, places[carriers].tolist(), strict=True)
    ]
    ink, shares = commonest(torch.stack(cut), level)
    drawn = without_specks(shares >= _SEEN)
    rows, columns = (drawn.any(axis).nonzero()[:, 0] for axis in (1, 0))
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    most = own.shape[2:]
    if drawn[box].shape[0] > most[0] or drawn[box].shape[1] > most[1]:
        return Piece(piece.mask, piece.content, limit, piece.mask, piece.content)
    return Piece(piece.mask, piece.content, limit, drawn[box], ink[(slice(None), *box)])
