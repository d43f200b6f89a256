"""The settings of a dream, checked, and what is taken where none is given."""

from dataclasses import dataclass, fields, replace
from numbers import Real
from operator import index
from typing import Any

from xai.dreams.pyramid import SMALLEST, Size
from xai.errors import RangeError, ShapeError

TILE = 512
_LEAST_TILE = 32
_FROM_PICTURE = {"octaves": 4, "steps": 15, "tv": 0.0, "decorrelated": False, "fourier": False}
_FROM_NOISE = {"octaves": 6, "steps": 25, "tv": 0.15, "decorrelated": True, "fourier": False}


@dataclass(frozen=True)
class Settings:
    """How a dream is made; None takes what suits the start and the goal, see `filled`.

    Attributes:
        octaves: number of sizes, each `octave_scale` times the one before.
        steps: at each octave.
        size: height and width of the result, or one number for the longer side; None takes the picture's, or the
            classifier's input.
        octave_scale: more than 1.
        step_size: root mean square of an octave's first step, in the [0, 1] pixel scale; its last is a fifth of it.
        jitter: pixels of the full size by which the network's view moves at most, each step anew.
        laplacian: whether all scales of the gradient are made equally strong.
        tile: largest side that the network is shown at once; larger pictures are looked at piece by piece.
        tv: strength of the pull towards smoothness (total variation), as a share of the step.
        decorrelated: whether colours move together as in photographs.
        fourier: whether frequencies count as in photographs, in place of `laplacian`; a noise start has their spectrum.
        frames_every: steps between two frames; None keeps the last of each octave.
        until: probability of the class at which the dream ends early.
        patience: steps without a higher objective after which an octave ends early.
        sure: probability that a class picture shall have at the end; 0 leaves it as it comes.

    Raises:
        RangeError: a number outside its range.
        ShapeError: a size that is none.
    """

    octaves: int | None = None
    steps: int | None = None
    size: Any = None
    octave_scale: float = 1.4
    step_size: float = 0.025
    jitter: int | None = None
    laplacian: bool = True
    tile: int | None = None
    tv: float | None = None
    decorrelated: bool | None = None
    fourier: bool | None = None
    frames_every: int | None = None
    until: float | None = None
    patience: int | None = None
    sure: float = 0.95

    def __post_init__(self) -> None:
        """Check every number."""
        for name, least in {"octaves": 1, "steps": 1, "jitter": 0, "tile": _LEAST_TILE, "frames_every": 1}.items():
            _check_whole(name, getattr(self, name), least)
        _check_whole("patience", self.patience, 1)
        _check_number("octave_scale", self.octave_scale, 1.0, 10.0, "(1, 10]", above=True)
        _check_number("step_size", self.step_size, 0.0, 1.0, "(0, 1], in the [0, 1] pixel scale", above=True)
        _check_number("sure", self.sure, 0.0, 1.0, "[0, 1)", below=True)
        for name in ("laplacian", "decorrelated", "fourier"):
            if getattr(self, name) not in (True, False, None):
                raise RangeError(f"Expected `{name}` as True or False, but got {getattr(self, name)!r}.")
        if self.tv is not None:
            _check_number("tv", self.tv, 0.0, 100.0, "[0, 100]")
        if self.until is not None:
            _check_number("until", self.until, 0.0, 1.0, "(0, 1)", above=True, below=True)
        _check_size(self.size)

    def filled(self, *, picture: bool, classes: bool, colour: bool, size: Size) -> "Settings":
        """Return the settings without None, but for those where None has a meaning.

        Args:
            picture: a picture to start from was given; otherwise noise is.
            classes: the goal is a class.
            colour: the classifier looks at three channels.
            size: of the result.

        Raises:
            RangeError: decorrelated colours of a grey picture.
        """
        if self.decorrelated and not colour:
            raise RangeError("Expected no `decorrelated`: it needs three colours, and this classifier looks at grey.")
        usual: dict[str, Any] = _FROM_PICTURE if picture else _FROM_NOISE | {"fourier": classes}
        usual = {**usual, "tile": TILE, "jitter": min(size) // 16}
        if not colour:
            usual["decorrelated"] = False
        missing = {f.name for f in fields(self) if getattr(self, f.name) is None}
        return replace(self, **{name: value for name, value in usual.items() if name in missing})


def result_size(size: Any, given: Size) -> Size:
    """Return the size of the result: as asked, or a number for the longer side of a picture `given` large."""
    if size is None:
        return given
    if isinstance(size, tuple | list):
        return int(size[0]), int(size[1])
    scale = index(size) / max(given)
    return max(1, round(given[0] * scale)), max(1, round(given[1] * scale))


def _check_whole(name: str, value: Any, least: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not hasattr(value, "__index__") or index(value) < least:
        raise RangeError(f"Expected `{name}` as a whole number of at least {least}, but got {value!r}.")


def _check_number(
    name: str, value: Any, low: float, high: float, words: str, *, above: bool = False, below: bool = False
) -> None:
    number = isinstance(value, Real) and not isinstance(value, bool)
    inside = number and low <= float(value) <= high
    if not inside or (above and value == low) or (below and value == high):
        raise RangeError(f"Expected `{name}` in {words}, but got {value!r}.")


def _check_size(size: Any) -> None:
    sides = list(size) if isinstance(size, tuple | list) else [size]
    good = all(hasattr(side, "__index__") and not isinstance(side, bool) and index(side) >= SMALLEST for side in sides)
    if size is not None and (not good or len(sides) != (2 if isinstance(size, tuple | list) else 1)):
        raise ShapeError(
            f"Expected `size` as (height, width), or one number for the longer side, of at least {SMALLEST} pixels, "
            f"but got {size!r}."
        )
