"""Repeated pixels by what they are called: corner mark, border, background texture, watermark, or another mark."""

from collections.abc import Iterator

from torch import Tensor

from xai.cues._base import Scene
from xai.cues._found import Mark
from xai.cues._repetition import SAME, Template, is_border, is_solid, spreads, strips

_CORNER = 1 / 3  # of the sides: how large a corner mark may be, and how far from the corner its middle
_FAINT = 0.45  # difference from an even background below which a mark lets it through
_LOW, _HIGH = 0.42, 0.58
_EDGES = {
    ("top",): "top edge",
    ("bottom",): "bottom edge",
    ("left",): "left edge",
    ("right",): "right edge",
    ("top", "bottom"): "top and bottom edges",
    ("left", "right"): "left and right edges",
}


def marks(scene: Scene, kind: str) -> Iterator[Mark]:
    """Yield what classes repeat at one place and is called `kind`."""
    for label, templates in scene.templates.items():
        for template in [each for each in templates if kind_of(each) == kind]:
            words, where = described(template, kind), place(template.mask, kind)
            unit = f"{kind}, class {label}"
            behind = kind == "background"
            yield Mark(kind, unit, where, words, template, target=label, least=template.least, behind=behind)


def kind_of(template: Template) -> str:
    """Return the name of the cue that a template is."""
    mask, (height, width) = template.mask, template.mask.shape
    if is_border(mask):
        return "border"
    if spreads(mask):
        return "background"
    top, left, bottom, right = box_of(mask)
    small = bottom - top <= _CORNER * height + 1 and right - left <= _CORNER * width + 1
    outside = [abs(middle - 0.5) > 0.5 - _CORNER for middle in middle_of(mask)]
    if small and all(outside) and is_solid(mask):
        return "corner_mark"
    return "watermark" if _contrast(template) < _FAINT else "mark"


def described(template: Template, kind: str) -> str:
    """Say what a template is."""
    top, left, bottom, right = box_of(template.mask)
    size = f"{bottom - top} x {right - left} pixels"
    if kind == "border":
        return f"border, {_level(template)}"
    if kind == "background":
        return "background texture that repeats"
    if kind == "watermark":
        return f"watermark of {size}"
    if kind == "corner_mark":
        return f"{_level(template)} mark of {size}"
    return f"{'mark' if is_solid(template.mask) else 'text-like mark'} of {size}"


def place(mask: Tensor, kind: str) -> str:
    """Say where a mask is: "top right corner", "bottom middle", "left edge", "edges"."""
    if kind == "border":
        return _EDGES.get(strips(mask), "edges")
    if kind == "background":
        return "background"
    down, across = middle_of(mask)
    if kind == "corner_mark":
        return f"{'top' if down < 0.5 else 'bottom'} {'left' if across < 0.5 else 'right'} corner"
    rows = "top" if down < _LOW else "bottom" if down > _HIGH else "middle"
    columns = "left" if across < _LOW else "right" if across > _HIGH else "middle"
    return "middle" if rows == columns else f"{rows} {columns}"


def box_of(mask: Tensor) -> tuple[int, int, int, int]:
    """Return top, left, bottom and right of a mask (h, w), the latter two just outside."""
    rows, columns = (mask.any(axis).nonzero()[:, 0] for axis in (1, 0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def middle_of(mask: Tensor) -> tuple[float, float]:
    """Return the middle of a mask's box as shares of the sides."""
    top, left, bottom, right = box_of(mask)
    return (top + bottom) / (2 * mask.shape[0]), (left + right) / (2 * mask.shape[1])


def _contrast(template: Template) -> float:
    """Return the largest difference from an even background; 1 where there is none to be seen through."""
    if template.level is None:
        return 1.0
    return float((template.content - template.level).abs()[:, template.mask].quantile(0.9))


def _level(template: Template) -> str:
    """Return the colour in words."""
    values = template.content[:, template.mask]
    if float(values.std(1).amax() if values.shape[1] > 1 else 0) > 3 * SAME:
        return "patterned"
    colour = values.mean(1)
    if len(colour) == 3 and float(colour.max() - colour.min()) > 0.2:
        return "coloured"
    level = float(colour.mean())
    return "white" if level > 0.8 else "black" if level < 0.2 else "grey"
