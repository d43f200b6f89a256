"""A faint pattern over the image, as rights holders and scanners add one."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from xai.fairness.shortcuts.probes._blends import blends, covers, lies_in, marks, place
from xai.fairness.shortcuts.probes.base import Form, ProbeContext, ProbeImages, local_mean, probe, shuffled
from xai.fairness.shortcuts.probes.data_forms import DataForm

_CLEAR = 3.0  # standard errors
_TOP = 0.05  # share of the pixels by which classes are compared
_STANDS_OUT, _LEAST, _ALIGNED = 2.5, 12.0, 8.0  # mean squares; chance gives about 5
_PIXELS = 6
_ORDER = 41  # number of the draw


@probe("watermark", "a faint pattern at one place in most images of one class")
def watermark(context: ProbeContext) -> Iterator[Form]:
    """Yield faint marks that repeat exactly, also where objects hide them, and patterns of a class's mean.

    Where objects are aligned every class has a mean of its own, and the latter is not looked for.
    """
    whole = list(blends(context, "watermark"))
    forms = [*(form for form in marks(context, "watermark") if not lies_in(context, form, whole)), *whole]
    large = list(covers(context, [*forms, *marks(context, "background"), *marks(context, "mark")]))
    forms = [*(form for form in forms if not lies_in(context, form, large)), *large]
    yield from forms
    known = {*context.templates, *(form.target for form in forms)}
    if len(context.classes) < 3:
        return
    fine = _fine(context.data.images)
    scores = {label: _scores(fine, context.data.labels == label) for label in context.classes}
    heights = {
        label: float(score.abs().flatten().topk(_count(score)).values.square().mean())
        for label, score in scores.items()
    }
    for label in context.classes:
        usual = torch.tensor([value for other, value in heights.items() if other != label]).median()
        if float(usual) > _ALIGNED or label in known:
            continue
        if heights[label] > max(_LEAST, _STANDS_OUT * float(usual)):
            yield from _from_data(context, fine, label, scores[label])


def _from_data(context: ProbeContext, fine: Tensor, label: int, score: Tensor) -> Iterator[Form]:
    own = context.data.labels == label
    clear = score.abs() > _CLEAR
    pattern = torch.where(clear, fine[own].mean(0) - fine[~own].mean(0), torch.zeros(()))
    if int(clear.sum()) < _PIXELS:
        return
    mask = clear.any(0)
    form = Overlay("watermark", f"watermark, class {label}", place(mask, "mark"), "watermark", pattern, target=label)
    values = form.carried(context.data.images)
    middle = float(values[own].median() + values[~own].median()) / 2
    yield Overlay(form.kind, form.unit, form.place, form.words, pattern, target=label, least=middle)


@dataclass(frozen=True, eq=False)
class Overlay(DataForm):
    """A pattern that is added. Controls: taken away instead, or its pixels scattered.

    Attributes:
        pattern: (C, h, w), 0 where it is not.
    """

    pattern: Tensor

    def change(self, images: ProbeImages) -> Tensor:
        """Return the change (n, C, h, w)."""
        return self.pattern.expand(len(images), -1, -1, -1)

    def neutral(self, images: ProbeImages) -> dict[str, Tensor]:
        """Return both controls."""
        order = images.uniform(_ORDER, self.pattern[0].numel()).argsort(1)
        return {"opposite": -self.change(images), "scattered": shuffled(self.change(images), order)}

    def where(self, images: ProbeImages) -> Tensor:
        """Return the region (n, h, w)."""
        return (self.pattern != 0).any(0).expand(len(images), -1, -1)

    def carried(self, images: Tensor) -> Tensor:
        """Return how well images follow the pattern (n,)."""
        return _overlap(_fine(images), self.pattern)

    def without(self, images: ProbeImages) -> Tensor:
        """Return images minus the pattern."""
        return (images.images - self.pattern).clamp(0, 1)

    def control(self, images: ProbeImages) -> Tensor:
        """Return images with the pattern twice."""
        return (images.images + self.pattern).clamp(0, 1)


def _fine(images: Tensor) -> Tensor:
    """Return images minus the mean around each pixel."""
    return images - local_mean(images)


def _scores(fine: Tensor, own: Tensor) -> Tensor:
    """Return the difference of a class's mean from the others' in standard errors (C, h, w)."""
    errors = (fine[own].var(0) / own.sum() + fine[~own].var(0) / (~own).sum()).sqrt().clamp_min(1e-4)
    differences: Tensor = (fine[own].mean(0) - fine[~own].mean(0)) / errors
    return differences


def _count(score: Tensor) -> int:
    return max(1, round(_TOP * score.numel()))


def _overlap(fine: Tensor, pattern: Tensor) -> Tensor:
    return (fine * pattern).sum((1, 2, 3)) / pattern.square().sum().clamp_min(1e-9)
