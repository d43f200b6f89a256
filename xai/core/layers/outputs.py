"""Outputs of all layers in one forward pass. Also measured: the share of the prediction that passes through a layer."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from xai.core.layers.layouts import Layout, Size, possible_layouts
from xai.core.model.classifier import Classifier
from xai.core.model.hooks import hooked
from xai.core.results.message import Message
from xai.core.runtime.batching import first_tensor, tensors_in, with_tensor
from xai.core.task.evidence import probe_images
from xai.errors import NonFiniteError

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

    @cached_property
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
    scores = scores_of(classifier, head, run)
    return scores.amax() if head is None else _mixture(scores)


def scores_of(classifier: Classifier, head: str | None, run: Callable[[], Tensor]) -> Tensor:
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


_LOOKS = (2, 4, 6)  # a texture, disks, a photograph
_ROUNDING = 16  # units of rounding of the scores: a smaller change says nothing
_NEXT_TO_NONE = 1e-3
_MOST = 0.9  # below, the map leaves out what should be told
_OF_A_CLASS, _MUCH = 0.5, 0.02  # the same of one class; change of its score, as a share of the largest
_ALL = 0.99  # below, branches pass by a layer
_TOKENS = 0.1  # the same where there are class tokens: these carry on by themselves what they took from places before


@dataclass(frozen=True)
class LayerShare:
    """The share of the class scores' change between images that passes through a layer.

    Attributes:
        value: from 0 to 1; None where scores are the same for all images, so that nothing can be measured.
        tokens: whether the layer has class or register tokens beside its places.
        least: the class of which least passes, of those whose score changes much, and how much of it passes.
        most: the share of the class of which most passes.
    """

    value: float | None = None
    tokens: bool = False
    least: tuple[int, float] | None = None
    most: float | None = None

    @property
    def next_to_none(self) -> bool:
        """Whether no class's score depends on it."""
        return self.most is not None and self.most < _NEXT_TO_NONE

    @property
    def enough(self) -> bool:
        """Whether nothing is to be said of it."""
        most = self.value is None or self.value >= (_TOKENS if self.tokens else _MOST)
        return most and (self.tokens or self.least is None or self.least[1] >= _OF_A_CLASS)

    @property
    def ordinary(self) -> bool:
        """Whether it is that of a layer that no branch passes by."""
        return self.value is None or self.value >= (_TOKENS if self.tokens else _ALL)

    @property
    def whole(self) -> bool:
        """Whether all passes through, class tokens or not."""
        return self.value is not None and self.value >= _ALL

    def describe(self) -> Message:
        """Return it in words."""
        if self.value is not None and self.value >= _MOST and self.least is not None:
            number, share = self.least
            return Message(
                "only {percent:.2g}% of the change of the score of class {number} between images passes through it",
                percent=100 * share,
                number=number,
            )
        return Message(
            "only {percent:.2g}% of the change of the class scores between images passes through it",
            percent=100 * (self.value or 0),
        )


UNMEASURED = LayerShare()
EVERYTHING = LayerShare(1.0, least=(0, 1.0), most=1.0)


@dataclass(frozen=True)
class LayerChoice:
    """A layer whose output is a map of the image.

    Attributes:
        name: as in `module.named_modules()`.
        layout: where the places are in its output.
        reason: why it was chosen, in words.
        tensor: which of the tensors in its output, see `containers.tensors_in`.
        share: how much of the change of the class scores between images passes through it.
        passed_over: the evidence against a later layer, in words.
    """

    name: str
    layout: Layout
    reason: str
    tensor: int = 0
    share: LayerShare = field(default=UNMEASURED, compare=False)
    passed_over: str = ""

    @property
    def notes(self) -> list[str]:
        """What is to be known of it, in words."""
        notes: list[str] = [Message("layer {name!r}: {reason}", name=self.name, reason=self.reason)]
        if not self.share.enough:
            share = self.share.describe()
            notes.append(
                Message("layer {name!r}: {share}: the map does not show the rest", name=self.name, share=share)
            )
        return [*notes, self.passed_over] if self.passed_over else notes


def spread_images(channels: int, size: tuple[int, int], image: Tensor | None) -> Tensor:
    """Return three images (3, C, H, W) to exchange outputs between, made of `image` (1, C, H, W) where it is given."""
    if image is None:
        return probe_images(channels, size)[list(_LOOKS)]
    return torch.cat([image, 1 - image, image.flip(2, 3)])


def share_through(
    scores_of: Callable[[Tensor], Tensor], layer: nn.Module, tensor: int, layout: Layout, images: Tensor
) -> LayerShare:
    """Return how much of the change of the answer between images passes through the places of a layer.

    Each image runs again with the places of the next image at the layer. With f the answer to an image, f' that to the
    next and g that with the next one's places, the share is |g - f| / (|g - f| + |f' - g|) over all images and
    scores: 1 where the answer depends on the places alone, 0 where it does not depend on them.

    Args:
        scores_of: scores (1, K) of an image (1, C, H, W), without gradients.
        layer: whose output is exchanged.
        tensor: which of the tensors in it, see `containers.tensors_in`.
        layout: where the places are in it; class and register tokens are left as they are.
        images: (N, C, H, W).

    Cost: two forwards of each image.
    """
    try:
        plain, outputs, precision = _heard(scores_of, layer, tensor, images)
        mixed = torch.cat([_exchanged(scores_of, layer, tensor, layout, *pair) for pair in _pairs(images, outputs)])
    except NonFiniteError:
        return UNMEASURED
    after = plain.roll(-1, 0)
    floor = _ROUNDING * precision * float(plain.abs().max())
    return _share((mixed - plain).norm(dim=0), (after - mixed).norm(dim=0), floor, tokens=bool(layout.extra))


def _share(here: Tensor, beside: Tensor, floor: float, *, tokens: bool) -> LayerShare:
    """Return the share of what changes through a layer (K,) in that and what changes beside it (K,)."""
    whole, through = float(here.norm() + beside.norm()), float(here.norm())
    if whole <= floor:
        return LayerShare(None, tokens)
    each = here / (here + beside).clamp_min(floor or 1e-30)
    counts = here + beside >= _MUCH * float((here + beside).max())
    number = int(torch.where(counts, each, torch.inf).argmin())
    return LayerShare(through / whole, tokens, (number, float(each[number])), float(each[counts].max()))


def _heard(
    scores_of: Callable[[Tensor], Tensor], layer: nn.Module, tensor: int, images: Tensor
) -> tuple[Tensor, list[Tensor], float]:
    """Return the answers (N, K), what the layer returned for each image, and the unit of rounding of the answers."""
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        outputs.append(tensors_in(output)[tensor].clone())

    with hooked(layer, keep):
        scores = [scores_of(image[None].clone()) for image in images]
    return torch.cat(scores).double(), outputs, torch.finfo(scores[0].dtype).eps


def _pairs(images: Tensor, outputs: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return each image with what the layer returned for the next one."""
    return list(zip(images, [*outputs[1:], *outputs[:1]], strict=True))


def _exchanged(
    scores_of: Callable[[Tensor], Tensor],
    layer: nn.Module,
    tensor: int,
    layout: Layout,
    image: Tensor,
    other: Tensor,
) -> Tensor:
    """Return the answer (1, K) to an image with the places of another one at the layer."""

    def exchange(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        here = tensors_in(output)[tensor]
        return with_tensor(output, here, layout.exchanged(here, other))

    with hooked(layer, exchange):
        return scores_of(image[None].clone()).double()
