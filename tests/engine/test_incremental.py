"""Answers computed on pieces against the whole computation, on every kind of layer that could go wrong."""

import pytest
import torch
from small_models import GapCnn, LinearModel, PlantedSwin, ReusedModule, pictures, randomise
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision_cpu import import_torchvision

from xai.core.model.classifier import Classifier
from xai.engine.incremental import Incremental, follow_the_middle
from xai.engine.local import Patches, put, take, widened
from xai.engine.prepare import prepare

SIDE = 32


class Net(nn.Module):
    """A few layers, global pooling and a linear head."""

    def __init__(self, *layers: nn.Module, width: int = 6) -> None:
        super().__init__()
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(width, 3)
        randomise(self, scale=2.0)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.layers(images).mean((2, 3)))


class SamePad(nn.Conv2d):
    """A convolution that keeps ceil(size / stride), with the odd row behind, as TensorFlow pads."""

    def forward(self, maps: Tensor) -> Tensor:
        out = [-(-size // self.stride[0]) for size in maps.shape[2:]]
        need = [max((o - 1) * self.stride[0] + 3 - s, 0) for o, s in zip(out, maps.shape[2:], strict=True)]
        pads = (need[1] // 2, need[1] - need[1] // 2, need[0] // 2, need[0] - need[0] // 2)
        return F.conv2d(F.pad(maps, pads), self.weight, self.bias, self.stride)


class Overwrites(nn.Module):
    """The skip connection reads what an in-place ReLU has overwritten."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(6, 3)
        randomise(self, scale=2.0)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.first(images)
        return self.head((self.second(self.relu(maps)) + maps).mean((2, 3)))


class Joins(nn.Module):
    """Branches of different reach, added, multiplied and put side by side; the size is read from the input."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow, self.wide = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 7, padding=3)
        self.after, self.head = nn.Conv2d(12, 6, 3, padding=1), nn.Linear(6, 3)
        randomise(self, scale=2.0)

    def forward(self, images: Tensor) -> Tensor:
        count = images.size(0)
        narrow, wide = self.narrow(images), F.max_pool2d(self.wide(images), 3, 1, 1)
        maps = self.after(torch.cat([narrow + wide, narrow * torch.sigmoid(wide), wide], 1))
        return self.head(F.adaptive_avg_pool2d(F.relu(maps), 1).view(count, -1))


class Twists(nn.Module):
    """Layers that look local and are not."""

    def __init__(self, twist: nn.Module | None) -> None:
        super().__init__()
        self.first, self.twist = nn.Conv2d(3, 6, 3, padding=1), twist
        self.last, self.head = nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 3)
        randomise(self, scale=2.0)

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.relu(self.first(images))
        maps = torch.roll(maps, 3, 2) if self.twist is None else self.twist(maps)
        return self.head(torch.relu(self.last(maps)).mean((2, 3)))


class Untraceable(GapCnn):
    """The forward branches on values."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) if images.sum() >= 0 else super().forward(-images)


def conv(*arguments: int, **settings: object) -> nn.Conv2d:
    return nn.Conv2d(*arguments, **settings)


LOCAL = {
    "plain": Net(conv(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), conv(6, 6, 5, padding=2)),
    "without padding": Net(conv(3, 6, 5), nn.ReLU6(), conv(6, 6, 3)),
    "stride above the kernel": Net(conv(3, 6, 1, stride=2), nn.ReLU(), conv(6, 6, 2, stride=3)),
    "rows left over": Net(conv(3, 6, 3, stride=2), nn.Hardswish(), conv(6, 6, 2, stride=2)),
    "dilated": Net(conv(3, 6, 3, padding=2, dilation=2), nn.GELU(), conv(6, 6, 3, padding=3, dilation=3)),
    "grouped and oblong": Net(
        conv(3, 6, (3, 5), padding=(1, 2), groups=3), nn.SiLU(), conv(6, 6, (1, 3), stride=(1, 2))
    ),
    "pads like TensorFlow": Net(SamePad(3, 6, 3, stride=2), nn.ReLU(), SamePad(6, 6, 3, stride=2)),
    "padding by name": Net(conv(3, 6, 3, padding="same"), nn.ReLU(), conv(6, 6, 5, padding="same")),
    "pools": Net(conv(3, 6, 3, padding=1), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1), nn.ReLU()),
    "batch norm": Net(nn.BatchNorm2d(3), conv(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True)),
    "rounded up": Net(conv(3, 6, 3, padding=1), nn.MaxPool2d(3, 2, ceil_mode=True), nn.ReLU()),
    "joins": Joins(),
    "reused": ReusedModule(),
    "gap": GapCnn(),
}
WHOLE_BEHIND = {  # right all the same, because these layers end the pieces
    "overwrites": Overwrites(),
    "roll": Twists(None),
    "group norm": Twists(nn.GroupNorm(2, 6)),
    "adaptive pool": Twists(nn.AdaptiveAvgPool2d(7)),
    "adaptive pool of the same size": Twists(nn.AdaptiveAvgPool2d(SIDE)),
    "reflected border": Twists(nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect")),
    "circular border": Twists(nn.Conv2d(6, 6, 3, padding=1, padding_mode="circular")),
    "true means at the border": Twists(nn.AvgPool2d(3, 1, 1, count_include_pad=False)),
    "enlarged": Twists(nn.Upsample(scale_factor=2)),
    "swin": PlantedSwin(),
    "linear": LinearModel(),
    "untraceable": Untraceable(),
}


def side_of(module: nn.Module) -> int:
    return 16 if isinstance(module, PlantedSwin | LinearModel) else SIDE


def compare(module: nn.Module, image: Tensor, window: tuple[int, int], count: int = 24) -> Incremental:
    """Hold answers on pieces against whole ones, in every corner and in between; return the engine."""
    classifier = Classifier(module.eval(), mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.25])
    engine = Incremental(prepare(classifier, image), image, window)
    height, width = image.shape[2] - window[0], image.shape[3] - window[1]
    source = torch.Generator().manual_seed(0)
    top = torch.cat([torch.tensor([0, 0, height, height]), torch.randint(0, height + 1, (count,), generator=source)])
    left = torch.cat([torch.tensor([0, width, 0, width]), torch.randint(0, width + 1, (count,), generator=source)])
    values = torch.rand(len(top), 3, *window, generator=source)
    copies = image.repeat(len(top), 1, 1, 1)
    for k in range(len(top)):
        copies[k, :, top[k] : top[k] + window[0], left[k] : left[k] + window[1]] = values[k]
    with torch.no_grad():
        wanted = classifier.logits(copies)
    found = engine.logits(values, top, left)
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())
    return engine


@pytest.mark.parametrize("window", [(1, 1), (4, 4), (7, 5), (3, 12)])
@pytest.mark.parametrize("name", LOCAL)
def test_pieces_equal_the_whole(name: str, window: tuple[int, int]) -> None:
    module = LOCAL[name]
    engine = compare(module, pictures(1, size=(SIDE, SIDE)), window)
    assert engine.active
    assert "run on pieces; differs by" in engine.notes[0]


@pytest.mark.parametrize("size", [(31, 33), (19, 40)])
@pytest.mark.parametrize("name", LOCAL)
def test_odd_sizes(name: str, size: tuple[int, int]) -> None:
    compare(LOCAL[name], pictures(1, size=size), (5, 6))


@pytest.mark.parametrize("name", WHOLE_BEHIND)
def test_what_is_not_local_runs_whole(name: str) -> None:
    module = WHOLE_BEHIND[name]
    engine = compare(module, pictures(1, size=(side_of(module), side_of(module))), (4, 4))
    assert len(engine.steps) <= 3


def test_a_window_as_large_as_the_picture() -> None:
    engine = compare(GapCnn(), pictures(1), (16, 16), count=2)
    assert not engine.active
    assert "run whole" in engine.notes[0]


SLOW_NETWORKS = ("densenet121", "googlenet", "vgg11", "efficientnet_b0")


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v2", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_NETWORKS)]
)
def test_torchvision(name: str) -> None:
    torch.manual_seed(0)
    settings = {"init_weights": False} if name in {"googlenet", "vgg11"} else {}
    module = getattr(import_torchvision().models, name)(num_classes=10, **settings).eval()
    engine = compare(module, pictures(1, size=(96, 80)), (16, 12), count=4)
    assert engine.active


def test_a_patch_is_written_for_each_copy() -> None:
    """One value in all copies equals the same value given once per copy."""
    image = pictures(1)
    engine = Incremental(prepare(Classifier(GapCnn()), image), image, (3, 3))
    top, left, value = torch.tensor([0, 5, 13]), torch.tensor([13, 2, 0]), torch.rand(1, 3, 3, 3)
    assert torch.equal(engine.logits(value, top, left), engine.logits(value.repeat(3, 1, 1, 1), top, left))


def test_double_precision_stays_double() -> None:
    image = pictures(1).double()
    engine = Incremental(prepare(Classifier(GapCnn().double()), image), image, (3, 3))
    assert engine.logits(image[:, :, :3, :3], torch.tensor([1]), torch.tensor([2])).dtype == torch.float64


def test_a_wrong_piece_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong on pieces, the comparison with the whole finds it and the answers stay right."""
    from xai.engine.local import Local

    right = Local.__call__

    def wrong(self: Local, patches: Patches, cap: float) -> Patches:
        found = right(self, patches, cap)
        return Patches(1.01 * found.values, found.top, found.left)

    monkeypatch.setattr(Local, "__call__", wrong)
    engine = compare(GapCnn(), pictures(1), (4, 4))
    assert not engine.active
    assert "differ by" in engine.notes[0]


def test_take_and_put() -> None:
    maps = torch.arange(2 * 5 * 6 * 3.0).view(2, 5, 6, 3)
    top, left = torch.tensor([0, 3, 1]), torch.tensor([4, 0, 2])
    found = take(maps[1], top, left, (2, 2))
    for k in range(3):
        assert torch.equal(found[k], maps[1, top[k] : top[k] + 2, left[k] : left[k] + 2])
    copies = maps[:1].repeat(3, 1, 1, 1)
    put(copies, -found, top, left)
    for k in range(3):
        wanted = maps[0].clone()
        wanted[top[k] : top[k] + 2, left[k] : left[k] + 2] = -found[k]
        assert torch.equal(copies[k], wanted)


def test_widened_keeps_the_rest_clean() -> None:
    clean = torch.rand(6, 6, 2)
    patches = Patches(torch.full((1, 2, 2, 2), 9.0), torch.tensor([3]), torch.tensor([2]))
    found = widened(clean, patches, torch.tensor([2]), torch.tensor([1]), (4, 4))
    assert bool((found[0, 1:3, 1:3] == 9).all())
    assert torch.equal(found[0, 0], clean[2, 1:5])


@pytest.mark.parametrize("name", LOCAL)
def test_following_the_middle_only(name: str) -> None:
    """Every cap runs at every place, and 1.0 is exact; what is left out makes answers less like the exact ones."""
    image = pictures(1, size=(SIDE, SIDE))
    prepared = prepare(Classifier(LOCAL[name].eval()), image)
    places = torch.arange(0, SIDE - 5, 3)
    top, left = (grid.flatten() for grid in torch.meshgrid(places, places, indexing="ij"))
    values = torch.ones(1, 3, 6, 6)
    engine = Incremental(prepared, image, (6, 6))
    exact = engine.logits(values, top, left)
    for cap in (0.2, 0.4, 0.7, 0.9):
        found = engine.capped(cap).logits(values, top, left)
        assert bool(torch.isfinite(found).all())
    assert torch.equal(engine.capped(1.0).logits(values, top, left), exact)
    assert float((found - exact).abs().max()) <= 0.5 * float(exact.std(0).max() + exact.abs().max())


def test_an_approximation_is_used_only_when_it_is_close() -> None:
    image = pictures(1, size=(64, 64))
    deep = Net(*[layer for k in range(6) for layer in (conv(3 if k == 0 else 6, 6, 5, padding=2), nn.ReLU())])
    prepared = prepare(Classifier(deep), image)
    exact = Incremental(prepared, image, (4, 4))
    top = left = torch.arange(0, 60, 4)

    def answers(engine: Incremental) -> Tensor:
        return engine.logits(torch.ones(1, 3, 4, 4), top, left)

    engine, note = follow_the_middle(exact, answers)
    assert engine.cap < 1
    assert "correlates" in note
    wrong = {id(exact): torch.rand(15, 3)}
    same, note = follow_the_middle(exact, lambda e: wrong.get(id(e), torch.rand(15, 3)))
    assert same is exact
    assert "followed to its border" in note


def test_a_single_row_leaves_the_clean_maps_alone() -> None:
    image = pictures(1, size=(SIDE, SIDE))
    engine = Incremental(prepare(Classifier(LOCAL["plain"].eval()), image), image, (4, 4))
    top, left = torch.tensor([3, 20]), torch.tensor([25, 8])
    values = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    both = engine.logits(values, top, left)
    single = [engine.logits(values[k : k + 1], top[k : k + 1], left[k : k + 1]) for k in (0, 1)]
    torch.testing.assert_close(torch.cat(single), both, rtol=0, atol=1e-6)
    torch.testing.assert_close(engine.logits(values, top, left), both, rtol=0, atol=1e-6)
