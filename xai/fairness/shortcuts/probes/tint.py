"""A probe for a colour over the whole image. Lamps, stains, films and white balances leave one."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from xai.core.results.message import Message
from xai.fairness.shortcuts.probes.base import EVERYWHERE, Form, ProbeContext, Shift, probe
from xai.fairness.shortcuts.probes.data_forms import DataProperty

_MOST, _DARK = 0.3, 0.02
_TINTS = {
    "red": (1.0, -0.5, -0.5),
    "green": (-0.5, 1.0, -0.5),
    "blue": (-0.5, -0.5, 1.0),
}
_LEAST = 0.03  # logarithm of a gain below which nothing is inserted


@probe("tint", "a colour over most images of one class; and six colours over all images")
def tint(context: ProbeContext) -> Iterator[Form]:
    """Yield what was found, and a tint of each primary colour and its opposite; none without three channels."""
    if context.channels != 3:
        return
    ratios = balance(context.all_images)
    for label in context.classes:
        yield from _from_data(context, label, ratios)
    for (name, direction), sign in ((each, sign) for each in _TINTS.items() for sign in (1, -1)):
        amount = sign * _MOST * torch.tensor(direction).view(-1, 1, 1)
        template = "{colour} tint of up to {most}" if sign > 0 else "less {colour} tint of up to {most}"
        words = Message(template, colour=Message(name), most=_MOST)
        looks = partial(_along, direction=torch.tensor([direction[0], direction[2]]) * sign)
        yield Shift("tint", "tint", EVERYWHERE, words, partial(_added, amount=amount), looks=looks)


def _from_data(context: ProbeContext, label: int, ratios: Tensor) -> Iterator[Form]:
    own = context.data.labels == label
    data = ratios[: len(own)]
    direction = _apart(data[own], data[~own])
    seen = context.split(ratios @ direction, label)
    if seen is None or seen.high < seen.low:
        return
    ratios, values = data, data @ direction
    carriers, behind = own & (values > seen.threshold), own & (values <= seen.threshold)
    bare = ratios[behind] if int(behind.sum()) > 1 else ratios[~own]
    steps = ratios[carriers].median(0).values - bare.median(0).values
    logs = torch.stack([steps[0], torch.zeros(()), steps[1]])
    gains = (logs - logs.mean()).exp().view(-1, 1, 1)
    if float(steps.abs().max()) >= _LEAST:
        red, green, blue = gains.flatten().tolist()
        yield DataProperty(
            "tint",
            f"tint, class {label}",
            EVERYWHERE,
            Message("tint (red x {red:.2f}, green x {green:.2f}, blue x {blue:.2f})", red=red, green=green, blue=blue),
            partial(_scaled, gains=gains),
            partial(_scaled, gains=1 / gains),
            partial(_along, direction=direction),
            blocks=True,
            target=label,
            least=seen.threshold,
        )


def balance(images: Tensor) -> Tensor:
    """Return the logarithms of red to green and of blue to green of images (n, 3, h, w), as (n, 2)."""
    logs = (images.mean((2, 3)) + _DARK).log()
    return torch.stack([logs[:, 0] - logs[:, 1], logs[:, 2] - logs[:, 1]], 1)


def _apart(own: Tensor, rest: Tensor) -> Tensor:
    """Return the direction (2,) in which sets of (n, 2) differ most, measured by their spread (Fisher 1936)."""
    spread = (own - own.median(0).values).T.cov() + (rest - rest.median(0).values).T.cov() + 1e-6 * torch.eye(2)
    direction: Tensor = torch.linalg.solve(spread, own.median(0).values - rest.median(0).values)
    unit: Tensor = direction / direction.norm().clamp_min(1e-9)
    return unit


def _along(images: Tensor, direction: Tensor) -> Tensor:
    return balance(images) @ direction


def _scaled(images: Tensor, gains: Tensor) -> Tensor:
    return (images * gains).clamp(0, 1)


def _added(images: Tensor, amount: Tensor) -> Tensor:
    return (images + amount).clamp(0, 1)
