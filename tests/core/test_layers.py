"""The layer resolver: what it chooses on networks people use, what it refuses, and what it says."""

from collections.abc import Iterator

import pytest
import torch
from small_models import (
    DetachModel,
    GapCnn,
    LinearModel,
    OneLogit,
    PlantedCnn,
    PlantedSwin,
    PlantedViT,
    ReusedModule,
    pictures,
    randomise,
)
from torch import Tensor, nn
from torchvision_cpu import import_torchvision

import xai
from xai.core.layers.layouts import Layout, fits, possible_layouts
from xai.core.layers.outputs import LayerChoice
from xai.core.layers.selection import find_layer, spatial_layers
from xai.core.model.classifier import Classifier
from xai.errors import NameLookupError, RangeError, UnsupportedModelError

TORCHVISION = [
    ("resnet18", 64, "layer4", Layout("maps", (2, 2))),
    ("resnet18", 32, "layer3", Layout("maps", (2, 2))),  # layer4 is a single place there
    ("vgg11", 64, "features.19", Layout("maps", (4, 4))),
    ("densenet121", 64, "features", Layout("maps", (2, 2))),
    ("mobilenet_v2", 96, "features", Layout("maps", (3, 3))),
    ("efficientnet_b0", 128, "features", Layout("maps", (4, 4))),
    ("convnext_tiny", 64, "features", Layout("maps", (2, 2))),
    ("googlenet", 64, "inception5b", Layout("maps", (2, 2))),
    ("swin_t", 64, "permute", Layout("maps", (2, 2))),
    ("vit", 64, "encoder.layers.encoder_layer_11.ln_1", Layout("tokens", (4, 4), 1)),  # vit_b_16, but narrow
]
TIMM = [
    ("vit_tiny_patch16_224", 64, "blocks.11.norm1", Layout("tokens", (4, 4), 1)),
    ("swin_tiny_patch4_window7_224", 128, "norm", Layout("maps, channels last", (4, 4))),
    ("deit_tiny_distilled_patch16_224", 64, "blocks.11.norm1", Layout("tokens", (4, 4), 2)),
    ("vit_small_patch14_reg4_dinov2", 56, "blocks.11.norm1", Layout("tokens", (4, 4), 5)),
]


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    state = torch.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.set_rng_state(state)


def choose(module: nn.Module, size: int | tuple[int, int], name: str | None = None) -> LayerChoice:
    height, width = (size, size) if isinstance(size, int) else size
    return find_layer(Classifier(module.eval()), torch.zeros(1, 3, height, width), name)


def build(name: str) -> nn.Module:
    """Return a torchvision network with random weights; initial values that are slow to draw are drawn otherwise."""
    models = import_torchvision().models
    if name == "vit":
        vit = models.VisionTransformer(64, 16, num_layers=12, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=10)
        return randomise(vit, scale=0.5)
    if name == "vgg11":
        net = models.vgg11(num_classes=10, init_weights=False)
        net.classifier = nn.Linear(512 * 7 * 7, 10)
        return net
    return getattr(models, name)(num_classes=10, **{"googlenet": {"init_weights": False}}.get(name, {}))


@pytest.mark.parametrize(("name", "size", "layer", "layout"), TORCHVISION)
def test_torchvision(name: str, size: int, layer: str, layout: Layout) -> None:
    found = choose(build(name), size)
    assert (found.name, found.layout) == (layer, layout)
    assert layout.describe() in found.reason
    assert "checked by gradient and by moving a patch" in found.reason


@pytest.mark.parametrize(("name", "size", "layer", "layout"), TIMM)
def test_timm(name: str, size: int, layer: str, layout: Layout) -> None:
    import_torchvision()
    timm = pytest.importorskip("timm")
    windows = {"window_size": 4} if "swin" in name else {}
    found = choose(timm.create_model(name, num_classes=10, img_size=size, **windows), size)
    assert (found.name, found.layout) == (layer, layout)
    assert "checked" in found.reason


@pytest.mark.parametrize(("name", "layer"), [("resnet18", "layer4"), ("mobilenet_v2", "features")])
@pytest.mark.parametrize("size", [(96, 160), (160, 96), (97, 129)])
def test_pictures_that_are_not_square(name: str, layer: str, size: tuple[int, int]) -> None:
    found = choose(build(name), size)
    assert found.name == layer
    assert found.layout.grid == (-(-size[0] // 32), -(-size[1] // 32))


class Unsquare(nn.Module):
    """Tokens of a 2 x 8 grid: one of several grids that 16 tokens could be."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 4, stride=4)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 3)
        randomise(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(self.patches(images).flatten(2).transpose(1, 2)).mean(1))


@pytest.mark.parametrize("size", [(8, 32), (32, 8), (16, 16), (12, 20)])
def test_a_token_grid_has_the_pictures_aspect_ratio(size: tuple[int, int]) -> None:
    found = choose(Unsquare(), size)
    assert found == LayerChoice("norm", Layout("tokens", (size[0] // 4, size[1] // 4)), found.reason)


class Ambiguous(nn.Module):
    """As many channels as rows and columns, and channels last: the shape alone cannot tell."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 4, stride=4)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 3)
        randomise(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(self.patches(images).permute(0, 2, 3, 1)).mean((1, 2)))


def test_an_ambiguous_shape_is_settled_by_moving_a_patch() -> None:
    assert choose(Ambiguous(), 16).layout == Layout("maps, channels last", (4, 4))


@pytest.mark.parametrize(
    ("module", "layer", "layout"),
    [
        (GapCnn(), "relu2", Layout("maps", (8, 8))),
        (GapCnn(relu=None), "conv2", Layout("maps", (8, 8))),
        (ReusedModule(), "last", Layout("maps", (8, 8))),
        (PlantedCnn(), "relu2", Layout("maps", (16, 16))),
        (PlantedViT(), "block", Layout("tokens", (4, 4), 1)),
        (PlantedViT(registers=4), "block", Layout("tokens", (4, 4), 5)),
        (PlantedSwin(), "window", Layout("maps, channels last", (4, 4))),
        (OneLogit(), "net.relu2", Layout("maps", (8, 8))),
        (OneLogit(sign=-1.0), "net.relu2", Layout("maps", (8, 8))),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_small_networks(module: nn.Module, layer: str, layout: Layout) -> None:
    found = choose(module, 16)
    assert (found.name, found.layout) == (layer, layout)


def test_a_head_that_is_still_zero_is_no_hindrance() -> None:
    net = GapCnn()
    nn.init.zeros_(net.head.weight)
    nn.init.zeros_(net.head.bias)
    assert choose(net, 16).name == "relu2"


def test_the_choice_is_remembered_and_renewed_when_a_module_is_replaced() -> None:
    net, calls = GapCnn(), []
    net.conv1.register_forward_hook(lambda *_: calls.append(1))
    first, measured = choose(net, 16), len(calls)
    assert choose(net, 16) is first
    assert len(calls) == measured
    net.relu2 = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    assert choose(net, 16).name == "relu2.0"


def test_another_layer_can_be_named() -> None:
    found = choose(GapCnn(), 16, "conv1")
    assert (found.name, found.layout.grid) == ("conv1", (16, 16))
    assert found.reason.startswith("named by the caller")
    assert xai.explain(GapCnn(), pictures(1), layer="conv1").layer == "conv1"


def test_a_named_layer_that_no_gradient_reaches_is_used_and_said() -> None:
    assert choose(DetachModel(), 16, "conv").reason == "named by the caller: 16 x 16 maps; no gradient reaches it"


def test_a_wrong_name_suggests_near_ones() -> None:
    with pytest.raises(NameLookupError, match=r"There is no layer 'relu3'\. Near: relu2, relu1\."):
        choose(GapCnn(), 16, "relu3")


def test_a_layer_that_is_no_map_lists_those_that_are() -> None:
    wanted = r"output \(4,\) of layer 'head' is no map of the image\. Layers that are: relu2, conv2, relu1, conv1\."
    with pytest.raises(UnsupportedModelError, match=wanted):
        choose(GapCnn(), 16, "head")


@pytest.mark.parametrize("name", ["relu", "twice"])
def test_a_layer_that_runs_more_than_once_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"layer '{name}' does not run exactly once in a forward"):
        choose(ReusedModule(), 16, name)


def test_a_layer_that_does_not_run_is_refused() -> None:
    net = GapCnn()
    net.spare = nn.Conv2d(3, 3, 1)
    with pytest.raises(UnsupportedModelError, match="'spare' does not run exactly once"):
        choose(net, 16, "spare")


@pytest.mark.parametrize("how", ["detach", "no_grad"])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_model_that_blocks_gradients_is_named_as_such(how: str, frozen: bool) -> None:
    net = DetachModel(how).requires_grad_(not frozen)
    with pytest.raises(UnsupportedModelError, match=r"No gradient reaches any layer of 'DetachModel'.*Use occlusion"):
        choose(net, 16)
    with pytest.raises(UnsupportedModelError, match="No gradient reaches the layer 'conv': the model detaches"):
        xai.explain(net, pictures(1), layer="conv")
    assert xai.explain(net, pictures(1), "eigencam", layer="conv").layer == "conv"


class Shuffled(nn.Module):
    """A map whose places are mixed: a patch moves nothing there."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.mixed = nn.Sequential(nn.Flatten(2), nn.Linear(256, 256), nn.Unflatten(2, (16, 16)))
        self.head = nn.Linear(6, 4)
        randomise(self)

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            maps = self.conv(images)
        return self.head(self.mixed(maps.detach().requires_grad_(torch.is_grad_enabled())).square().mean((2, 3)))


def test_a_layer_whose_places_are_mixed_is_not_taken_and_refused_when_named() -> None:
    found = choose(Shuffled(), 16)
    assert (found.name, found.layout) == ("mixed.0", Layout("tokens, channels first", (16, 16)))
    with pytest.raises(UnsupportedModelError, match=r"layer 'mixed' is no map .*: its places do not follow"):
        choose(Shuffled(), 16, "mixed")


def test_padding_is_no_layer_to_look_at() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ZeroPad2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert choose(randomise(net), 16).name == "0"


def test_a_model_without_maps_says_so() -> None:
    with pytest.raises(UnsupportedModelError, match=r"No layer of 'LinearModel' is a map.*\(input 16 x 16\)"):
        choose(LinearModel(), 16)


def test_layers_lists_maps_in_order() -> None:
    classifier = Classifier(GapCnn())
    assert spatial_layers(classifier, torch.zeros(1, 3, 16, 16)) == ["conv1", "relu1", "pool", "conv2", "relu2"]
    assert xai.layers(classifier, (16, 16)) == ["conv1", "relu1", "pool", "conv2", "relu2"]
    assert xai.layers(LinearModel(), (16, 16)) == []
    assert xai.layers(LinearModel(), (16, 16), most=3) == []


def test_a_handful_of_layers_has_every_size_of_map_first_to_last() -> None:
    sizes = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3, 2, 1), nn.ReLU()) for _ in range(3)))
    classifier = Classifier(nn.Sequential(sizes, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)))
    assert xai.layers(classifier, (32, 32), most=4) == ["0.0.0", "0.0", "0.1", "0"]
    assert xai.layers(classifier, (32, 32), most=2) == ["0.1", "0"]
    everything = xai.layers(classifier, (32, 32))
    assert [name for name in everything if name in xai.layers(classifier, (32, 32), most=99)] == everything
    with pytest.raises(RangeError, match="`most` as a whole number of at least 1"):
        xai.layers(classifier, most=0)


@pytest.mark.parametrize(
    ("grid", "image", "wanted"),
    [
        ((7, 7), (224, 224), True),
        ((14, 14), (224, 224), True),
        ((7, 14), (224, 224), False),
        ((7, 14), (224, 448), True),
        ((14, 7), (224, 448), False),
        ((3, 5), (97, 129), False),
        ((4, 5), (97, 129), True),
        ((4, 2), (97, 129), False),
        ((225, 225), (224, 224), False),
        ((224, 224), (224, 224), True),
        ((2, 8), (8, 32), True),
        ((4, 4), (8, 32), False),
    ],
)
def test_fits(grid: tuple[int, int], image: tuple[int, int], wanted: bool) -> None:
    assert fits(grid, image) is wanted


@pytest.mark.parametrize(
    ("shape", "image", "wanted"),
    [
        ((5, 512, 7, 7), (224, 224), [Layout("maps", (7, 7))]),
        ((5, 7, 7, 768), (224, 224), [Layout("maps, channels last", (7, 7))]),
        ((5, 7, 7, 7), (224, 224), [Layout("maps", (7, 7)), Layout("maps, channels last", (7, 7))]),
        ((5, 64, 3, 6), (96, 192), [Layout("maps", (3, 6))]),
        ((5, 64, 6, 3), (96, 192), []),
        ((5, 512, 1, 1), (224, 224), []),
        ((4, 512, 7, 7), (224, 224), []),
        ((5, 6, 3), (32, 32), [Layout("tokens", (2, 2), 2)]),
        ((5, 3, 3), (32, 32), []),
        ((3, 5, 3), (32, 32), []),
        ((5, 10), (32, 32), []),
        ((5,), (32, 32), []),
        ((), (32, 32), []),
        ((5, 0, 3), (32, 32), []),
        ((5, 4, 2, 8, 8), (32, 32), []),
    ],
)
def test_possible_layouts(shape: tuple[int, ...], image: tuple[int, int], wanted: list[Layout]) -> None:
    assert possible_layouts(torch.Size(shape), 5, image) == wanted


@pytest.mark.parametrize(
    ("shape", "image", "wanted"),
    [
        ((5, 197, 192), (224, 224), Layout("tokens", (14, 14), 1)),
        ((5, 198, 192), (224, 224), Layout("tokens", (14, 14), 2)),
        ((5, 196, 192), (224, 224), Layout("tokens", (14, 14), 0)),
        ((196, 5, 192), (224, 224), Layout("tokens, sequence first", (14, 14), 0)),
        ((5, 4, 196), (224, 224), Layout("tokens, channels first", (14, 14), 0)),
        ((5, 16, 6), (8, 32), Layout("tokens", (2, 8), 0)),
        ((5, 32, 6), (64, 64), Layout("tokens", (4, 8), 0)),  # patches of 16 x 8
    ],
)
def test_the_likeliest_layout_of_tokens_leaves_the_fewest_over(
    shape: tuple[int, ...], image: tuple[int, int], wanted: Layout
) -> None:
    found = possible_layouts(torch.Size(shape), 5, image)
    assert wanted in found
    assert min(layout.extra for layout in found if layout.kind == wanted.kind) == wanted.extra


def test_to_maps_puts_each_place_where_it_was() -> None:
    maps = torch.arange(2 * 3 * 2 * 4.0).view(2, 3, 2, 4)
    assert torch.equal(Layout("maps", (2, 4)).to_maps(maps), maps)
    assert torch.equal(Layout("maps, channels last", (2, 4)).to_maps(maps.permute(0, 2, 3, 1)), maps)
    tokens = maps.flatten(2).transpose(1, 2)
    padded = torch.cat([torch.full((2, 2, 3), -1.0), tokens, torch.full((2, 1, 3), -2.0)], 1)
    assert torch.equal(Layout("tokens", (2, 4), 2).to_maps(padded), maps)
    assert torch.equal(Layout("tokens", (2, 4), 0).to_maps(tokens), maps)
