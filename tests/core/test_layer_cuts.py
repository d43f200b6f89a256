"""Layers that are maps by what they are, and the cut: on the tensor that the answer depends on, whatever carries it."""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from small_models import pictures, randomise
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import xai
from xai.core.layers.layouts import Layout
from xai.core.layers.outputs import LayerChoice
from xai.core.layers.selection import find_layer
from xai.core.model.classifier import Classifier
from xai.core.model.hooks import gradients
from xai.core.runtime.batching import tensors_in, with_tensor
from xai.errors import UnsupportedModelError


def choose(module: nn.Module, size: tuple[int, int], name: str | None = None) -> LayerChoice:
    return find_layer(Classifier(module.eval()), torch.zeros(1, 3, *size), name)


def enlarged(coarse: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(coarse[None, None].clamp_min(0), size, mode="bilinear", align_corners=False)[0, 0]


def strided(width: int, *, relu: type[nn.Module] = nn.ReLU) -> nn.Module:
    """Return a network whose last map is as wide in channels as in rows for some widths."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=3),
        relu(),
        nn.Conv2d(8, width, 3, stride=3, dilation=2),
        relu(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 3),
    )
    return randomise(net, scale=1.5)


@pytest.mark.parametrize("width", [4, 5, 9, 16])
@pytest.mark.parametrize("name", [None, "2", "3"])
def test_the_output_of_a_convolution_is_maps_whatever_its_shape(width: int, name: str | None) -> None:
    net, image = strided(width).eval(), pictures(1, size=(61, 93))
    found = xai.explain(net, image, target=1, layer=name)
    assert found.layer == (name or "3")
    maps = net[: int(found.layer) + 1](image).detach()
    assert maps.shape == (1, width, 5, 9)
    gate = 1.0 if found.layer == "3" else (maps[0] > 0).float()
    weights = (net[-1].weight[1].detach()[:, None, None] / 45 * gate * torch.ones(5, 9)).mean((1, 2))
    wanted = enlarged(torch.einsum("k,kij->ij", weights, maps[0]), (61, 93))
    torch.testing.assert_close(found.attribution[0, 0], wanted, atol=1e-6, rtol=1e-4)


class Upsampled(nn.Module):
    """A transposed convolution after convolutions, with a norm and an activation that are functions."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 6, 3, stride=4, padding=1)
        self.up = nn.ConvTranspose2d(6, 4, (2, 3), stride=(2, 3))
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)
        randomise(self, scale=1.5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(F.silu(self.norm(self.up(F.relu(self.down(images))))).mean((2, 3)))


@pytest.mark.parametrize(("name", "grid"), [("down", (6, 9)), ("up", (12, 27)), ("norm", (12, 27)), (None, (12, 27))])
def test_transposed_convolutions_and_norms_are_maps(name: str | None, grid: tuple[int, int]) -> None:
    found = choose(Upsampled(), (24, 36), name)
    assert found.layout == Layout("maps", grid)
    assert name is not None or found.name == "norm"


def test_a_convolution_of_something_else_than_places_is_not_taken() -> None:
    """Patches of 4 x 4 in rows, their pixels in columns, as MobileViTV2 convolves them."""

    class Unfolded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 6, 3, padding=1)
            self.mix = nn.Conv2d(6, 6, 1)
            self.head = nn.Linear(6, 3)
            randomise(self, scale=1.5)

        def forward(self, images: Tensor) -> Tensor:
            maps = self.stem(images)
            patches = maps.unflatten(2, (4, 4)).unflatten(4, (4, 4)).permute(0, 1, 3, 5, 2, 4)
            return self.head(self.mix(patches.flatten(4).flatten(2, 3)).relu().mean((2, 3)))

    assert choose(Unfolded(), (16, 16)).name == "stem"
    with pytest.raises(UnsupportedModelError, match=r"layer 'mix' is no map .*: its places do not follow"):
        choose(Unfolded(), (16, 16), "mix")


class Pair(NamedTuple):
    maps: Tensor
    pooled: Tensor


@dataclass(frozen=True)
class Found:
    maps: Tensor
    pooled: Tensor


class Fields(dict[str, Tensor]):
    """A mapping with attributes, as transformers return one."""

    def __getattr__(self, name: str) -> Tensor:
        return self[name]


class Slots:
    __slots__ = ("maps", "pooled")

    def __init__(self, maps: Tensor, pooled: Tensor) -> None:
        self.maps, self.pooled = maps, pooled


CARRIERS: dict[str, tuple[Callable[[Tensor, Tensor], Any], Callable[[Any], tuple[Tensor, Tensor]]]] = {
    "tuple": (lambda m, p: (m, p), lambda out: (out[0], out[1])),
    "tuple, maps second": (lambda m, p: (p, m), lambda out: (out[1], out[0])),
    "list": (lambda m, p: [p, m], lambda out: (out[1], out[0])),
    "dict": (lambda m, p: {"pooled": p, "maps": m}, lambda out: (out["maps"], out["pooled"])),
    "fields": (lambda m, p: Fields(maps=m, pooled=p), lambda out: (out.maps, out.pooled)),
    "named tuple": (Pair, lambda out: (out.maps, out.pooled)),
    "frozen dataclass": (Found, lambda out: (out.maps, out.pooled)),
    "namespace": (lambda m, p: SimpleNamespace(pooled=p, maps=m), lambda out: (out.maps, out.pooled)),
    "slots": (Slots, lambda out: (out.maps, out.pooled)),
    "nested": (lambda m, p: {"all": [(p, {"maps": m})]}, lambda out: (out["all"][0][1]["maps"], out["all"][0][0])),
}


class Base(nn.Module):
    def __init__(self, carrier: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pack = CARRIERS[carrier][0]

    def forward(self, images: Tensor) -> Any:
        maps = self.relu(self.conv(images))
        return self.pack(maps, maps.mean((2, 3)))


class Carried(nn.Module):
    """The base returns maps and their mean in some object; the head reads the mean, the maps, or both."""

    def __init__(self, carrier: str, reads: str) -> None:
        super().__init__()
        self.base = Base(carrier)
        self.head = nn.Linear(6, 4)
        self.unpack, self.reads = CARRIERS[carrier][1], reads
        randomise(self, scale=1.5)

    def forward(self, images: Tensor) -> Tensor:
        maps, pooled = self.unpack(self.base(images))
        if self.reads == "pooled":
            return self.head(pooled)
        mean = maps.square().mean((2, 3))
        return self.head(mean if self.reads == "maps" else mean + pooled)


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize(("reads", "layer"), [("pooled", "base.relu"), ("maps", "base"), ("both", "base.relu")])
@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam"])
def test_the_cut_is_made_where_the_answer_comes_from(carrier: str, reads: str, layer: str, method: str) -> None:
    net, image = Carried(carrier, reads).eval(), pictures(1, size=(12, 20))
    found = xai.explain(net, image, method, target=2)
    assert found.layer == layer
    maps = F.relu(net.base.conv(image))[0].detach()
    pooled, squared = torch.ones_like(maps), 2 * maps
    slopes = {"pooled": pooled, "maps": squared, "both": pooled + squared}[reads]
    slopes = slopes * net.head.weight[2].detach()[:, None, None] / maps[0].numel()
    slopes = {
        "gradcam": slopes.mean((1, 2), keepdim=True),
        "hirescam": slopes,
        "layercam": slopes.clamp_min(0),
    }[method]
    wanted = enlarged((slopes * maps).sum(0), (12, 20))
    torch.testing.assert_close(found.attribution[0, 0], wanted, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("carrier", ["tuple", "fields", "frozen dataclass"])
def test_a_named_layer_whose_output_is_not_read_is_cut_inside_and_that_is_said(carrier: str) -> None:
    found = choose(Carried(carrier, "pooled"), (12, 20), "base")
    assert found.name == "base.relu"
    assert found.reason.endswith("; cut at 'base.relu', which returns the same and is what the class score depends on")


def test_containers_are_copied_and_everything_else_in_them_stays() -> None:
    old, other = torch.zeros(2), torch.ones(2)
    for pack, unpack in CARRIERS.values():
        packed = pack(old, other)
        replaced = with_tensor(packed, old, new := torch.full((2,), 2.0))
        assert unpack(replaced)[0] is new
        assert unpack(replaced)[1] is other
        assert unpack(packed)[0] is old
        assert type(replaced) is type(packed)
        assert len(tensors_in(packed)) == 2
    twice = with_tensor({"a": old, "b": [old]}, old, other)
    assert twice["a"] is twice["b"][0] is other


def test_a_container_that_cannot_be_copied_is_named() -> None:
    held = torch.zeros(2)
    with pytest.raises(UnsupportedModelError, match="mappingproxy, cannot be copied"):
        with_tensor(MappingProxyType({"maps": held}), held, torch.ones(2))


class Checkpointed(nn.Module):
    """Two convolutions, the second checkpointed."""

    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(6, 4)
        self.reentrant = reentrant
        randomise(self, scale=1.5)

    def forward(self, images: Tensor) -> Tensor:
        maps = checkpoint(self.second, self.first(images), use_reentrant=self.reentrant)
        return self.head(maps.mean((2, 3)))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("method", ["gradcam", "hirescam", "saliency", "integrated_gradients"])
def test_reentrant_checkpointing_is_named_with_its_cure(method: str) -> None:
    with pytest.raises(
        UnsupportedModelError, match=r"reentrant activation checkpointing\. Pass use_reentrant=False"
    ) as e:
        xai.explain(Checkpointed(reentrant=True).eval(), pictures(1), method)
    assert "\n" not in str(e.value)


def test_other_checkpointing_does_not_change_the_map() -> None:
    net, image = Checkpointed(reentrant=False).eval(), pictures(1)
    twin = nn.Sequential(net.first, net.second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.head).eval()
    found, wanted = xai.explain(net, image, target=1), xai.explain(twin, image, target=1)
    assert (found.layer, wanted.layer) == ("second", "1")
    torch.testing.assert_close(found.attribution, wanted.attribution, atol=1e-6, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_what_needs_no_gradient_through_the_checkpoint_works() -> None:
    net, images = Checkpointed(reentrant=True).eval(), pictures(2)
    assert xai.explain(net, images, "eigencam", layer="second").layer == "second"
    with pytest.raises(UnsupportedModelError, match="use_reentrant=False"):
        gradients(net(images.requires_grad_()).sum(), [images])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantised_convolutions_are_maps() -> None:
    engines = torch.backends.quantized.supported_engines
    if "fbgemm" not in engines and "onednn" not in engines:
        pytest.skip("no engine for quantised convolutions")
    quantised = nn.Sequential(
        torch.ao.quantization.QuantStub(), nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), torch.ao.quantization.DeQuantStub()
    )
    randomise(quantised, scale=1.5)
    quantised.qconfig = torch.ao.quantization.get_default_qconfig("fbgemm" if "fbgemm" in engines else "onednn")
    torch.ao.quantization.prepare(quantised, inplace=True)
    quantised(pictures(4))
    torch.ao.quantization.convert(quantised, inplace=True)
    net = nn.Sequential(quantised, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval()
    found = choose(net, (16, 16), "0.1")
    assert found.layout == Layout("maps", (16, 16))
    assert xai.explain(net, pictures(1), "eigencam", layer="0.1").coarse.shape == (1, 16, 16)


class Several(nn.Module):
    """Looks at an image several times: "views" one after the other, "batch" turned copies, "tiles" its quarters."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.head = way, nn.Linear(8, 3)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "views":
            return sum(self.head(self.body(view).mean((2, 3))) for view in (x, x.flip(3), x.flip(2)))
        halves = [part for rows in x.chunk(2, 2) for part in rows.chunk(2, 3)]
        seen = torch.cat([x, x.flip(3)] if self.way == "batch" else halves)
        return self.head(self.body(seen).mean((2, 3))).view(-1, len(x), 3).mean(0)


@pytest.mark.parametrize(
    ("way", "why"), [("views", "run 3 times"), ("batch", "take 2 parts or copies"), ("tiles", "take 4 parts")]
)
def test_why_a_model_that_looks_several_times_has_no_map(way: str, why: str) -> None:
    torch.manual_seed(0)
    model = xai.Classifier(Several(way).eval(), input_size=(22, 34))
    with pytest.raises(UnsupportedModelError, match=f"its convolutions {why}") as said:
        xai.explain(model, torch.rand(1, 3, 22, 34), "gradcam")
    assert "\n" not in str(said.value)
