"""A probe for brighter or darker images.

Lamps, exposure and black level make such images; contrast changes with them.
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from xai.core.results.message import Message
from xai.fairness.shortcuts.probes.base import EVERYWHERE, Form, ProbeContext, Shift, probe
from xai.fairness.shortcuts.probes.data_forms import Change, DataProperty
from xai.fairness.shortcuts.probes.recurrence import Split

_MOST = 0.5
_LEAST = 0.03  # shift of grey levels below which nothing is inserted
_STRETCHED = 0.3  # logarithm of a contrast from which it is said, and inserted
LEFT = 3  # images of the class that were left out, from which the contrast is measured
_LEVELS = {"black level": 0.02, "white level": 0.98, "middle level": 0.5}


@probe("brightness", "grey levels that most images of one class have shifted; and all images brighter or darker")
def brightness(context: ProbeContext) -> Iterator[Form]:
    """Yield what was found, and both directions by up to half of the scale.

    Objects differ in brightness by nature; what was shifted as a whole has another black or white level, and images
    of the class that were left out lie apart.
    """
    levels = {name: level(context.all_images, share) for name, share in _LEVELS.items()}
    for label in context.classes:
        yield from _shifted(context, label, levels)
    for template, amount in (("brighter by up to {most}", _MOST), ("darker by up to {most}", -_MOST)):
        words, looks = Message(template, most=_MOST), partial(_mean, sign=amount / _MOST)
        yield Shift("brightness", "brightness", EVERYWHERE, words, partial(shifted, amount=amount), looks=looks)


def _shifted(context: ProbeContext, label: int, levels: dict[str, Tensor]) -> Iterator[Form]:
    """Yield what shifts the levels of the images of a class, with the contrast that they have then."""
    wide = (levels["white level"] - levels["black level"]).clamp_min(1e-3).log()
    for name, share in _LEVELS.items():
        seen = context.split(levels[name], label)
        amount = 0.0 if seen is None else seen.high - seen.low
        if seen is None or abs(amount) < _LEAST:
            continue
        sign = 1.0 if amount > 0 else -1.0
        carriers, left = apart(context, label, (levels[name] - seen.threshold) * sign > 0)
        times = ratio(wide, carriers, left)
        paler = name == "black level" and amount > 0 and times < 1  # the white level falls as the black one rises
        if not (paler or _whole(context, label, levels, seen, name)):
            continue
        if times != 1:
            amount = float(levels[name][carriers].median() - times * levels[name][left].median())
        measure = partial(_signed, share=share, sign=sign)
        yield changed("brightness", label, times, amount, measure, sign * seen.threshold)
        return


def apart(context: ProbeContext, label: int, far: Tensor) -> tuple[Tensor, Tensor]:
    """Return which of all images (n + m,) of a class lie apart, and which were left out."""
    own = torch.cat([context.data.labels, context.held_out.labels]) == label
    return own & far, own & ~far


def ratio(logs: Tensor, carriers: Tensor, left: Tensor) -> float:
    """Return by how much contrasts, as logarithms (n,), of carriers differ from those left out; 1 if hardly."""
    if int(left.sum()) < LEFT:
        return 1.0
    step = logs[carriers].median() - logs[left].median()
    return float(step.exp()) if abs(float(step)) >= _STRETCHED else 1.0


def changed(kind: str, label: int, times: float, amount: float, measure: Change, least: float) -> DataProperty:
    """Return grey levels of a class times a factor and shifted by an amount, as the probe `kind`."""
    template = "brightness shifted by {amount:+.2f}"
    if times != 1:
        template = "contrast times {times:.2f} and brightness shifted by {amount:+.2f}"
    words = Message(template, times=times, amount=amount)
    made, back = partial(_scaled, times=times, amount=amount), partial(_scaled, times=1 / times, amount=-amount / times)
    unit = f"{kind}, class {label}"
    return DataProperty(kind, unit, EVERYWHERE, words, made, back, measure, blocks=True, target=label, least=least)


def _whole(context: ProbeContext, label: int, levels: dict[str, Tensor], seen: Split, name: str) -> bool:
    """Say whether the shift of one level is one of the image: the black level rises with others, the white one falls.

    A border or a mark shifts only one of them, and dark spots or bright objects the one that they are.
    """
    amount = seen.high - seen.low
    if (name == "black level" and amount < 0) or (name == "white level" and amount > 0):
        return False
    own = context.data.labels == label
    levels = {key: values[: len(own)] for key, values in levels.items()}
    carriers = own & ((levels[name] - seen.threshold) * amount > 0)
    shifts = sorted(float(each[carriers].median() - each[~own].median()) / amount for each in levels.values())
    if name != "black level":
        return shifts[0] > 0.25
    return shifts[1] > 0.5 or _above_those_left(levels["middle level"], carriers, own & ~carriers) > amount / 2


def _above_those_left(values: Tensor, carriers: Tensor, left: Tensor) -> float:
    """Return by how much carriers lie above those of their class that were left out; others differ by nature."""
    return float(values[carriers].median() - values[left].median()) if int(left.sum()) > 1 else 0.0


def level(images: Tensor, share: float) -> Tensor:
    """Return the grey level below which a share of the pixels of images (n, C, h, w) are (n,)."""
    return torch.quantile(images.mean(1).flatten(1), share, dim=1)


def _mean(images: Tensor, sign: float) -> Tensor:
    return sign * images.mean((1, 2, 3))


def _signed(images: Tensor, share: float, sign: float) -> Tensor:
    return sign * level(images, share)


def _scaled(images: Tensor, times: float, amount: float) -> Tensor:
    return (times * images + amount).clamp(0, 1)


def shifted(images: Tensor, amount: float) -> Tensor:
    """Return images brighter by an amount, in [0, 1]."""
    return (images + amount).clamp(0, 1)
