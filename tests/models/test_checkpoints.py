"""Checkpoints as training programs write them: weights under a key, behind a prefix, beside other things."""

import argparse
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from xai.errors import CheckpointError, InputError, NameLookupError
from xai.models.loading import load
from xai.models.networks import SmallNet


def conv_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    net = SmallNet(num_classes=3, channels=3, width=2)
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.1, 0.9)
    return net.eval()


def plain_net(seed: int = 0) -> nn.Module:
    """Names of only numbers, and a submodule that is called as wrappers are."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)).eval()


class Inner(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.module = plain_net(seed)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.module(images)


NETS = {"conv": conv_net, "plain": plain_net, "inner": Inner}
IMAGES = torch.rand(2, 3, 20, 27, generator=torch.Generator().manual_seed(1))


def behind(state: dict, prefix: str) -> dict:
    return {prefix + name: value for name, value in state.items()}


def optimiser(net: nn.Module) -> dict:
    made = torch.optim.Adam(net.parameters(), 1e-3)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    made.step()
    net.load_state_dict(before)
    return made.state_dict()


def lightning(net: nn.Module) -> dict:
    monitor = {"best_model_score": torch.tensor(0.9), "best_model_path": "a.ckpt", "kth_value": torch.tensor(0.1)}
    return {
        "epoch": 3,
        "global_step": 40,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {**behind(net.state_dict(), "model."), "criterion.weight": torch.ones(3)},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'acc'}": monitor, "Best": {"best": torch.tensor(1.0)}},
        "optimizer_states": [optimiser(net)],
        "lr_schedulers": [{"last_epoch": 3}],
        "hparams_name": "kwargs",
        "hyper_parameters": {"width": 2, "lr": 1e-3},
    }


def averaged(net: nn.Module) -> dict:
    found = AveragedModel(net)
    found.update_parameters(net)
    return found.state_dict()


def inside_wrapped(net: nn.Module) -> dict:
    """Names as they are where only a part of the network was wrapped."""
    found = {}
    for name, value in net.state_dict().items():
        first, _, rest = name.partition(".")
        found[f"{first}.module.{rest}"] = value
    return found


FORMS = {
    "lightning": (lightning, "from 'state_dict'.*prefix 'model.'.* 1 other tensor.*'criterion.weight'"),
    "model": (lambda n: {"model": n.state_dict(), "optimizer": optimiser(n), "epoch": 2}, "from 'model'"),
    "model_ema": (lambda n: {"model_ema": n.state_dict(), "scaler": {"scale": 1.0}}, "from 'model_ema'"),
    "state_dict_ema": (lambda n: {"state_dict_ema": behind(n.state_dict(), "module.")}, "'state_dict_ema'.*'module.'"),
    "net": (lambda n: {"net": behind(n.state_dict(), "module."), "acc": 95.1, "epoch": 9}, "from 'net'.*'module.'"),
    "network": (lambda n: {"network": n.state_dict(), "rng": torch.zeros(5, dtype=torch.uint8)}, "from 'network'"),
    "settings": (
        lambda n: {"model": n.state_dict(), "args": argparse.Namespace(lr=0.1, out=Path("runs"))},
        "from 'model'",
    ),
    "two keys": (lambda n: {"ema": {"decay": 0.99, "module": n.state_dict()}}, "from 'ema/module'"),
    "averaged": (averaged, "'module.'.*'n_averaged'"),
    "averaged, wrapped": (lambda n: {"swa": averaged(nn.DataParallel(n))}, "'swa'.*'module.module.'"),
    "compiled": (lambda n: torch.compile(n, backend="eager").state_dict(), "'_orig_mod.'"),
    "compiled in lightning": (lambda n: {"state_dict": behind(n.state_dict(), "net._orig_mod.")}, "'net._orig_mod.'"),
    "backbone": (lambda n: {**behind(n.state_dict(), "student.backbone."), "head.w": torch.ones(2)}, "'head.w'"),
    "same twice": (lambda n: {"model": n.state_dict(), "best": dict(n.state_dict())}, "from 'best'"),
    "two networks": (lambda n: {"generator": nn.Linear(3, 4).state_dict(), "discriminator": n.state_dict()}, "'disc"),
}


def loaded(path: Path, name: str, content: dict, **settings: object) -> tuple:
    torch.save(content, path)
    return load(path, arch=NETS[name](seed=7), input_size=(20, 27), channels=3, **settings)


CASES = [(form, "plain" if k % 2 else "inner") for k, form in enumerate(FORMS)]


@pytest.mark.parametrize(("form", "name"), [*CASES, ("lightning", "conv"), ("averaged", "conv")])
def test_the_weights_of_a_checkpoint_are_found_and_it_is_said_where(tmp_path: Path, form: str, name: str) -> None:
    net = NETS[name]()
    make, said = FORMS[form]
    found = loaded(tmp_path / "w.ckpt", name, make(net))
    with torch.no_grad():
        assert torch.equal(found.logits(IMAGES), net(IMAGES))
    notes = "; ".join(found.notes)
    assert re.search(said, notes), notes


@pytest.mark.parametrize("name", ["conv", "plain"])
def test_wrappers_inside_the_network_are_seen_through(tmp_path: Path, name: str) -> None:
    net = NETS[name]()
    found = loaded(tmp_path / "w.pt", name, {"state_dict": inside_wrapped(net)})
    with torch.no_grad():
        assert torch.equal(found.logits(IMAGES), net(IMAGES))
    assert "what wrappers of modules add to the names of weights was removed" in found.notes


@pytest.mark.parametrize("name", ["conv", "inner"])
def test_a_wrapped_network_takes_the_weights_of_the_plain_one(tmp_path: Path, name: str) -> None:
    net, path = NETS[name](), tmp_path / "w.safetensors"
    save_file(net.state_dict(), path)
    found = load(path, arch=nn.DataParallel(NETS[name](seed=7)), input_size=(20, 27), channels=3)
    with torch.no_grad():
        assert torch.equal(found.logits(IMAGES), net(IMAGES))


FIRST, SECOND = conv_net(1).state_dict(), conv_net(2).state_dict()


def pair(key: str, other: str) -> dict:
    return {key: FIRST, other: SECOND, "epoch": 3}


AMBIGUOUS = {
    "keys": (pair("model", "model_ema"), "'model', 'model_ema'", {"model": 1, "model_ema": 2}),
    "prefixes": (
        {"state_dict": {**behind(FIRST, "student."), **behind(SECOND, "teacher.")}},
        "'state_dict/student', 'state_dict/teacher'",
        {"state_dict/student": 1, "state_dict/teacher": 2},
    ),
    "beside": (
        {**FIRST, **behind(SECOND, "ema.")}, "'', 'ema'", {"": 1, "ema.": 2}
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_several_that_fit_and_differ_are_refused_by_name_and_can_be_chosen(tmp_path: Path, case: str) -> None:
    content, names, choices = AMBIGUOUS[case]
    with pytest.raises(CheckpointError, match=rf"several weights in it fit and differ: {names}\. Choose one") as caught:
        loaded(tmp_path / "w.pt", "conv", content)
    assert "\n" not in str(caught.value)
    for choice, seed in choices.items():
        found = loaded(tmp_path / "w.pt", "conv", content, weights=choice)
        with torch.no_grad():
            assert torch.equal(found.logits(IMAGES), conv_net(seed)(IMAGES))
    with pytest.raises(NameLookupError, match=r"no weights that fit in .* called 'other'"):
        loaded(tmp_path / "w.pt", "conv", content, weights="other")


def test_a_choice_without_a_network_is_refused(tmp_path: Path) -> None:
    torch.save(pair("model", "ema"), tmp_path / "w.pt")
    with pytest.raises(InputError, match="`weights` chooses among weights in a file"):
        load(tmp_path / "w.pt", weights="ema")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"model": plain_net().state_dict()}, r"'model' has \d+ missing .* unexpected"),
        ({"state_dict": behind(SmallNet(num_classes=5, channels=3, width=2).state_dict(), "model.")}, r"is \(5, 8\)"),
        ({"state_dict": {k: v for k, v in behind(conv_net().state_dict(), "model.").items() if "bias" not in k}},
         r"missing \('features.1.bias'"),
        ({"optimizer": {"lr": 1.0}, "epoch": 3}, "these are no tensors: 'optimizer', 'epoch'"),
        ({"state_dict": {**conv_net().state_dict(), "epoch": 3}}, "these are no tensors: 'epoch'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_from_what_comes_nearest(tmp_path: Path, content: dict, text: str) -> None:
    with pytest.raises(CheckpointError, match=text) as caught:
        loaded(tmp_path / "w.pt", "conv", content)
    assert "\n" not in str(caught.value)
