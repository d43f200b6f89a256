"""Probes lie where they say, controls are as large, and the statistics are those of the books."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

from xai.core.runtime.randomness import image_key
from xai.fairness.shortcuts.probes.base import PROBES, Patch, ProbeContext, ProbeImages, Shift
from xai.stats.intervals import crossing, difference, discordant, mcnemar

SIZES = [(8, 8), (28, 28), (20, 31), (64, 48)]


def some(count: int, channels: int, size: tuple[int, int], *, masks: bool = False) -> ProbeImages:
    source = torch.Generator().manual_seed(0)
    images = torch.rand(count, channels, *size, generator=source)
    labels = torch.arange(count) % 4
    mask = torch.zeros(count, *size, dtype=torch.bool)
    mask[:, size[0] // 4 : -size[0] // 4, size[1] // 4 : -size[1] // 4] = True
    sure = torch.full((count,), 0.9)
    keys = [image_key(image) for image in images]
    return ProbeImages(images, labels, labels.clone(), sure, keys, mask if masks else None, 0)


def context_of(pictures: ProbeImages) -> ProbeContext:
    return ProbeContext(pictures, tuple("abcd"), pictures, pictures)


def forms_of(pictures: ProbeImages, name: str):
    return list(PROBES[name].forms(context_of(pictures)))


USUAL = {
    "corner_mark": {1, 3},
    "border": {1, 3},
    "brightness": {1, 3},
    "blur": {1, 3},
    "tint": {3},
    "background": {1, 3},
}


@pytest.mark.parametrize("name", PROBES.names())
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_form_stays_in_its_region_and_in_range(name, size, channels):
    """On noise nothing is found in the data; what is tried on every model is where it says."""
    pictures = some(48, channels, size, masks=True)
    few = pictures.take(torch.arange(3))
    forms = forms_of(pictures, name)
    assert bool(forms) == (channels in USUAL.get(name, ()))
    assert not any(form.from_data for form in forms)
    for form in forms:
        change = form.change(few)
        assert change.shape == few.images.shape
        full = few.images + change
        assert float(full.min()) >= -1e-6
        assert float(full.max()) <= 1 + 1e-6
        region = form.where(few)
        assert (region is not None) == form.local
        if region is not None:
            assert bool(region.any())
            assert float((change * ~region[:, None]).abs().max()) == 0
        for other in form.neutral(few).values():
            assert other.shape == change.shape


def test_a_patch_elsewhere_or_scattered_is_as_large():
    mask = torch.zeros(12, 10, dtype=torch.bool)
    mask[:3, :3] = True
    form = Patch("k", "u", "p", "w", mask, torch.rand(2, 12, 10))
    pictures = some(6, 2, (12, 10))
    black = ProbeImages(torch.zeros_like(pictures.images), *list(vars(pictures).values())[1:])
    wanted = form.change(black).flatten(1).sort(1).values
    for name, other in form.neutral(black).items():
        torch.testing.assert_close(other.flatten(1).sort(1).values, wanted)
        assert not torch.equal(other, form.change(black)), name


def test_a_shift_of_a_half_or_of_blocks_is_as_large():
    form = Shift("k", "u", "p", "w", lambda images: images + 0.25)
    pictures = some(200, 1, (28, 28))
    wanted = form.change(pictures).square().mean()
    for other in form.neutral(pictures).values():
        torch.testing.assert_close(other.square().mean(), wanted, rtol=0.02, atol=0)


def test_draws_belong_to_the_picture():
    pictures = some(8, 1, (28, 28))
    rows = torch.tensor([5, 2])
    for form in [*forms_of(pictures, "border")[:1], *forms_of(pictures, "blur")]:
        for name, other in form.neutral(pictures).items():
            torch.testing.assert_close(form.neutral(pictures.take(rows))[name], other[rows])


def test_mcnemar_is_the_exact_binomial():
    more, less = (np.random.default_rng(k).random(60) < 0.5 for k in (0, 1))
    for_it, against = int((more & ~less).sum()), int((less & ~more).sum())
    wanted = stats.binomtest(for_it, for_it + against, 0.5, alternative="greater").pvalue
    assert mcnemar(for_it, against) == pytest.approx(wanted)
    assert discordant(more, less) == (for_it, against)
    assert mcnemar(for_it, against, two_sided=True) == pytest.approx(stats.binomtest(for_it, for_it + against).pvalue)
    assert mcnemar(0, 0) == 1


def test_intervals_of_differences_cover_by_enumeration():
    """All tables of 60 pairs: the true difference is inside at least 94 % of the time (it is discrete)."""
    count = 60
    cells = [(b, c) for b, c in product(range(count + 1), repeat=2) if b + c <= count]
    spans = {}
    for b, c in cells:
        more, less = np.zeros((2, count), dtype=bool)
        more[:b], less[b : b + c] = True, True
        spans[b, c] = difference(more, less)[1]
    for up, down in [(0.5, 0.05), (0.3, 0.3), (0.2, 0.0), (0.7, 0.1)]:
        chance = stats.multinomial(count, [up, down, 1 - up - down])
        inside = sum(
            chance.pmf([b, c, count - b - c]) for b, c in cells if spans[b, c][0] <= up - down <= spans[b, c][1]
        )
        assert inside > 0.94


def test_the_strength_at_which_a_share_is_reached():
    strengths = (0.25, 0.5, 1.0)
    assert crossing(strengths, np.array([0.0, 0.2, 0.4]), 0.1) == pytest.approx(0.375)
    assert crossing(strengths, np.array([0.4, 0.0, 0.4]), 0.1) == pytest.approx(0.0625)
    assert crossing(strengths, np.array([0.0, 0.05, 0.09]), 0.1) is None
