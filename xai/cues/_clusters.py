"""Is there one number in which most images of a class lie apart from the others, with nothing in between?"""

from dataclasses import dataclass

import numpy as np
import scipy

_CARRIERS, _BETWEEN = 0.55, 0.15
_STRAYS, _ELSEWHERE = 0.012, 0.1  # images of other classes that lie apart as well: a few anyhow, more across a gap
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
    if strays <= _STRAYS or strays > _ELSEWHERE or _between(theirs) > strays / 2:
        return strays <= _STRAYS
    if classes is None or len(set(classes.tolist())) < 2:
        return True
    return bool(np.bincount(classes[apart]).max() <= _OF_ONE * apart.sum())


def auroc(own: np.ndarray, rest: np.ndarray) -> tuple[float, float]:
    """Return how well values tell a class (n,) from others (m,), and the one-sided p-value that they do not."""
    if not len(own) or not len(rest):
        return 0.5, 1.0
    test = scipy.stats.mannwhitneyu(own, rest, alternative="greater")
    return float(test.statistic / (len(own) * len(rest))), float(test.pvalue)
