"""`fast=True`: low precision where a method's own answers allow it, said either way, on any processor."""

import importlib

import numpy as np
import pytest
import torch

import xai
from xai.engine import prepare as precision

METHODS = {
    "lime": {"samples": 200, "stop": False},
    "kernelshap": {"samples": 200},
    "rise": {"samples": 300},
    "scorecam": {},
    "occlusion": {"window": 4, "stride": 2},
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = importlib.import_module("xai.engine.prepare")
    monkeypatch.setattr(rooms, "can_join", lambda *_: False)
    monkeypatch.setattr(rooms, "_cache", type(rooms._cache)())
    monkeypatch.setattr(precision, "quick_type", lambda _device: torch.bfloat16)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["example:fashion", "example:fashion-robust"])
def test_fast_answers_are_close_to_the_exact_ones(quick: None, name: str, method: str) -> None:
    model, image = xai.load(name), xai.load_data("example:fashion-test").images[3]
    exact = xai.explain(model, image, method, **METHODS[method])
    fast = xai.explain(model, image, method, fast=True, **METHODS[method])
    said = [note for note in fast.notes if note.startswith("fast: bf16")]
    assert len(said) == 1
    assert "correlate" in said[0]
    likeness = np.corrcoef(exact.attribution.flatten(), fast.attribution.flatten())[0, 1]
    assert likeness > 0.97
    used = "bf16 used" in said[0]
    assert used != torch.equal(exact.attribution, fast.attribution) or method == "occlusion"


@pytest.mark.parametrize("method", METHODS)
def test_fast_is_said_where_the_processor_gains_nothing(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setattr(precision, "quick_type", lambda _device: None)
    model, image = xai.load("example:fashion"), xai.load_data("example:fashion-test").images[3]
    found = xai.explain(model, image, method, fast=True, **METHODS[method])
    assert any("no quicker in low precision" in note for note in found.notes)
