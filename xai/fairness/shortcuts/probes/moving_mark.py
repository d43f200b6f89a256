"""A text or a mark at any place, which only its repetition gives away."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from xai.core.results.message import Message
from xai.fairness.shortcuts.probes.base import Form, ProbeContext, probe
from xai.fairness.shortcuts.probes.data_forms import Wanderer
from xai.fairness.shortcuts.probes.recurrence import moving

_WHOLE = 0.5  # share of the image from which on it is no mark
_LEFT, _TIED = 0.25, 0.6  # of what other classes show; correlation of the piece's place with that of the rest


@probe("moving_mark", "a mark or a text anywhere that the images of one class repeat pixel by pixel")
def moving_mark(context: ProbeContext) -> Iterator[Form]:
    """Yield one form for each class that repeats one.

    Images of a class are compared in pairs by cross-correlation of what is left when the spectrum that all share is
    divided out; what agrees when all are laid upon one image is the mark. An object may repeat as well: what goes
    where the rest of the image goes, or leaves nothing of it, is not said to be added.

    Cost: none of the model; up to 276 correlations for each class.
    Source: phase correlation, Kuglin and Hines 1975.
    """
    fixed = context.templates
    for label, piece in moving(
        context.data.images, context.data.labels, [k for k in context.classes if k not in fixed]
    ).items():
        height, width = piece.drawn.shape
        whole = height * width > _WHOLE * context.size[0] * context.size[1]  # there is no other place for it to be at
        kind, where = ("repeated background", "everywhere") if whole else ("text-like mark", "any place")
        words = Message(f"{kind} of {{height}} x {{width}} pixels", height=height, width=width)
        unit = f"moving mark, class {label}"
        form = Wanderer("moving_mark", unit, where, words, piece, target=label, least=-piece.most)
        own = context.data.labels == label
        apart = _stands_apart(form, context.data.images[own], context.data.images[~own])
        yield form if apart else replace(form, added=False)


def _stands_apart(form: Wanderer, own: Tensor, others: Tensor) -> bool:
    """Say whether images show something else where the piece is taken off, and the piece does not go along with it."""
    distance, places = form.piece.distance(own)
    having = distance <= max(form.piece.most, float(distance.median()))
    rest, much = _middle(form.taken_off(own[having], places[having]))
    left = float(much.median()) >= _LEFT * float(_middle(others)[1].median())
    return left and _likeness(rest, places[having].float()) < _TIED


def _middle(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centre (n, 2) of what differs from an image's middle level, in pixels, and how much that is (n,)."""
    level = images.flatten(2).median(2).values[..., None, None]
    energy = (images - level).square().sum(1)
    down, across = (torch.arange(float(length)) for length in energy.shape[1:])
    centre = torch.stack([energy.sum(2) @ down, energy.sum(1) @ across], 1)
    return centre / energy.sum((1, 2)).clamp_min(1e-12)[:, None], energy.mean((1, 2))


def _likeness(first: Tensor, other: Tensor) -> float:
    """Return the mean correlation of two kinds of places (n, 2), down and across."""
    first, other = (places - places.mean(0) for places in (first, other))
    sizes = (first.square().sum(0) * other.square().sum(0)).sqrt()
    return float(((first * other).sum(0) / sizes.clamp_min(1e-12)).mean())
