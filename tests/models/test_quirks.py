"""What networks do that explanations stumble over: right, compared with a plain twin, or refused in one line."""

import re
from contextlib import suppress
from functools import cache

import pytest
import torch
from model_state import assert_same, snapshot
from quirks import FEW, QUIRKS, REFUSED, REST, SETTINGS, UNCOMPARED, WORK, opened
from small_models import pictures

import xai
from xai.errors import UnsupportedModelError


def test_there_are_enough() -> None:
    assert len(QUIRKS) >= 30


@pytest.mark.parametrize("name", REFUSED)
def test_refused_at_load_in_one_line(name: str) -> None:
    quirk = QUIRKS[name]
    with pytest.raises(quirk.refused, match=quirk.says) as caught:
        opened(quirk)
    assert type(caught.value) is quirk.refused
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 420


@pytest.mark.parametrize("name", [name for name, quirk in QUIRKS.items() if name not in REFUSED and quirk.says])
def test_said_at_load(name: str) -> None:
    quirk = QUIRKS[name]
    notes = " | ".join(opened(quirk).notes)
    assert re.search(quirk.says, notes), notes


@pytest.mark.parametrize("name", [name for name in WORK if not QUIRKS[name].says])
def test_nothing_is_said_of_what_is_ordinary(name: str) -> None:
    assert opened(QUIRKS[name]).notes == ()


@pytest.mark.parametrize("name", [name for name in QUIRKS if name not in UNCOMPARED])
def test_looking_changes_nothing(name: str) -> None:
    quirk = QUIRKS[name]
    module = quirk.build()
    before = snapshot(module)
    with suppress(xai.XaiError):
        xai.load(module, **quirk.settings)
    assert_same(before, snapshot(module))


@cache
def beside_its_twin(name: str) -> tuple[xai.Classifier, xai.Classifier]:
    quirk = QUIRKS[name]
    found = opened(quirk)
    return found, xai.Classifier(quirk.twin(), channels=found.channels, **quirk.of_twin)


def same_maps(name: str, method: str) -> None:
    quirk = QUIRKS[name]
    found, plain = beside_its_twin(name)
    images = pictures(2, channels=found.channels)
    torch.testing.assert_close(
        found.logits_of(images).softmax(1).double(),
        plain.logits_of(images).softmax(1).double(),
        atol=max(1e-5, quirk.tolerance / 10),
        rtol=0,
    )
    settings = SETTINGS.get(method, {})
    mine, twins = (xai.explain(model, images, method, 1, **settings).attribution.double() for model in (found, plain))
    scale = float(twins.abs().max())
    assert scale > 0
    assert float((mine - twins).abs().max()) <= quirk.tolerance * scale


def pairs(methods: list[str]) -> list[tuple[str, str]]:
    found = [(n, m) for n in WORK for m in methods if m in (QUIRKS[n].methods or methods)]
    # DeepLIFT takes softmax and logarithm as two steps of its chain, and a log-softmax as one: both are DeepLIFT
    return [(n, m) for n, m in found if not (m == "deeplift" and n.startswith("softmax"))]


@pytest.mark.parametrize(("name", "method"), pairs(FEW))
def test_maps_are_those_of_the_plain_twin(name: str, method: str) -> None:
    same_maps(name, method)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method"), pairs(REST))
def test_maps_of_the_other_methods_are_those_of_the_plain_twin(name: str, method: str) -> None:
    same_maps(name, method)


@pytest.mark.parametrize("method", ["gradcam", "saliency", "integrated_gradients"])
@pytest.mark.parametrize("name", ["blocks gradients", "under no_grad"])
def test_methods_with_gradients_are_refused_where_there_are_none(name: str, method: str) -> None:
    with pytest.raises(UnsupportedModelError, match=r"(?i)no gradient reaches"):
        xai.explain(opened(QUIRKS[name]), pictures(1), method)


def test_every_explanation_repeats_what_was_found() -> None:
    assert any("behind DataParallel" in note for note in xai.explain(opened(QUIRKS["DataParallel"]), pictures(1)).notes)


def test_probabilities_taken_for_logits_are_said_by_every_explanation() -> None:
    net = xai.Classifier(QUIRKS["softmax"].build(), output="logits")
    assert any("look like probabilities" in note for note in xai.explain(net, pictures(1), "saliency").notes)


def test_what_the_caller_says_of_the_output_is_not_searched_for() -> None:
    found = xai.load(QUIRKS["softmax"].build(), output="logits")
    assert found.output == "logits"
    assert len(found.notes) == 1
    assert "look like probabilities" in found.notes[0]
