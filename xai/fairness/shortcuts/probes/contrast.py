"""Paler or harder images, as another exposure, scanner or display curve makes them."""

from collections.abc import Iterator
from functools import partial

from torch import Tensor

from xai.fairness.shortcuts.probes.base import Form, ProbeContext, probe
from xai.fairness.shortcuts.probes.blur import energies
from xai.fairness.shortcuts.probes.brightness import LEFT, apart, changed, ratio

_ERRORS, _SLACK = 2.5, 0.15  # standard errors of medians, and more, by which bands of frequencies may differ
_MEDIAN = 1.57  # variance of a median in those of a mean


@probe("contrast", "grey levels that most images of one class have stretched or compressed")
def contrast(context: ProbeContext) -> Iterator[Form]:
    """Yield one form for each class of which most images have another contrast than those that were left out.

    A factor on grey levels changes all bands of frequencies alike; blur and compression take the fine ones.

    Cost: none of the model; one Fourier transform of each image.
    Source: ours.
    """
    logs = energies(context.all_images) / 2
    for label in context.classes:
        yield from _from_data(context, label, logs)


def _from_data(context: ProbeContext, label: int, logs: Tensor) -> Iterator[Form]:
    for band, values in enumerate(logs.T):
        seen = context.split(values, label)
        if seen is None:
            continue
        sign = 1.0 if seen.high > seen.low else -1.0
        carriers, left = apart(context, label, (values - seen.threshold) * sign > 0)
        times = ratio(values, carriers, left)
        if int(left.sum()) >= LEFT and times != 1 and _even(logs[carriers], logs[left], band):
            means = context.all_images.mean((1, 2, 3))
            amount = float(means[carriers].median() - times * means[left].median())
            measure = partial(_signed, band=band, sign=sign)
            yield changed("contrast", label, times, amount, measure, sign * seen.threshold)
            return


def _even(carriers: Tensor, left: Tensor, band: int) -> bool:
    """Say whether all bands (n, bands) and (m, bands) differ as one of them does, as far as so few images tell."""
    steps = carriers.median(0).values - left.median(0).values
    errors = (_MEDIAN * (carriers.var(0) / len(carriers) + left.var(0) / len(left))).sqrt()
    return bool(((steps - steps[band]).abs() <= _ERRORS * errors + _SLACK).all())


def _signed(images: Tensor, band: int, sign: float) -> Tensor:
    return sign * energies(images)[:, band] / 2
