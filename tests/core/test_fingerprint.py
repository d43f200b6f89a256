"""The fingerprint sees every change of weights, wiring and preprocessing, and nothing else."""

import copy
from collections.abc import Callable

import pytest
import torch
from small_models import BatchNormNet, GapCnn, OneLogit, inplace_relu, pictures
from torch import nn

from xai.core.model.classifier import Classifier
from xai.core.model.fingerprint import fingerprint_mapping, fingerprint_module
from xai.engine.prepare import prepare


def set_ends(net: nn.Module) -> None:
    net.head.weight.data[-1, -1] += 1


def set_first(net: nn.Module) -> None:
    net.body[0].weight.data[0, 0, 0, 0] += 1


def set_all(net: nn.Module) -> None:
    net.body[3].weight.data.mul_(1.01)


def replace_data(net: nn.Module) -> None:
    net.head.bias.data = net.head.bias.data + 1


def load(net: nn.Module) -> None:
    net.load_state_dict(BatchNormNet(seed=5).state_dict())


def inner_with_version(net: nn.Module) -> None:
    with torch.no_grad():
        net.body[3].weight[2, 2, 1, 1] += 1


def buffer(net: nn.Module) -> None:
    net.body[1].running_mean[0] += 0.5


def new_buffer(net: nn.Module) -> None:
    net.register_buffer("extra", torch.zeros(2))


def swap_activation(net: nn.Module) -> None:
    net.body[2] = nn.Tanh()


def replace_parameter(net: nn.Module) -> None:
    net.head.bias = nn.Parameter(net.head.bias + 1)


def setting(net: nn.Module) -> None:
    net.body[1].eps = 0.1


def dropout(net: nn.Module) -> None:
    net.dropout.p = 0.25


def dtype(net: nn.Module) -> None:
    net.double()


CHANGES: list[Callable[[nn.Module], None]] = [
    set_ends,
    set_first,
    set_all,
    replace_data,
    load,
    inner_with_version,
    buffer,
    new_buffer,
    swap_activation,
    replace_parameter,
    setting,
    dropout,
    dtype,
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(change: Callable[[nn.Module], None]) -> None:
    net = BatchNormNet()
    before = fingerprint_module(net)
    assert fingerprint_module(net) == before
    change(net)
    assert fingerprint_module(net) != before


def test_an_inner_value_written_past_the_version_counter_is_seen_when_asked_to_look_afresh() -> None:
    net = BatchNormNet()
    before = fingerprint_module(net)
    net.body[3].weight.data.view(-1)[7] += 1
    assert fingerprint_module(net, fresh=True) != before


def test_equal_models_have_equal_fingerprints() -> None:
    net = BatchNormNet()
    before = fingerprint_module(net)
    assert fingerprint_module(BatchNormNet()) == before
    assert fingerprint_module(copy.deepcopy(net)) == before
    net.load_state_dict(BatchNormNet().state_dict())
    assert fingerprint_module(net) == before


def unchanged(net: nn.Module) -> list[Callable[[], object]]:
    return [
        net.train,
        lambda: net.requires_grad_(False),
        lambda: net(pictures(1)).sum().backward() if any(p.requires_grad for p in net.parameters()) else None,
        lambda: net.register_forward_hook(lambda *_: None),
        lambda: net.to(memory_format=torch.channels_last),
    ]


def test_using_a_model_changes_nothing() -> None:
    net = BatchNormNet()
    before = fingerprint_module(net)
    for use in unchanged(net.eval()):
        use()
        assert fingerprint_module(net) == before


def test_other_wiring_with_the_same_weights_is_another_model() -> None:
    class Reversed(GapCnn):
        pass

    prints = {fingerprint_module(net) for net in (GapCnn(), GapCnn(relu=inplace_relu), GapCnn(relu=None), Reversed())}
    assert len(prints) == 4
    assert fingerprint_module(OneLogit()) != fingerprint_module(OneLogit(sign=-1.0))


def test_preprocessing_counts_and_names_do_not() -> None:
    net = GapCnn()
    base = {"class_names": list("abcd"), "input_size": (16, 16)}
    same = Classifier(net, **base).fingerprint
    assert Classifier(net, **base, name="other").fingerprint == same
    others = [
        {"mean": [0.1, 0.2, 0.3]},
        {"std": [0.5, 0.5, 0.5]},
        {"input_size": (32, 32)},
        {"resize": "pad"},
        {"crop_ratio": 1.0},
        {"task": "multilabel"},
        {"output": "probabilities"},
    ]
    prints = {Classifier(net, **{**base, **other}).fingerprint for other in others}
    assert len(prints | {same}) == len(others) + 1


def test_mappings() -> None:
    assert fingerprint_mapping({"a": 1, "b": 2}) == fingerprint_mapping({"b": 2, "a": 1})
    assert fingerprint_mapping({"a": 1}) != fingerprint_mapping({"a": "1"})


@pytest.mark.parametrize(
    "net",
    [
        nn.Identity(),
        nn.Sequential(nn.Flatten(), nn.ReLU()),
        nn.BatchNorm2d(3, affine=False),
        nn.ParameterDict({"none": nn.Parameter(torch.zeros(0, 3))}),
        nn.Embedding(3, 2).to(torch.bfloat16),
    ],
    ids=str,
)
def test_odd_modules(net: nn.Module) -> None:
    assert len(fingerprint_module(net)) == 64


def test_a_model_made_in_inference_mode() -> None:
    with torch.inference_mode():
        net = GapCnn()
    assert fingerprint_module(net) == fingerprint_module(GapCnn())


def test_scalars_and_expanded_tensors() -> None:
    net = nn.Module()
    net.register_buffer("scalar", torch.tensor(1.0))
    net.register_buffer("wide", torch.ones(1, 3).expand(4, 3))
    net.register_buffer("flags", torch.tensor([True, False]))
    before = fingerprint_module(net)
    net.scalar.data.fill_(2.0)
    assert fingerprint_module(net) != before


def test_a_class_written_anew_under_its_old_name_is_prepared_anew() -> None:
    def make(sign: int) -> nn.Module:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = GapCnn()

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                return self.net(images) if sign > 0 else -self.net(images)

        return Net().eval()

    images = pictures(2)
    for sign in (1, -1):
        classifier = Classifier(make(sign))
        found = prepare(classifier, images).logits(images)
        torch.testing.assert_close(found, classifier.logits(images).detach(), atol=1e-4, rtol=1e-4)


def test_functions_that_a_module_holds_make_it_another_one_to_prepare() -> None:
    class Net(nn.Module):
        def __init__(self, last: Callable[[torch.Tensor], torch.Tensor]) -> None:
            super().__init__()
            self.net, self.last = GapCnn(), last

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.last(self.net(images))

    images = pictures(2)
    for last in (torch.abs, torch.neg, lambda logits: 2 * logits):
        classifier = Classifier(Net(last).eval())
        found = prepare(classifier, images).logits(images)
        torch.testing.assert_close(found, classifier.logits(images).detach(), atol=1e-4, rtol=1e-4)
