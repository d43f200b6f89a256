"""Which layer shows where: found by running the network, proved by shape, gradient and perturbation, and said aloud."""

import weakref
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from xai.core.classifier import Classifier
from xai.core.hooks import borrowed, first_tensor, gradients_on, parts_of
from xai.core.layouts import Layout, Size, possible_layouts
from xai.errors import NameLookupError, UnsupportedModelError

_POOLS = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.LPPool2d,
    nn.FractionalMaxPool2d,
)
_PADS = (nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.CircularPad2d)  # a border is no place
_TRIES = 24  # layers looked at from the end
_CHECKED = "checked by gradient and by moving a patch"
_FAILED = "did NOT pass the check by moving a patch: see whether the map makes sense"
_MOVES = 0.03  # how far the response must move when the evidence does, as a share of the map
_known: "weakref.WeakKeyDictionary[nn.Module, dict[Any, LayerChoice]]" = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class LayerChoice:
    """A layer whose output is a map of the picture.

    Attributes:
        name: as in `module.named_modules()`.
        layout: where the places are in its output.
        reason: why it was chosen, in words.
    """

    name: str
    layout: Layout
    reason: str


@dataclass(frozen=True, eq=False)
class _Ran:
    """One module's call: what went in and out, and whether a pooling made it."""

    name: str
    module: nn.Module
    source: Tensor | None
    output: Tensor
    pooled: bool


def find_layer(classifier: Classifier, inputs: Tensor, name: str | None = None) -> LayerChoice:
    """Return the layer to look at: the last one that still is a map of the picture and that the answer depends on.

    Layers are tried from the end. One is taken when its output has the shape of a map, the class score has a gradient
    at most of its places, and its response moves where a patch in the picture moves. Where none passes, as on small
    pictures that a few large cells cover, the last one with a gradient is taken, and said so. Remembered per module
    and size.

    Args:
        classifier: the model, borrowed or not.
        inputs: (N, C, h, w); only the size counts.
        name: a layer to use instead; it is checked in the same way.

    Raises:
        NameLookupError: no layer of that name; near ones are suggested.
        UnsupportedModelError: no layer is a map of the picture, or the named one is not.

    Cost:
        Two forwards of five small pictures and one backward, the first time.
    """
    key = (name, tuple(inputs.shape[1:]), tuple(map(id, parts_of(classifier.module))))
    table = _known.setdefault(classifier.module, {})
    if key not in table:
        names = [known for known, _ in classifier.module.named_modules() if known]
        if name is not None and name not in names:
            raise NameLookupError("layer", name, names)
        with borrowed(classifier.module), gradients_on():
            table[key] = _search(classifier, (inputs.shape[2], inputs.shape[3]), name)
    return table[key]


def spatial_layers(classifier: Classifier, inputs: Tensor) -> list[str]:
    """Return the names of all layers whose output has the shape of a map, first to last."""
    size = (int(inputs.shape[2]), int(inputs.shape[3]))
    with borrowed(classifier.module), torch.no_grad():
        ran, _ = _run(classifier, _probe(classifier, size)[:1])
    return [item.name for item in _one_name_each(ran) if possible_layouts(item.output.shape, 1, size)]


def spread_layers(classifier: Classifier, inputs: Tensor, most: int) -> list[str]:
    """Return the names of at most `most` layers that are maps, first to last.

    Of each size of map the last of the outermost ones is taken; then, while there is room, an outer one in the middle
    of the widest gap.
    """
    size = (int(inputs.shape[2]), int(inputs.shape[3]))
    with borrowed(classifier.module), torch.no_grad():
        ran, logits = _run(classifier, _probe(classifier, size))
    items = _candidates(ran, size)[::-1]
    grids = [possible_layouts(item.output.shape, len(logits), size)[0].grid for item in items]
    depths = [item.name.count(".") for item in items]
    best: dict[Size, int] = {}
    for k, grid in enumerate(grids):
        if depths[k] <= depths[best.get(grid, k)]:
            best[grid] = k
    chosen = sorted(best.values())[-most:]
    while len(chosen) < min(most, len(items)):
        first, last = max(pairwise([-1, *chosen]), key=lambda gap: gap[1] - gap[0])
        middle = min(range(first + 1, last), key=lambda k: (depths[k], abs(2 * k - first - last)))
        chosen = sorted([*chosen, middle])
    return [items[k].name for k in chosen]


def _search(classifier: Classifier, size: tuple[int, int], name: str | None) -> LayerChoice:
    probe = _probe(classifier, size)
    ran, logits = _run(classifier, probe)
    if name is not None:
        return _check_named(name, ran, logits, size)
    score = _score(ran, logits)
    candidates = _candidates(ran, size)[:_TRIES]
    for item in candidates:
        layout = _proved(item, score, size)
        if layout is not None:
            found = f"the last layer that is a map of the picture: {layout.describe()}"
            return LayerChoice(item.name, layout, f"{found}, {_CHECKED}")
    for item in candidates:
        layouts = possible_layouts(item.output.shape, len(logits), size)
        if [layout.kind for layout in layouts] == ["maps"] and _felt(item, score, layouts[0]):
            found = f"the last layer with the shape of a map: {layouts[0].describe()}"
            return LayerChoice(item.name, layouts[0], f"{found}; it {_FAILED}")
    if candidates and all(_slopes(item, score) is None for item in candidates):
        raise UnsupportedModelError(
            f"No gradient reaches any layer of {classifier.name!r} that is a map of the picture: its forward detaches "
            "them or runs them under no_grad. Use occlusion, or name a `layer` for a method without gradients."
        )
    raise UnsupportedModelError(
        f"No layer of {classifier.name!r} is a map of the picture that the answer depends on (input {size[0]} x "
        f"{size[1]}). Name a `layer`, or use occlusion."
    )


def _check_named(name: str, ran: list[_Ran], logits: Tensor, size: tuple[int, int]) -> LayerChoice:
    item = next((item for item in ran if item.name == name), None)
    if item is None:
        raise UnsupportedModelError(f"The layer {name!r} does not run exactly once in a forward. Name another `layer`.")
    layouts = possible_layouts(item.output.shape, len(logits), size)
    if not layouts:
        near = [other.name for other in _candidates(ran, size)[:4]]
        raise UnsupportedModelError(
            f"The output {tuple(item.output.shape[1:])} of layer {name!r} is no map of the picture. Layers that are: "
            f"{', '.join(near)}."
        )
    layout = _proved(item, _score(ran, logits), size)
    if layout is not None:
        return LayerChoice(name, layout, f"named by the caller: {layout.describe()}, {_CHECKED}")
    return LayerChoice(name, layouts[0], f"named by the caller: {layouts[0].describe()}; it {_FAILED}")


def _probe(classifier: Classifier, size: tuple[int, int]) -> Tensor:
    """Return a soft noise picture and four copies with a patch in one quarter each."""
    noise = torch.rand(1, classifier.channels, *size, generator=torch.Generator().manual_seed(0))
    probe = (0.5 + 0.2 * (noise - 0.5)).repeat(5, 1, 1, 1)
    patch = torch.rand(probe.shape[1:], generator=torch.Generator().manual_seed(1)).round()
    height, width = size
    for k in range(4):
        top, left = (k // 2) * height // 2 + height // 8, (k % 2) * width // 2 + width // 8
        window = (slice(None), slice(top, top + max(1, height // 4)), slice(left, left + max(1, width // 4)))
        probe[k + 1][window] = patch[window]
    return probe


def _run(classifier: Classifier, probe: Tensor) -> tuple[list[_Ran], Tensor]:
    """Return the modules that ran exactly once, in the order in which they finished, and the logits."""
    ran: list[_Ran] = []
    handles = []
    for name, module in classifier.module.named_modules():
        if not name:
            continue

        def keep(module: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
            found = first_tensor(output)
            if found is not None:
                ran.append(_Ran(name, module, first_tensor(inputs), found, isinstance(module, _POOLS)))

        handles.append(module.register_forward_hook(keep))
    try:
        logits = classifier.in_batches().raw_logits(probe.to(classifier.device).requires_grad_(torch.is_grad_enabled()))
    finally:
        for handle in handles:
            handle.remove()
    calls = Counter(item.name for item in ran)
    return [item for item in ran if calls[item.name] == 1], logits


def _one_name_each(ran: list[_Ran]) -> list[_Ran]:
    """Keep one module per tensor: the outermost, and the last of those (an in-place ReLU and not its convolution)."""
    best: dict[tuple[int, torch.Size], _Ran] = {}
    for item in ran:
        key = (item.output.data_ptr(), item.output.shape)
        held = best.pop(key, item)
        outer = item.name.count(".") <= held.name.count(".") and not isinstance(item.module, nn.Identity)
        best[key] = replace(item if outer else held, pooled=held.pooled or item.pooled)
    return list(best.values())


def _candidates(ran: list[_Ran], size: tuple[int, int]) -> list[_Ran]:
    """Return the layers that may be maps, last first; pooling behind the last map is skipped, as are inner widths."""
    items = [item for item in _one_name_each(ran) if possible_layouts(item.output.shape, 5, size)]
    items = [item for item in items if not item.pooled and not isinstance(item.module, _PADS)]
    tokens = [item.output.shape[-1] for item in items if item.output.ndim == 3]
    if tokens:
        width = max(set(tokens), key=tokens.count)
        items = [item for item in items if item.output.ndim != 3 or item.output.shape[-1] == width]
    return items[::-1]


def _score(ran: list[_Ran], logits: Tensor) -> Tensor:
    """Return what the first picture's answer depends on: its best logit, or what enters a head that is still zero."""
    heads = [item for item in ran if isinstance(item.module, nn.Linear) and item.output.shape == logits.shape]
    if not heads or heads[-1].source is None or bool(torch.as_tensor(heads[-1].module.weight).any()):
        return logits[:1].amax()
    features = heads[-1].source[:1]
    return (features * torch.rand(features.shape, generator=torch.Generator().manual_seed(0)).to(features)).sum()


def _proved(item: _Ran, score: Tensor, size: tuple[int, int]) -> Layout | None:
    """Return the layout of a layer that passes the checks, or None."""
    for layout in possible_layouts(item.output.shape, len(item.output), size):
        if _felt(item, score, layout) and _moves_along(layout.to_maps(item.output.detach())):
            return layout
    return None


def _felt(item: _Ran, score: Tensor, layout: Layout) -> bool:
    """Return True when the score has a gradient at half of a layer's places or more."""
    slopes = _slopes(item, score)
    return slopes is not None and float((layout.to_maps(slopes)[0].abs().sum(0) > 0).float().mean()) >= 0.5


def _slopes(item: _Ran, score: Tensor) -> Tensor | None:
    """Return the gradient of the score at a layer's output, or None when the forward blocks it."""
    if not (score.requires_grad and item.output.requires_grad):
        return None
    return torch.autograd.grad(score, item.output, retain_graph=True, allow_unused=True)[0]


def _moves_along(maps: Tensor) -> bool:
    """Return True when the response to a patch moves down and right as the patch does."""
    change = (maps[1:] - maps[:1]).double().square().sum(1)
    total = change.sum((1, 2)).clamp_min(1e-300)
    rows, columns = change.shape[1:]
    down = (change.sum(2) * torch.linspace(0, 1, rows, dtype=change.dtype, device=change.device)).sum(1) / total
    right = (change.sum(1) * torch.linspace(0, 1, columns, dtype=change.dtype, device=change.device)).sum(1) / total
    moved_down = float((down[2] + down[3] - down[0] - down[1]) / 2)
    moved_right = float((right[1] + right[3] - right[0] - right[2]) / 2)
    return min(moved_down, moved_right) > _MOVES
