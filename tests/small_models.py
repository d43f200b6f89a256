"""Small networks that the tests use everywhere: deterministic, in evaluation mode, for images of 3 x 16 x 16."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = 16
PATCH = 4
GRID = SIZE // PATCH


def pictures(count: int = 3, *, channels: int = 3, size: tuple[int, int] = (SIZE, SIZE), seed: int = 0) -> Tensor:
    """Return (count, channels, H, W) noise in [0, 1], the first of them the same for every count."""
    rows = [torch.rand(channels, *size, generator=torch.Generator().manual_seed(1000 * seed + k)) for k in range(count)]
    return torch.stack(rows)


def randomise(module: nn.Module, seed: int = 0, scale: float = 1.0) -> nn.Module:
    """Give every weight and every statistic of a norm a fixed random value, and put the module into eval mode."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 4
            parameter.copy_(torch.randn(parameter.shape, generator=source) * scale / fan_in**0.5)
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.copy_(0.3 * torch.randn(part.running_mean.shape, generator=source))
                part.running_var.copy_(0.5 + torch.rand(part.running_var.shape, generator=source))
                part.weight.copy_(0.5 + torch.rand(part.weight.shape, generator=source))
    return module.eval()


class LinearModel(nn.Module):
    """Class scores are a linear function of the pixels: no layer is a map."""

    def __init__(self, classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(3 * SIZE * SIZE, classes)
        randomise(self, seed)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.flatten(images))


class Quadratic(nn.Module):
    """Class scores are a quadratic function of the pixels, so that integration rules show their errors."""

    def __init__(self, classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        self.curve = nn.Linear(3 * SIZE * SIZE, classes, bias=False)
        self.slope = nn.Linear(3 * SIZE * SIZE, classes)
        randomise(self, seed)

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return self.curve(flat.square()) / 2 + self.slope(flat)


class GapCnn(nn.Module):
    """conv, ReLU, pool, conv, ReLU, global average pooling, linear with bias; `relu` None is the plain function."""

    def __init__(
        self, classes: int = 4, seed: int = 0, relu: Callable[[], nn.Module] | None = nn.ReLU, width: int = 6
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 5, 3, padding=1)
        self.relu1 = relu() if relu else F.relu
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(5, width, 3, padding=1)
        self.relu2 = relu() if relu else F.relu
        self.head = nn.Linear(width, classes)
        randomise(self, seed, scale=2.0)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.relu1(self.conv1(images))
        maps = self.relu2(self.conv2(self.pool(maps)))
        return self.head(maps.mean((2, 3)))


def fragile(share: float = 1.0) -> GapCnn:
    """Return a network whose answers to `pictures` lie near their borders: attacks fool it, unlike a random one."""
    net = GapCnn().eval()
    with torch.no_grad():
        net.head.bias -= share * net(pictures(24)).mean(0)
    return net


def inplace_relu() -> nn.Module:
    """Return a ReLU that overwrites what it is given."""
    return nn.ReLU(inplace=True)


def relu_twins() -> dict[str, nn.Module]:
    """Return networks with the same weights and the ReLU as a module, in place, and as a function."""
    return {
        "module": GapCnn(relu=nn.ReLU),
        "in place": GapCnn(relu=inplace_relu),
        "functional": GapCnn(relu=None),
    }


class InplaceFirst(nn.Module):
    """The first layer overwrites its input, which must not be the caller's."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.ReLU6(inplace=True)
        self.scale = nn.Hardtanh(0.25, 0.75, inplace=True)
        self.rest = GapCnn()

    def forward(self, images: Tensor) -> Tensor:
        return self.rest(self.scale(self.first(images)))


class ReusedModule(nn.Module):
    """One ReLU called three times and one convolution twice; the layer before the pooling runs once."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3, padding=1)
        self.twice = nn.Conv2d(5, 5, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.Conv2d(5, 6, 3, padding=1, stride=2)
        self.head = nn.Linear(6, 4)
        randomise(self, seed, scale=2.0)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.relu(self.stem(images))
        maps = self.relu(self.twice(maps)) + self.twice(maps)
        return self.head(self.relu(self.last(maps)).mean((2, 3)))


class BatchNormNet(nn.Module):
    """Batch norm with statistics of its own, and dropout: training mode answers otherwise and changes the model."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 6, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
        )
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(6, 4)
        randomise(self, seed, scale=2.0)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.dropout(self.body(images).mean((2, 3))))


class Answer:
    """An object with `.logits`, as transformers return one."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        self.hidden_states = None


class Returns(nn.Module):
    """A network that returns its logits as something else than a tensor."""

    def __init__(self, shape: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.net = GapCnn()
        self.shape = shape

    def forward(self, images: Tensor) -> Any:
        return self.shape(self.net(images))


def as_tuple(logits: Tensor) -> Any:
    """Return logits with an auxiliary output."""
    return logits, logits.mean()


def as_dict(logits: Tensor) -> Any:
    """Return logits under their name, behind something else."""
    return {"loss": logits.new_zeros(()), "logits": logits}


class Ends(nn.Module):
    """A model with something behind it."""

    def __init__(self, net: nn.Module, end: Any) -> None:
        super().__init__()
        self.net, self.end = net, end

    def forward(self, images: Tensor) -> Any:
        return self.end(self.net(images))


class OneLogit(nn.Module):
    """One output: how much the second class is likelier than the first."""

    def __init__(self, *, flat: bool = False, sign: float = 1.0) -> None:
        super().__init__()
        self.net = GapCnn(classes=1)
        self.flat, self.sign = flat, sign

    def forward(self, images: Tensor) -> Tensor:
        logits = self.sign * self.net(images)
        return logits[:, 0] if self.flat else logits


class SigmoidHead(nn.Module):
    """Ends in a sigmoid: probabilities, each class by itself."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.net = GapCnn(classes=classes)

    def forward(self, images: Tensor) -> Tensor:
        return torch.sigmoid(self.net(images))


class Divide(nn.Module):
    """0 / 0 in the middle of a network."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps / (maps * 0)


class NaNModel(nn.Module):
    """Answers NaN: by one weight, or by the output of the layer `middle`."""

    def __init__(self, *, weight: bool = False) -> None:
        super().__init__()
        self.net = GapCnn()
        self.net.relu1 = nn.Sequential(nn.ReLU(), nn.Identity() if weight else Divide())
        if weight:
            with torch.no_grad():
                self.net.conv2.weight[0, 0, 0, 0] = torch.nan

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)


class DetachModel(nn.Module):
    """Blocks gradients between its maps and its answer: by `detach`, or by `no_grad` around the maps."""

    def __init__(self, how: str = "detach") -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)
        self.how = how
        randomise(self)

    def forward(self, images: Tensor) -> Tensor:
        if self.how == "detach":
            return self.head(self.conv(images).relu().mean((2, 3)).detach())
        with torch.no_grad():
            pooled = self.conv(images).relu().mean((2, 3))
        return self.head(pooled)


class InjectedError(RuntimeError):
    """What a `Raiser` raises."""


class Counter:
    """Counts calls, together with all copies of the layer that holds it."""

    def __init__(self) -> None:
        self.calls = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> "Counter":
        return self


class Raiser(nn.Module):
    """A layer that works for its first `after` calls and raises from then on."""

    def __init__(self, inner: nn.Module, after: int = 0) -> None:
        super().__init__()
        self.inner, self.after, self.counter = inner, after, Counter()

    def forward(self, images: Tensor) -> Tensor:
        self.counter.calls += 1
        if self.counter.calls > self.after:
            raise InjectedError("injected")
        return self.inner(images)


def with_raiser(module: nn.Module, name: str, after: int = 0) -> tuple[nn.Module, Raiser]:
    """Return a copy of a network in which the layer `name` raises after some calls."""
    module = copy.deepcopy(module)
    parent, _, child = name.rpartition(".")
    raiser = Raiser(module.get_submodule(name), after)
    setattr(module.get_submodule(parent), child, raiser)
    return module.eval(), raiser


def leaves(module: nn.Module) -> list[str]:
    """Return the names of the layers without layers inside."""
    return [name for name, part in module.named_modules() if name and not any(True for _ in part.children())]


def float64_twin(module: nn.Module) -> nn.Module:
    """Return a copy that computes in float64."""
    return copy.deepcopy(module).double()


class PlantedCnn(nn.Module):
    """Class 1 is the amount of bright red in the image, wherever it is; nothing else counts."""

    def __init__(self) -> None:
        super().__init__()
        self.red = nn.Conv2d(3, 2, 1)
        self.relu1 = nn.ReLU()
        self.smooth = nn.Conv2d(2, 2, 3, padding=1)
        self.relu2 = nn.ReLU()
        self.head = nn.Linear(2, 2)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            self.red.weight[0, :, 0, 0] = torch.tensor([1.0, -1.0, -1.0])  # channel 0: red
            self.red.weight[1, :, 0, 0] = 1 / 3  # channel 1: brightness, which no class reads
            self.smooth.weight[0, 0] = self.smooth.weight[1, 1] = torch.full((3, 3), 1 / 9)
            self.head.weight[1, 0] = 10.0
            self.head.weight[0, 0] = -10.0
            self.head.bias[0] = 0.2
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        maps = self.relu2(self.smooth(self.relu1(self.red(images))))
        return self.head(maps.mean((2, 3)))


def red_square(top: int, left: int, side: int = 4, *, seed: int = 0) -> Tensor:
    """Return one grey noise image (1, 3, H, W) with a bright red square."""
    grey = pictures(1, channels=1, seed=seed) * 0.6 + 0.2
    image = grey.repeat(1, 3, 1, 1)
    image[0, :, top : top + side, left : left + side] = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    return image


def planted_gate(place: int) -> Tensor:
    """Return (GRID * GRID,) with 0 at one patch and -1 elsewhere: what a brightness in [0, 1] cannot overcome."""
    gate = torch.full((GRID * GRID,), -1.0)
    gate[place] = 0.0
    return gate


class Embed(nn.Module):
    """Patches become three features: brightness plus the gate, brightness, and a constant."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 3, PATCH, stride=PATCH)
        self.position = nn.Parameter(torch.zeros(GRID * GRID, 3))
        with torch.no_grad():
            self.patches.weight.fill_(1 / (3 * PATCH * PATCH))
            self.patches.weight[2].zero_()
            self.patches.bias.copy_(torch.tensor([0.0, 0.0, 1.0]))
            self.position[:, 0] = planted_gate(place)

    def forward(self, images: Tensor) -> Tensor:
        return self.patches(images).flatten(2).transpose(1, 2) + self.position


class Mix(nn.Module):
    """Attention with fixed weights: every token becomes the mean of all; tokens are the second axis."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1, keepdim=True).expand_as(tokens).clone()


def planted_head(extra: int) -> nn.Linear:
    """Return a head whose class 1 reads the gated brightness alone."""
    head = nn.Linear(3, 2)
    with torch.no_grad():
        head.weight.zero_()
        head.weight[1, 0] = float(GRID * GRID + extra)
        head.bias.copy_(torch.tensor([0.01, 0.0]))
    return head


class PlantedViT(nn.Module):
    """Class token, patch tokens and a head on the class token; class 1 is the brightness of the patch `place` alone."""

    def __init__(self, place: int = 5, registers: int = 0) -> None:
        super().__init__()
        self.embed = Embed(place)
        self.extra = nn.Parameter(torch.zeros(1, 1 + registers, 3))
        self.block = nn.ReLU()
        self.mix = Mix()
        self.head = planted_head(1 + registers)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embed(images)
        tokens = self.block(torch.cat([self.extra.expand(len(tokens), -1, -1), tokens], 1))
        return self.head(self.mix(tokens)[:, 0])


class Attend(nn.Module):
    """One head of attention; every token looks at the one with the largest first feature."""

    def __init__(self, how: str = "fused", sharpness: float = 16.0) -> None:
        super().__init__()
        self.how = how
        self.qkv, self.out = nn.Linear(3, 9), nn.Linear(3, 3)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            self.qkv.bias[0] = sharpness  # queries are constant
            self.qkv.weight[3, 0] = 1.0  # keys are the first feature
            self.qkv.weight[6:] = torch.eye(3)  # values are the tokens
            self.out.weight.copy_(torch.eye(3))
        if how == "module":
            self.inner = nn.MultiheadAttention(3, 1, batch_first=True)
            self.inner.in_proj_weight.data, self.inner.in_proj_bias.data = self.qkv.weight.data, self.qkv.bias.data
            self.inner.out_proj.weight.data, self.inner.out_proj.bias.data = self.out.weight.data, self.out.bias.data

    def forward(self, tokens: Tensor) -> Tensor:
        if self.how == "module":
            return self.inner(tokens, tokens, tokens, need_weights=False)[0]
        query, key, value = self.qkv(tokens)[:, None].chunk(3, -1)
        if self.how == "fused":
            return self.out(F.scaled_dot_product_attention(query, key, value)[:, 0])
        weights = (query @ key.transpose(-2, -1) / 3**0.5).softmax(-1)
        return self.out((weights @ value)[:, 0])


class PlantedAttention(PlantedViT):
    """As PlantedViT, with attention that finds the gated patch; what each token is follows a skip connection."""

    def __init__(self, place: int = 5, registers: int = 0, how: str = "fused") -> None:
        super().__init__(place, registers)
        self.mix = nn.Identity()
        self.attend = Attend(how)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embed(images)
        tokens = self.block(torch.cat([self.extra.expand(len(tokens), -1, -1), tokens], 1))
        return self.head(self.mix(tokens + self.attend(tokens))[:, 0])


class WindowMean(nn.Module):
    """Shifts each patch half-way to the mean of its 2 x 2 window, in maps with channels last (N, h, w, C)."""

    def forward(self, maps: Tensor) -> Tensor:
        count, rows, columns, channels = maps.shape
        windows = maps.view(count, rows // 2, 2, columns // 2, 2, channels)
        mean = windows.mean((2, 4), keepdim=True)
        return (0.5 * windows + 0.5 * mean).reshape(maps.shape)


class PlantedSwin(nn.Module):
    """Maps with channels last and windows, no class token; class 1 is the brightness of the patch `place` alone."""

    def __init__(self, place: int = 5) -> None:
        super().__init__()
        self.embed = Embed(place)
        self.block = nn.ReLU()
        self.window = WindowMean()
        self.head = planted_head(0)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        maps = self.embed(images).unflatten(1, (GRID, GRID))
        return self.head(self.window(self.block(maps)).mean((1, 2)))


def patch_of(row: float, column: float) -> int:
    """Return the number of the patch that a pixel lies in."""
    return int(row) // PATCH * GRID + int(column) // PATCH


@dataclass(frozen=True)
class Case:
    """A network for the conformance tests: how to build it, and what it has that a method may need."""

    build: Callable[[], nn.Module]
    has: frozenset[str] = frozenset({"gradients", "maps"})
    settings: dict[str, Any] = field(default_factory=dict)


_NO_MAPS = frozenset({"gradients"})
_NOTHING: frozenset[str] = frozenset()  # maps are found by their gradient, so without gradients there are none
_TOKENS = frozenset({"gradients", "maps", "tokens"})
CASES: dict[str, Case] = {
    "gap": Case(GapCnn),
    "in place": Case(lambda: GapCnn(relu=inplace_relu)),
    "functional": Case(lambda: GapCnn(relu=None)),
    "first in place": Case(InplaceFirst),
    "reused": Case(ReusedModule),
    "batch norm": Case(BatchNormNet),
    "tuple": Case(lambda: Returns(as_tuple).eval()),
    "dict": Case(lambda: Returns(as_dict).eval()),
    "object": Case(lambda: Returns(Answer).eval()),
    "one logit": Case(lambda: OneLogit().eval()),
    "one logit, other sign": Case(lambda: OneLogit(flat=True, sign=-1.0).eval()),
    "sigmoid": Case(lambda: SigmoidHead().eval(), settings={"task": "multilabel", "output": "probabilities"}),
    "planted cnn": Case(PlantedCnn),
    "planted vit": Case(PlantedViT, _TOKENS),
    "planted attention": Case(PlantedAttention, _TOKENS | {"attention"}),
    "planted swin": Case(PlantedSwin),
    "linear": Case(LinearModel, _NO_MAPS),
    "quadratic": Case(Quadratic, _NO_MAPS),
    "detach": Case(lambda: DetachModel("detach"), _NOTHING),
    "no_grad": Case(lambda: DetachModel("no_grad"), _NOTHING),
}
