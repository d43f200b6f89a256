"""What `xai.methods` says: of every method, and of a model."""

import json

import pytest
import torch
from small_models import GapCnn, PlantedAttention
from torch import nn

import xai
from xai.core.model.classifier import Classifier

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
def advice() -> dict[type[nn.Module], dict[str, xai.results.MethodInfo]]:
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


FEW = {"samples": 40, "steps": 2, "window": 0.5}
NAMED = [(info, name) for info in xai.methods() for name in info.choices]


@pytest.mark.parametrize(("info", "name"), NAMED, ids=[f"{info.name}-{name}" for info, name in NAMED])
def test_every_named_choice_is_a_setting_that_works(info: xai.results.MethodInfo, name: str) -> None:
    default = info.settings[name]
    assert default is None or set(default.split("+")) <= set(info.choices[name])
    few = {
        other: value for other, value in {"samples": 40, "steps": 2, "window": 0.5}.items() if other in info.settings
    }
    model = Classifier(GapCnn(), input_size=(16, 16))
    grey = torch.full((1, model.channels, 16, 16), 0.5)
    for one in info.choices[name]:
        if one == "drop":  # of tokens, which this network has none of
            continue
        assert xai.explain(model, grey, info.name, **few, **{name: one}).settings[name] == one


@pytest.mark.parametrize("info", xai.methods(), ids=lambda info: info.name)
def test_no_named_choice_is_left_out(info: xai.results.MethodInfo) -> None:
    """A wrong name is refused with near ones, and those are in the list."""
    model = Classifier(GapCnn(), input_size=(16, 16))
    for name, default in info.settings.items():
        if isinstance(default, str):
            assert name in info.choices
            with pytest.raises(xai.XaiError, match="|".join(info.choices[name])):
                xai.explain(model, torch.full((1, model.channels, 16, 16), 0.5), info.name, **{name: "no such name"})


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


def test_other_settings_cost_other_rows() -> None:
    pgd = next(info for info in xai.methods(kind="attack") if info.name == "pgd")
    changed = pgd.with_settings(steps=7, loss="margin")
    assert (changed.forward, changed.backward, changed.settings["steps"]) == (8, 7, 7)
    assert (changed.settings["loss"], pgd.settings["steps"]) == ("margin", 40)
    assert pgd.with_settings() is pgd
    lime = next(info for info in xai.methods() if info.name == "lime")
    assert lime.with_settings(samples=50).forward == 50
    knn = next(info for info in xai.methods(kind="detector") if info.name == "knn")
    assert knn.with_settings(k=3).forward == knn.forward


@pytest.mark.parametrize(
    ("kind", "name", "settings", "words"),
    [
        ("attack", "pgd", {"stepz": 1}, "no setting of pgd 'stepz'"),
        ("attack", "pgd", {"steps": 0}, "steps"),
        ("attack", "pgd", {"loss": "x"}, "no loss 'x'"),
        ("corruption", "fog", {"steps": 1}, "no setting of fog 'steps'"),
    ],
)
def test_settings_that_a_method_refuses(kind: str, name: str, settings: dict[str, object], words: str) -> None:
    info = next(info for info in xai.methods(kind=kind) if info.name == name)
    with pytest.raises(xai.XaiError, match=words):
        info.with_settings(**settings)
