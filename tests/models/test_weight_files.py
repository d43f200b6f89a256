"""State dicts from files into networks: what loads, and what does not fit."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from xai.errors import CheckpointError, InputError, NameLookupError, UnsupportedModelError
from xai.models.loading import load
from xai.models.networks import SmallNet

ARCH = "xai.models.networks:SmallNet"
IMAGES = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def make_net(seed=0, **settings):
    """A network whose every weight and statistic differs from a fresh one's."""
    torch.manual_seed(seed)
    net = SmallNet(**settings)
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.1, 0.9)
    return net.eval()


def wrapped(state, prefix):
    return {prefix + name: value for name, value in state.items()}


SAVED = {
    "safetensors": lambda net, path: save_file(net.state_dict(), path),
    "torch.save": lambda net, path: torch.save(net.state_dict(), path),
    "under state_dict": lambda net, path: torch.save({"state_dict": net.state_dict(), "epoch": 3}, path),
    "parameters": lambda net, path: torch.save({**net.state_dict(), **dict(net.named_parameters())}, path),
    "DataParallel": lambda net, path: torch.save(wrapped(net.state_dict(), "module."), path),
    "compiled": lambda net, path: torch.save(wrapped(net.state_dict(), "_orig_mod."), path),
    "both": lambda net, path: torch.save(wrapped(net.state_dict(), "module._orig_mod."), path),
}


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth", "bin"])
@pytest.mark.parametrize("form", SAVED)
def test_a_state_dict_gives_the_very_same_logits_whatever_its_suffix(tmp_path, form, suffix):
    net, path = make_net(), tmp_path / f"weights.{suffix}"
    SAVED[form](net, path)
    classifier = load(path, arch=ARCH, channels=1, input_size=IMAGES.shape[2:])  # else larger sizes are tried first
    with torch.no_grad():
        assert torch.equal(classifier.logits(IMAGES), net(IMAGES))
    assert not classifier.module.training


@pytest.mark.parametrize("arch", [ARCH, SmallNet, lambda: SmallNet(), SmallNet()])
def test_arch_is_a_name_a_callable_or_a_module(tmp_path, arch):
    net, path = make_net(), tmp_path / "weights.safetensors"
    save_file(net.state_dict(), path)
    with torch.no_grad():
        assert torch.equal(load(str(path), arch=arch, channels=1, input_size=(28, 28)).logits(IMAGES), net(IMAGES))


def test_settings_reach_the_classifier(tmp_path):
    save_file(make_net().state_dict(), tmp_path / "shoes.safetensors")
    labels = [f"shoe {k}" for k in range(10)]
    classifier = load(
        tmp_path / "shoes.safetensors",
        ARCH,
        class_names=labels,
        mean=[0.3],
        std=[0.2],
        input_size=(28, 28),
        channels=1,
        resize="pad",
    )
    assert classifier.class_names == tuple(labels)
    assert classifier.preprocessing == {
        "input_size": [28, 28], "channels": 1, "mean": [0.3], "std": [0.2], "resize": "pad", "crop_ratio": 0.875,
        "task": "multiclass", "output": "logits", "output_key": None, "one_by_one": False,
    }  # fmt: skip
    assert classifier.name == "shoes"


def test_without_labels_the_classes_are_numbered_and_pictures_are_in_colour(tmp_path):
    save_file(make_net(channels=3, num_classes=4).state_dict(), tmp_path / "w.safetensors")
    classifier = load(tmp_path / "w.safetensors", lambda: SmallNet(channels=3, num_classes=4), input_size=(28, 28))
    assert classifier.channels == 3
    assert classifier.class_names == ("0", "1", "2", "3")


def test_half_precision_weights_are_taken_into_a_full_network(tmp_path):
    net, path = make_net().half(), tmp_path / "w.pt"
    torch.save(net.state_dict(), path)
    with torch.no_grad():
        assert torch.equal(load(path, ARCH, channels=1, input_size=(28, 28)).logits(IMAGES), net.float()(IMAGES))


def test_lazy_layers_take_their_shape_from_the_file(tmp_path):
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 5))
    torch.save(net.state_dict(), tmp_path / "w.pt")
    classifier = load(tmp_path / "w.pt", lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(5)), channels=1)
    with torch.no_grad():
        assert torch.equal(classifier.logits(IMAGES), net(IMAGES))


def test_weights_without_a_network_ask_for_one(tmp_path):
    save_file(make_net().state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(
        InputError, match=r"w\.safetensors holds 26 tensors .* and no network. .*arch=\"package.module:factory\""
    ):
        load(tmp_path / "w.safetensors")


def without(state, *names):
    return {name: value for name, value in state.items() if name not in names}


WRONG = {
    "missing": (
        lambda s: without(s, "head.bias", "head.weight"),
        r"2 missing \('head.bias', 'head.weight'\)\. Name the `arch`",
    ),
    "extra": (lambda s: s | {"more": torch.zeros(1)}, r"1 unexpected \('more'\)"),
    "both": (lambda s: without(s, "head.bias") | {"head.offset": torch.zeros(10)}, r"1 missing .*, 1 unexpected"),
    "many": (
        lambda s: {"x": torch.zeros(1)},
        r"26 missing \('features.0.weight', '[^']+', '[^']+', \.\.\.\), 1 unexpected",
    ),
    "half wrapped": (
        lambda s: without(s, "head.bias") | {"module.head.bias": s["head.bias"]},
        "1 missing .*, 1 unexpected",
    ),
    "shape": (
        lambda s: s | {"head.bias": torch.zeros(7)},
        r"'head.bias' is \(7,\) and not \(10,\)\. Name an `arch` with the same",
    ),
    "shapes": (lambda s: {k: torch.zeros(9, 9) for k in s}, r"is \(9, 9\) and not .*; .* and 24 more"),
    "kind": (lambda s: s | {"head.bias": torch.zeros(10, dtype=torch.int8)}, r"is torch.int8 and not torch.float32"),
}


@pytest.mark.parametrize("case", WRONG)
def test_weights_that_do_not_fit_are_listed_and_change_nothing(tmp_path, case):
    change, text = WRONG[case]
    torch.save(change(make_net().state_dict()), tmp_path / "w.pt")
    target = make_net(seed=5)
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(CheckpointError, match=rf"w\.pt: these are not the weights of SmallNet: .*{text}") as caught:
        load(tmp_path / "w.pt", target, channels=1)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in target.state_dict().items())


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    """A module of the user's."""
    (tmp_path / "user_nets.py").write_text(
        "from xai.models.networks import SmallNet\n"
        "small_net = SmallNet\n"
        "size = 5\n"
        "def text(): return 'net'\n"
        "def needs(width): return SmallNet(width=width)\n"
        "def fails(): raise KeyError('first line\\nsecond')\n"
    )
    (tmp_path / "user_imports.py").write_text("import a_package_that_is_not_there\n")
    (tmp_path / "user_breaks.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    save_file(make_net().state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_the_users_own_code_is_called(own_code):
    assert isinstance(load(own_code, "user_nets:small_net", channels=1, input_size=(28, 28)).module, SmallNet)


@pytest.mark.parametrize(
    ("arch", "error", "text"),
    [
        ("resnet50", InputError, "Expected `arch` as \"package.module:factory\", but got 'resnet50'"),
        (":factory", InputError, "Expected `arch` as"),
        ("user_nets:", InputError, "Expected `arch` as"),
        ("no_such_module:net", InputError, "There is no Python module 'no_such_module' .*PYTHONPATH"),
        ("no_such_package.nets:net", InputError, "There is no Python module 'no_such_package.nets'"),
        ("user_imports:net", InputError, "needs 'a_package_that_is_not_there', which is not installed"),
        ("user_breaks:net", InputError, "cannot be imported: ZeroDivisionError"),
        ("user_nets:smal_net", NameLookupError, "'smal_net'. Near: small_net"),
        ("user_nets:size", UnsupportedModelError, "is of type int"),
        ("user_nets:text", UnsupportedModelError, "Expected `arch` to return a torch.nn.Module, but .* returned str"),
        ("user_nets:needs", InputError, "called without arguments for `arch`, raised TypeError: .*'width'"),
        ("user_nets:fails", InputError, "raised KeyError: .*first line"),
        (7, UnsupportedModelError, "is of type int"),
    ],
)
def test_a_wrong_arch_is_explained(own_code, arch, error, text):
    with pytest.raises(error, match=text) as caught:
        load(own_code, arch)
    assert "\n" not in str(caught.value)
