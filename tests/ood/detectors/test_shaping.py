"""Shaping: what it is when it shapes nothing, the formulas, any score of logits."""

import numpy as np
import pytest
import torch
from detector_cases import blobs, fitted, reference, rows, view

from xai.errors import RangeError
from xai.ood.detectors.base import DETECTORS
from xai.ood.detectors.reference import FeatureRows

LOGIT_SCORES = ["msp", "maxlogit", "energy", "gen"]
FRESH = blobs(30, seed=5)[0]


def score(name: str, **settings: object) -> torch.Tensor:
    return fitted(DETECTORS[name](**settings)).score(rows(FRESH))


@pytest.mark.parametrize("plain", LOGIT_SCORES)
def test_shaping_of_nothing_is_the_plain_score(plain: str) -> None:
    wanted = fitted(plain).score(rows(FRESH))
    big = rows(FRESH)
    uncut = DETECTORS["react"](score=plain).fit(reference(blobs()[0] * 0 + 1e6, blobs()[1]))
    torch.testing.assert_close(uncut.score(big), wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(score("ash", score=plain, variant="p", percentile=0), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["scale", "ash"])
def test_a_percentile_of_nought_multiplies_by_e(name: str) -> None:
    seen = view()
    wanted = fitted("energy").score(rows(np.e * FRESH, seen))
    torch.testing.assert_close(score(name, percentile=0.0), wanted, atol=1e-4, rtol=1e-5)


def test_react_cuts_at_the_percentile_of_all_activations() -> None:
    features = blobs()[0]
    limit = np.percentile(features.numpy(), 80)
    held = fitted(DETECTORS["react"](percentile=80.0))
    assert held.facts["limit"] == pytest.approx(limit)
    wanted = fitted("energy").score(rows(FRESH.clamp_max(limit)))
    torch.testing.assert_close(held.score(rows(FRESH)), wanted, atol=1e-5, rtol=1e-5)


def shaped_by_hand(row: np.ndarray, variant: str, percentile: float) -> np.ndarray:
    count = len(row) - round(len(row) * percentile / 100)
    kept = np.argsort(-row)[:count]
    out = np.zeros_like(row)
    out[kept] = row[kept]
    if variant == "b":
        out[kept] = row.sum() / count
    elif variant == "s":
        out *= np.exp(row.sum() / row[kept].sum())
    elif variant == "scale":
        out = row * np.exp(row.sum() / row[kept].sum())
    return out


@pytest.mark.parametrize("variant", ["s", "b", "p", "scale"])
@pytest.mark.parametrize("percentile", [50.0, 65.0, 90.0])
def test_ash_and_scale_are_their_formulas(variant: str, percentile: float) -> None:
    by_hand = np.stack([shaped_by_hand(row, variant, percentile) for row in FRESH.double().numpy()])
    wanted = fitted("energy").score(rows(torch.from_numpy(by_hand).float()))
    settings = {"percentile": percentile} | ({} if variant == "scale" else {"variant": variant})
    found = score("scale" if variant == "scale" else "ash", **settings)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-5)


def test_parts_say_what_shaping_adds() -> None:
    held = fitted("scale")
    parts = held.parts(rows(FRESH))
    torch.testing.assert_close(parts["energy"], fitted("energy").score(rows(FRESH)))
    torch.testing.assert_close(parts["energy"] + parts["shaping"], held.score(rows(FRESH)))


@pytest.mark.parametrize("name", ["ash", "scale", "react"])
def test_dead_and_negative_features_give_numbers(name: str) -> None:
    odd = torch.cat([torch.zeros(1, 12), -torch.rand(3, 12), 1e8 * torch.eye(12)])
    assert bool(torch.isfinite(fitted(name).score(rows(odd))).all())


def test_shaping_looks_at_what_the_head_reads_also_when_statistics_are_pooled() -> None:
    seen = view(pool=3)
    features = FRESH
    held = fitted("scale", seen)
    assert seen.head is not None
    made = FeatureRows(seen, seen.head.logits(features).double(), features)
    torch.testing.assert_close(held.score(made), score("scale"))


def test_percentiles_are_checked() -> None:
    for wrong in (-1.0, 101.0, True):
        with pytest.raises(RangeError, match="`percentile` from 0 to 100"):
            DETECTORS["ash"](percentile=wrong)
