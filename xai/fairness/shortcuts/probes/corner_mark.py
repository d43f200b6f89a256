"""A small mark near a corner, as stamps, logos, rulers and dates are."""

from collections.abc import Iterator
from itertools import product

import torch

from xai.core.results.message import Message
from xai.fairness.shortcuts.probes._blends import marks
from xai.fairness.shortcuts.probes.base import Form, Patch, ProbeContext, colours, probe

_SIDES = (3 / 28, 5 / 28)  # shares of the shorter side of the image
_MARGINS = (0, 1 / 28)


@probe("corner_mark", "a mark near a corner that one class has; and a small square of one colour near each corner")
def corner_mark(context: ProbeContext) -> Iterator[Form]:
    """Yield what was found, and squares of every size, margin and colour; each corner is tried by itself."""
    yield from marks(context, "corner_mark")
    height, width = context.size
    painted = colours(context.channels)
    for down, across in product(("top", "bottom"), ("left", "right")):
        place = f"{down} {across} corner"
        for side, margin, (name, colour) in product(_sides(context), _margins(context), painted.items()):
            top = margin if down == "top" else height - margin - side
            left = margin if across == "left" else width - margin - side
            mask = torch.zeros(height, width, dtype=torch.bool)
            mask[top : top + side, left : left + side] = True
            template = "{colour} square of {side} x {side} pixels, {margin} from the edges"
            words = Message(template, colour=Message(name), side=side, margin=margin)
            yield Patch(
                "corner_mark", f"corner mark, {down} {across}", place, words, mask, colour.expand(-1, height, width)
            )


def _margins(context: ProbeContext) -> list[int]:
    return sorted({round(share * context.side) for share in _MARGINS})


def _sides(context: ProbeContext) -> list[int]:
    """Return sizes in pixels, two at least."""
    sides = context.sizes(*_SIDES)
    return sides if len(sides) > 1 else [sides[0], sides[0] + 1]
