"""Where the places of a layer are: tokens at any offset and in any known order, convolutions, and what is refused."""

from collections.abc import Callable
from functools import partial
from time import process_time
from typing import Any

import pytest
import torch
from small_models import pictures, randomise
from torch import Tensor, nn
from torch.nn import functional as F

import xai
from xai.core.layers.layouts import Layout, Responses, Stripes, orders, possible_layouts
from xai.core.layers.ordering import _evidence, judge
from xai.core.layers.outputs import LayerChoice
from xai.core.layers.selection import find_layer
from xai.core.model.classifier import Classifier
from xai.errors import UnsupportedModelError

Order = Callable[[Tensor], Tensor]
Size = tuple[int, int]


def choose(module: nn.Module, size: tuple[int, int], name: str | None = None) -> LayerChoice:
    return find_layer(Classifier(module.eval()), torch.zeros(1, 3, *size), name)


def enlarged(coarse: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(coarse[None, None].clamp_min(0), size, mode="bilinear", align_corners=False)[0, 0]


class Tokens(nn.Module):
    """Patches in some order, between extra tokens, mixed by attention; the head reads the mean of all tokens."""

    def __init__(self, front: int = 0, behind: int = 0, order: Order | None = None, patch: Any = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, patch, stride=patch)
        self.front = nn.Parameter(torch.zeros(1, front, 12))
        self.behind = nn.Parameter(torch.zeros(1, behind, 12))
        self.attention = nn.MultiheadAttention(12, 2, batch_first=True)
        self.norm = nn.LayerNorm(12)
        self.head = nn.Linear(12, 4)
        self.order = order
        randomise(self, scale=0.7)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.patches(images)
        tokens = maps.flatten(2).transpose(1, 2) if self.order is None else self.order(maps)
        count = len(images)
        tokens = torch.cat([self.front.expand(count, -1, -1), tokens, self.behind.expand(count, -1, -1)], 1)
        tokens = tokens + self.attention(tokens, tokens, tokens)[0]
        return self.head(self.norm(tokens).square().mean(1))


def cam_by_hand(
    module: nn.Module, name: str, image: Tensor, target: int, index: Tensor, grid: tuple[int, int]
) -> Tensor:
    """Return Grad-CAM of a layer whose output is tokens (1, T, C), of which `index` are the places row by row."""
    held: list[Tensor] = []
    handle = module.get_submodule(name).register_forward_hook(lambda _m, _i, output: held.append(output))
    score = module(image.clone().requires_grad_())[0, target]
    handle.remove()
    slopes = torch.autograd.grad(score, held[0])[0][0, index]
    coarse = (held[0].detach()[0, index] * slopes.mean(0)).sum(1)
    return enlarged(coarse.view(grid), (image.shape[2], image.shape[3]))


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize(("front", "behind"), [(0, 0), (1, 0), (0, 1), (0, 5), (2, 3), (1, 17), (90, 0)])
def test_tokens_in_front_and_behind_are_no_places(front: int, behind: int, size: tuple[int, int]) -> None:
    net = Tokens(front, behind).eval()
    grid = (size[0] // 4, size[1] // 4)
    found, image = choose(net, size), pictures(1, size=size)
    assert (found.name, found.layout) == ("norm", Layout("tokens", grid, front, behind))
    index = torch.arange(front, front + grid[0] * grid[1])
    wanted = cam_by_hand(net, "norm", image, 1, index, grid)
    torch.testing.assert_close(xai.explain(net, image, target=1).attribution[0, 0], wanted, atol=1e-6, rtol=1e-4)


def test_what_is_beside_the_places_is_said() -> None:
    texts = [choose(Tokens(*extra), (32, 32)).reason for extra in ((1, 0), (0, 5), (2, 3))]
    assert "8 x 8 tokens behind 1 class or register token(s)," in texts[0]
    assert "8 x 8 tokens before 5 class or register token(s)," in texts[1]
    assert "8 x 8 tokens behind 2 and before 3 class or register token(s)," in texts[2]


def test_patches_that_are_not_square() -> None:
    found = choose(Tokens(1, 0, patch=(8, 4)), (32, 32))
    assert found.layout == Layout("tokens", (4, 8), 1)


def in_order(name: str, maps: Tensor) -> Tensor:
    """Return the tokens (N, h * w, C) of maps in one of the known orders."""
    places = orders((maps.shape[2], maps.shape[3]))[name]
    return maps.flatten(2).transpose(1, 2)[:, places.argsort()]


def window_by_window(maps: Tensor) -> Tensor:
    """Return tokens in windows of 4 x 4, as Swin cuts them."""
    count, width, rows, columns = maps.shape
    windows = maps.view(count, width, rows // 4, 4, columns // 4, 4).permute(0, 2, 4, 3, 5, 1)
    return windows.reshape(count, rows * columns, width)


def unrolled(maps: Tensor) -> Tensor:
    """Return tokens as Hiera unrolls them once: the corners of each 2 x 2 block stand together."""
    return torch.cat([maps[:, :, i::2, j::2].flatten(2) for i in (0, 1) for j in (0, 1)], 2).transpose(1, 2)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("columns", lambda maps: maps.transpose(2, 3).flatten(2).transpose(1, 2)),
        ("windows of 4 x 4", window_by_window),
        ("unrolled 1 times", unrolled),
        ("unrolled 2 times", partial(in_order, "unrolled 2 times")),
    ],
)
@pytest.mark.parametrize("size", [(32, 32), (32, 64)])
def test_tokens_in_another_order_are_put_back(name: str, order: Order, size: tuple[int, int]) -> None:
    net, image = Tokens(1, 0, order).eval(), pictures(1, size=size)
    grid = (size[0] // 4, size[1] // 4)
    found = choose(net, size)
    assert found.layout == Layout("tokens", grid, 1, 0, name)
    assert f"in the order '{name}'" in found.reason
    numbers = torch.arange(float(grid[0] * grid[1])).view(1, 1, *grid)  # each place carries its own number
    index = 1 + order(numbers)[0, :, 0].long().argsort()
    wanted = cam_by_hand(net, "norm", image, 2, index, grid)
    torch.testing.assert_close(xai.explain(net, image, target=2).attribution[0, 0], wanted, atol=1e-6, rtol=1e-4)


def shuffled(maps: Tensor) -> Tensor:
    tokens = maps.flatten(2).transpose(1, 2)
    return tokens[:, torch.randperm(tokens.shape[1], generator=torch.Generator().manual_seed(3))]


def snake(maps: Tensor) -> Tensor:
    turned = torch.stack([row.flip(-1) if k % 2 else row for k, row in enumerate(maps.unbind(2))], 2)
    return turned.flatten(2).transpose(1, 2)


@pytest.mark.parametrize("order", [shuffled, snake, lambda maps: maps.flip(2).flatten(2).transpose(1, 2)])
def test_an_unknown_order_is_not_taken_and_refused_when_named(order: Order) -> None:
    net = Tokens(1, 0, order)
    assert choose(net, (32, 32)).name == "patches"
    with pytest.raises(UnsupportedModelError, match=r"layer 'norm' is no map .* in any known order\. Layers that are:"):
        choose(net, (32, 32), "norm")


@pytest.mark.parametrize("size", [(32, 32), (32, 64), (32, 48), (64, 128)])
@pytest.mark.parametrize("window", [(2, 4), (4, 2), (8, 2), (4, 8)])
def test_windows_that_are_not_square_are_not_taken_for_square_ones(window: Size, size: Size) -> None:
    """Neither are their tokens taken row by row; the maps before them are."""

    def order(maps: Tensor) -> Tensor:
        places = torch.arange(float(maps[0, 0].numel())).view(1, 1, *maps.shape[2:])
        blocks = F.unfold(places, window, stride=window)[0].T.flatten().long()
        return maps.flatten(2).transpose(1, 2)[:, blocks]

    rows, columns = size[0] // 4, size[1] // 4
    if rows % window[0] or columns % window[1]:
        pytest.skip("the windows do not fit")
    as_rows = window[1] == columns or window[0] == 1
    assert choose(Tokens(1, 0, order), size).name == ("norm" if as_rows else "patches")


@pytest.mark.parametrize("wrong", [-1, 1, 8])
@pytest.mark.parametrize(("front", "behind"), [(1, 1), (3, 5)])
def test_the_check_fails_on_an_offset_that_is_wrong_by_one_token(front: int, behind: int, wrong: int) -> None:
    """A layer whose tokens are rolled by one (or a row of eight) passes only where the offset is rolled too."""
    net = Tokens(front, behind)
    verdicts = []
    for rolled in (0, wrong):
        net.norm = nn.Sequential(Roll(rolled), nn.LayerNorm(12)).eval()
        with torch.no_grad():
            responses = Responses(net, {"norm": net.norm}, 0.5 + 0.2 * (pictures(1, size=(32, 32)) - 0.5))
            verdicts.append(judge(responses, ("norm", 0), [Layout("tokens", (8, 8), front + behind)]))
    assert (verdicts[0].right, verdicts[0].layout) == (True, Layout("tokens", (8, 8), front, behind))
    if 0 <= front + wrong <= front + behind:
        assert (verdicts[1].right, verdicts[1].layout) == (
            True,
            Layout("tokens", (8, 8), front + wrong, behind - wrong),
        )
    else:
        assert verdicts[1].right is False


class Roll(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.roll(self.count, 1)


class Noise(Responses):
    """Contrasts that have nothing to do with places, alike among neighbours as those of real layers are."""

    def __init__(self, seed: int, counts: dict[str, int]) -> None:
        self.size, self.stripes = (64, 64), [Stripes(axis, periods) for periods in (1, 2) for axis in (0, 1)]
        source = torch.Generator().manual_seed(seed)
        self.held = {
            kind: F.avg_pool1d(2 * torch.rand(1, 4, count, generator=source, dtype=torch.float64) - 1, 5, 1, 2)[0]
            for kind, count in counts.items()
        }

    def refine(self, places: int) -> None:
        assert places < 14  # no finer stripes are needed

    def contrast(self, key: tuple[str, int], kind: str) -> Tensor:
        return self.held[kind]

    def edges(self, key: tuple[str, int], kind: str) -> list[Any]:
        return []


@pytest.mark.parametrize(("tokens", "width"), [(16, 12), (17, 64), (65, 24), (80, 16)])
def test_responses_that_know_no_places_are_refused(tokens: int, width: int) -> None:
    layouts = possible_layouts(torch.Size((1, tokens, width)), 1, (64, 64))
    counts = {"tokens": tokens, "tokens, channels first": width}
    passed = [judge(Noise(seed, counts), ("noise", 0), layouts).right for seed in range(30)]
    assert sum(passed) <= 1


class Changed(nn.Module):
    """A model that changes what it is given before it looks at it."""

    def __init__(self, change: Order, net: nn.Module) -> None:
        super().__init__()
        self.change, self.net = change, net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(self.change(images))


def convolutions(padding: int) -> nn.Module:
    width = (3, 8, 16, 16)
    stages = [
        part
        for k in range(3)
        for part in (nn.Conv2d(width[k], width[k + 1], 3, padding=padding), nn.ReLU(), nn.MaxPool2d(2))
    ]
    net = nn.Sequential(*stages[:-1], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))
    randomise(net, scale=0.7)
    return net


PARTS = {
    "crops the image at the top": lambda images: images[:, :, 8:-8, 8:-8],
    "crops the image at the left": lambda images: images[:, :, :, 8:],
    "crops the image at the bottom": lambda images: images[:, :, : images.shape[2] * 3 // 4],
    "crops the image at the right": lambda images: images[:, :, :, : images.shape[3] * 3 // 4],
    "pads the image at the (top|bottom)": lambda images: F.pad(images, (16,) * 4),
    "pads the image at the (left|right)": lambda images: F.pad(images, (20, 20, 0, 0)),
}


@pytest.mark.parametrize("size", [(64, 64), (64, 72)])
@pytest.mark.parametrize("what", PARTS)
@pytest.mark.parametrize("net", [partial(convolutions, 1), Tokens])
def test_a_model_that_looks_at_a_part_of_the_image_has_no_map_of_it(
    net: Callable[[], nn.Module], what: str, size: tuple[int, int]
) -> None:
    """The map would be stretched over the whole image, and point beside what it is about."""
    assert choose(net(), size).layout.extra == 0
    other = "|do not follow|is not clear" if net is Tokens else ""  # fewer tokens may fit no grid of the whole image
    with pytest.raises(UnsupportedModelError, match=f"{what} before it{other}"):
        choose(Changed(PARTS[what], net()), size)


COARSE = {
    "crops the image at the bottom": lambda images: images[:, :, :176],
    "crops the image at the right": lambda images: images[:, :, :, :190],
    "pads the image at the left": lambda images: F.pad(images, (48, 48, 0, 0)),
    "pads the image at the right": lambda images: F.pad(images, (0, 64, 0, 0)),
}


@pytest.mark.parametrize("what", COARSE)
def test_places_too_coarse_to_show_it_are_refused_by_what_finer_ones_show(what: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 7, stride=4, padding=3), nn.ReLU(), nn.MaxPool2d(2), convolutions(1))
    net[3][0] = nn.Conv2d(8, 8, 3, padding=1)
    randomise(net, scale=0.7)
    assert choose(net, (224, 224)).layout.grid == (7, 7)
    with pytest.raises(UnsupportedModelError, match=f"{what} before it"):
        choose(Changed(COARSE[what], net), (224, 224))


@pytest.mark.parametrize("size", [(32, 32), (64, 48)])
def test_a_pooling_by_maxima_is_looked_through_and_said(size: tuple[int, int]) -> None:
    net = convolutions(1)
    net[8] = nn.AdaptiveMaxPool2d(1)
    found = choose(net, size)
    assert found.name == "7"
    assert "has a gradient at" in found.reason


@pytest.mark.parametrize("size", [(64, 64), (61, 75), (31, 38)])
@pytest.mark.parametrize("padding", [0, 1])
def test_what_strides_and_missing_padding_leave_out_is_no_crop(padding: int, size: tuple[int, int]) -> None:
    assert choose(convolutions(padding), size).name == "7"
    assert choose(Changed(lambda images: images[:, :, 1:-1, 1:-1], convolutions(padding)), size).name == "net.7"


def test_patches_that_do_not_divide_the_image_are_no_crop() -> None:
    assert choose(Tokens(patch=16), (79, 95)).name == "norm"


def test_evidence_at_every_offset_is_the_plain_correlation() -> None:
    """Computed by spectra; here by sums, one offset after the other."""
    net = Tokens(front=3, behind=2, patch=4).eval()
    image = torch.rand(1, 3, 28, 36, generator=torch.Generator().manual_seed(0))
    responses = Responses(net, {"norm": net.norm}, image)
    layout = Layout("tokens", (7, 9), 5)
    contrast = responses.contrast(("norm", 0), "tokens")
    assert contrast is not None
    contrast = contrast - contrast.mean(1, keepdim=True)
    code = torch.stack([stripes.code(layout.grid, (28, 36)) for stripes in responses.stripes]).to(contrast)
    for found, evidence in _evidence(responses, ("norm", 0), layout, layout.grid):
        by_token = code[:, orders(layout.grid)[found.order].argsort()]
        sums = torch.stack([(contrast[:, k : k + 63] * by_token).sum() for k in range(6)]).clamp_min(0)
        wanted = sums.square() / by_token.square().sum() / contrast.square().sum()
        torch.testing.assert_close(evidence, wanted, atol=1e-12, rtol=1e-9)


def test_many_tokens_take_no_long_search() -> None:
    """56 x 56 tokens: minutes of processor time when the cost grew with the square of their number."""

    class Pointwise(Tokens):
        def forward(self, images: Tensor) -> Tensor:
            tokens = self.patches(images).flatten(2).mT
            tokens = torch.cat([self.front.expand(len(images), -1, -1), tokens], 1)
            return self.head(self.norm(tokens).square().mean(1))

    net = Pointwise(front=1, patch=2)
    began = process_time()
    found = choose(net, (112, 112))
    assert process_time() - began < 12
    assert found.layout == Layout("tokens", (56, 56), 1)
