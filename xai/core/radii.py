"""Radii in the scale of pixels in [0, 1]: which are none, and which look as if they were in another scale."""

from collections.abc import Sequence
from math import isclose

from xai.errors import RangeError

_SHARES = {"linf": 0.5, "l2": 0.25, "l1": 0.25}  # of the distance from black to white: beyond it a scale is doubted
_LEVELS = 255
_DIVIDED = 64  # k/255/255 with k up to this was divided twice


def check_eps(eps: float, norm: str, name: str = "eps") -> float:
    """Return a radius.

    Raises:
        RangeError: no finite number of at least 0, or an linf radius above 1, the distance from black to white.
    """
    if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0 <= eps < float("inf"):
        raise RangeError(
            f"Expected `{name}` as a number of at least 0 in the scale of pixels in [0, 1] (8/255, not 8), "
            f"but got {eps!r}."
        )
    if norm == "linf" and eps > 1:
        raise RangeError(
            f"Expected `{name}` in the scale of pixels in [0, 1], from black to white, but got {eps:.4g}. "
            f"Write {eps:.4g}/255 if grey levels are meant."
        )
    return float(eps)


def radius_doubts(radii: Sequence[float], norm: str, pixels: int) -> tuple[str, ...]:
    """Return what speaks for another scale than that of pixels in [0, 1].

    Args:
        radii: as used.
        norm: "linf", "l2" or "l1".
        pixels: numbers in one image.
    """
    widths = {"linf": 1.0, "l2": pixels**0.5, "l1": float(pixels)}
    largest, limit = max(radii), _SHARES[norm] * widths[norm]
    found = []
    if largest > limit:
        part = f"more than {_SHARES[norm]:.0%} of the distance from black to white"
        found.append(f"eps {largest:.4g} ({norm}) is {part}: radii are in the scale of pixels in [0, 1], 8/255, not 8")
    for eps in radii:
        times = eps * _LEVELS**2
        if norm == "linf" and 1 <= round(times) <= _DIVIDED and isclose(times, round(times), rel_tol=1e-6):
            found.append(f"eps {eps:.3g} is {round(times)}/255/255: it looks divided by 255 twice")
    return tuple(found)
