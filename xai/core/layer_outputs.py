"""What every layer of a model returns in one forward, and what the model's answer is then."""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from xai.core.classifier import Classifier
from xai.core.containers import first_tensor, tensors_in
from xai.core.hooks import hooked
from xai.core.layouts import Layout, Size, possible_layouts

_POOLS = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.LPPool2d,
    nn.FractionalMaxPool2d,
)
_PADS = (nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.CircularPad2d)  # a border is no place
_MAPS = frozenset({"Conv2d", "ConvTranspose2d", "ConvReLU2d", "BatchNorm2d", "InstanceNorm2d", "GroupNorm", "Upsample"})
_MAP_NODES = (
    *("Convolution", "MkldnnConvolution", "NativeBatchNorm", "CudnnBatchNorm", "NativeGroupNorm", "PixelShuffle"),
    *("MaxPool2D", "AvgPool2D", "AdaptiveAvgPool2D", "AdaptiveMaxPool2D", "Upsample", "ReflectionPad2D"),
)
_SAME_AXES = (
    *("Add", "Sub", "Rsub", "Mul", "Div", "Neg", "Abs", "Pow", "Exp", "Sqrt", "Where", "Cat", "Clone", "ToCopy"),
    *("Relu", "LeakyRelu", "Prelu", "Elu", "Celu", "Selu", "Gelu", "Silu", "Mish", "Sigmoid", "Tanh", "Hard"),
    *("Softplus", "Clamp", "NativeDropout", "ConstantPadNd", "Maximum", "Minimum"),
)
_MOST_NODES = 500


@dataclass(frozen=True, eq=False)
class LayerOutput:
    """One tensor that a module returned.

    Attributes:
        name: of the module.
        module: itself.
        tensor: the tensor.
        index: which of the tensors in the module's output, see `containers.tensors_in`.
        source: the first tensor that went in.
    """

    name: str
    module: nn.Module
    tensor: Tensor
    index: int
    source: Tensor | None

    @property
    def key(self) -> tuple[str, int]:
        """Name and index."""
        return self.name, self.index

    @property
    def depth(self) -> int:
        """How many modules the module is inside."""
        return self.name.count(".")

    def layouts(self, size: Size) -> list[Layout]:
        """Return the layouts that are possible for images of a size: (N, C, h, w) alone where that is certain."""
        shape = self.tensor.shape
        if len(shape) == 4 and (makes_maps(self.module) or _follows_maps(self.tensor)):
            return [Layout("maps", (shape[2], shape[3]))] if shape[0] == 1 and min(shape[2:]) > 1 else []
        return possible_layouts(shape, 1, size)


@dataclass(frozen=True, eq=False)
class Forward:
    """One forward of one image.

    Attributes:
        outputs: of the modules that ran exactly once, in the order in which they finished.
        logits: (1, K).
        often: how many times a convolution ran, at most.
    """

    outputs: list[LayerOutput]
    logits: Tensor
    often: int = 1

    @property
    def several(self) -> str:
        """Say that layers see an image several times, as with tiles or turned copies: then none has one map of it."""
        if self.often > 1:
            return f"its convolutions run {self.often} times for one image, on parts, copies or sizes of it"
        pieces = {len(item.tensor) for item in self.outputs if makes_maps(item.module)} - {1}
        return f"its convolutions take {max(pieces)} parts or copies of the image at once" if pieces else ""

    @property
    def head(self) -> str | None:
        """The last linear layer, when the answer is its output and its weights are still zero, else None."""
        heads = [
            item
            for item in self.outputs
            if isinstance(item.module, nn.Linear) and item.tensor.shape == self.logits.shape
        ]
        if not heads or heads[-1].source is None or bool(torch.as_tensor(heads[-1].module.weight).any()):
            return None
        return heads[-1].name

    @property
    def score(self) -> Tensor:
        """What the answer depends on: its best logit, or what enters a head that is still zero."""
        sources = [item.source for item in self.outputs if item.name == self.head]
        return self.logits.amax() if not sources or sources[0] is None else _mixture(sources[0])

    def candidates(self, size: Size) -> list[list[LayerOutput]]:
        """Return the tensors that may be maps, last first, each with the layers that return it, the best name first.

        Left out: pooling behind the last map, borders, and the inner widths of transformers.
        """
        groups = [group for group in self.tensors() if group[0].layouts(size)]
        skipped = (*_POOLS, *_PADS)
        groups = [group for group in groups if not any(isinstance(item.module, skipped) for item in group)]
        return [group for group in groups if not _inner_width(group[0].tensor, groups)][::-1]

    def tensors(self) -> list[list[LayerOutput]]:
        """Return the tensors, each with the layers that return it: the outermost first, of those the last.

        An in-place ReLU and its convolution count as one; modules that only hand on come last.
        """
        groups: dict[tuple[int, torch.Size], list[LayerOutput]] = {}
        for item in self.outputs:
            key = (item.tensor.data_ptr() or id(item.tensor), item.tensor.shape)
            groups[key] = [item, *groups.pop(key, [])]
        return [sorted(g, key=lambda o: (isinstance(o.module, nn.Identity), o.depth)) for g in groups.values()]


def run_forward(classifier: Classifier, image: Tensor) -> Forward:
    """Return what each layer returns for one image, with the graph when gradients are on."""
    outputs: list[LayerOutput] = []
    calls: Counter[str] = Counter()

    def keep(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        calls[name] += 1
        source = first_tensor(inputs)
        tensors = [(k, tensor) for k, tensor in enumerate(tensors_in(output)) if _is_number(tensor)]
        outputs.extend(LayerOutput(name, module, tensor, k, source) for k, tensor in tensors)

    with ExitStack() as stack:
        for name, module in classifier.module.named_modules():
            if name:
                stack.enter_context(hooked(module, partial(keep, name)))
        logits = classifier.raw_logits(image.to(classifier.device).requires_grad_(torch.is_grad_enabled()))
    often = max((calls[item.name] for item in outputs if makes_maps(item.module)), default=1)
    return Forward([item for item in outputs if calls[item.name] == 1], logits, often)


def score(classifier: Classifier, head: str | None, run: Callable[[], Tensor]) -> Tensor:
    """Return the same as `Forward.score` for another forward."""
    found = answer(classifier, head, run)
    return found.amax() if head is None else _mixture(found)


def answer(classifier: Classifier, head: str | None, run: Callable[[], Tensor]) -> Tensor:
    """Return what `run()` returns, or what enters the head in it where its weights are still zero."""
    if head is None:
        return run()
    sources: list[Tensor] = []

    def keep(_module: nn.Module, inputs: Any, _output: Any) -> None:
        sources.extend(tensors_in(inputs)[:1])

    with hooked(classifier.module.get_submodule(head), keep):
        run()
    return sources[0]


def _mixture(features: Tensor) -> Tensor:
    return (features * torch.rand(features.shape, generator=torch.Generator().manual_seed(0)).to(features)).sum()


def _is_number(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_quantized


def _inner_width(tensor: Tensor, groups: list[list[LayerOutput]]) -> bool:
    """Return True for tokens of another width than most tensors of as many tokens have, batch or sequence first."""
    if tensor.ndim != 3:
        return False
    shapes = [group[0].tensor.shape for group in groups if group[0].tensor.ndim == 3]
    widths = [shape[2] for shape in shapes if set(shape[:2]) == set(tensor.shape[:2])]
    return tensor.shape[2] != max(set(widths), key=widths.count)


def makes_maps(module: nn.Module) -> bool:
    """Return True for a layer whose output of four axes is (N, C, h, w) by definition, quantised ones too."""
    return isinstance(module, (*_POOLS, *_PADS)) or any(kind.__name__ in _MAPS for kind in type(module).__mro__)


def _follows_maps(tensor: Tensor) -> bool:
    """Return True when the graph leads from a tensor to a convolution, norm or pooling of maps and keeps all axes."""
    waiting, seen = [tensor.grad_fn], set[Any]()
    while waiting and len(seen) < _MOST_NODES:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name().startswith(_MAP_NODES):
            return True
        if node.name().startswith(_SAME_AXES):
            waiting.extend(before for before, _ in node.next_functions)
    return False
