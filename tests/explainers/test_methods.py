"""What `xai.methods` says: of every method, and of a model."""

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
