"""A frame around the image, as scanners and web pages leave one."""

from collections.abc import Iterator
from itertools import product

import torch

from xai.core.results.message import Message
from xai.fairness.shortcuts.probes._blends import marks
from xai.fairness.shortcuts.probes.base import Form, Patch, ProbeContext, colours, probe

_WIDTHS = (1 / 28, 2 / 28)


@probe("border", "a frame around the image that one class has; and frames of one colour in two widths")
def border(context: ProbeContext) -> Iterator[Form]:
    """Yield what was found, and frames of every width and colour, grey among them."""
    yield from marks(context, "border")
    height, width = context.size
    painted = colours(context.channels) | {"grey": torch.full((context.channels, 1, 1), 0.5)}
    for thick, (name, colour) in product(context.sizes(*_WIDTHS), painted.items()):
        mask = torch.ones(height, width, dtype=torch.bool)
        mask[thick : height - thick, thick : width - thick] = False
        words = Message("{colour} border of {thickness} pixels", colour=Message(name), thickness=thick)
        yield Patch("border", "border", "edges", words, mask, colour.expand(-1, height, width))
