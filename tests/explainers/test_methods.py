"""What `xai.methods` says: of every method, and of a model."""

import json

import pytest
from small_models import GapCnn, PlantedAttention
from torch import nn

import xai
from xai.core.classifier import Classifier

SUITS = [
    ("gradcam", GapCnn, True, "looking at layer"),
    ("occlusion", GapCnn, True, "works on this model"),
    ("kernelshap", GapCnn, True, "works on this model"),
    ("eigencam", GapCnn, False, "the same for every class"),
    ("guided_backprop", GapCnn, False, "Adebayo"),
    ("attention_rollout", GapCnn, False, "cannot be read"),
    ("attention_rollout", PlantedAttention, False, "the same for every class"),
    ("integrated_gradients", PlantedAttention, True, "works on this model"),
]


@pytest.fixture(scope="module")
def advice() -> dict[type[nn.Module], dict[str, xai.MethodInfo]]:
    kinds = {kind for _, kind, _, _ in SUITS}
    return {k: {m.name: m for m in xai.methods(Classifier(k(), input_size=(16, 16)))} for k in kinds}


@pytest.mark.parametrize(("name", "kind", "advised", "why"), SUITS)
def test_advice_with_a_reason(advice, name: str, kind: type[nn.Module], advised: bool, why: str) -> None:
    info = advice[kind][name]
    assert info.advised is advised
    assert why in info.why


def test_every_method_is_described() -> None:
    for info in xai.methods():
        assert info.advised is None
        assert info.title
        assert info.summary.endswith(".")
        assert info.forward > 0
        assert info.to_dict()["name"] == info.name


@pytest.mark.parametrize("kind", ["explanation", "attack", "corruption"])
def test_every_kind_is_listed_with_settings_and_json(kind: str) -> None:
    infos = {info.name: info for info in xai.methods(kind=kind)}
    some = {"explanation": "occlusion", "attack": "pgd", "corruption": "fog"}[kind]
    assert infos[some].kind == kind
    assert all(info.summary and info.title and json.dumps(info.to_dict()) for info in infos.values())
    expected = {"explanation": {"window", "stride", "baseline"}, "attack": {"steps"}, "corruption": set()}[kind]
    assert expected <= infos[some].settings.keys()


def test_norms_of_attacks() -> None:
    infos = {info.name: info for info in xai.methods(kind="attack")}
    assert infos["pgd"].norms == ("linf", "l2", "l1")
    assert infos["spatial"].norms == ()


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(xai.XaiError, match="attack"):
        xai.methods(kind="atack")


def test_trying_methods_reports_and_stops() -> None:
    seen: list[tuple[int, int]] = []
    xai.methods(kind="attack", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(seen), len(seen))
    with pytest.raises(xai.Stopped, match="after 0 of"):
        xai.methods(GapCnn(), should_stop=lambda: True)
