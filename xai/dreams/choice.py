"""Which layer to dream of when none is named."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from xai.core.classifier import Classifier
from xai.core.containers import first_tensor
from xai.core.hooks import add_hook
from xai.core.layouts import possible_layouts
from xai.dreams.pyramid import Size
from xai.errors import UnsupportedModelError

_APART = 20  # pixels between two places of a layer with strides of 16, padded or not
_LEVELLING = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d)  # what they answer has one energy for every picture


@dataclass(frozen=True)
class _Map:
    """A layer whose output is a map of the picture.

    Attributes:
        name: as in `module.named_modules()`.
        fine: it has a place for every 16 pixels.
        block: layers with weights are in it.
    """

    name: str
    fine: bool
    block: bool


def choose_layer(classifier: Classifier, size: Size) -> str:
    """Return the last block with a place for every 16 pixels; where there is none, the last map.

    Blocks go before single layers, because what follows a block's sum is the same picture in more detail. What ends in
    a norm is left out: its energy cannot rise.

    Raises:
        UnsupportedModelError: no layer is a map of the picture.
    """
    maps = _maps(classifier, size)
    if not maps:
        raise UnsupportedModelError(
            f"No layer of {classifier.name!r} is a map of the picture. Name a `layer` or a `target`."
        )
    maps = [found for found in maps if found.fine] or maps
    return ([found for found in maps if found.block] or maps)[-1].name


def _maps(classifier: Classifier, size: Size) -> list[_Map]:
    """Return the layers that are maps of the picture, in the order in which they finish."""
    found: dict[str, _Map] = {}
    handles, last = [], nn.Module()

    def look(name: str, module: nn.Module, output: Any) -> None:
        nonlocal last
        last = last if any(True for _ in module.children()) else module
        tensor = first_tensor(output)
        layouts = [] if tensor is None else possible_layouts(tensor.shape, 1, size)
        if name and layouts and not isinstance(last, _LEVELLING):
            block = any(True for child in module.children() for _ in child.parameters())
            found[name] = _Map(name, layouts[0].grid[0] * _APART >= size[0], block)

    try:
        for name, module in classifier.module.named_modules():
            handles.append(add_hook(module, lambda m, _, output, name=name: look(name, m, output)))
        with torch.no_grad():
            classifier.raw_logits(torch.full((1, classifier.channels, *size), 0.5))
    finally:
        for handle in handles:
            handle.remove()
    return list(found.values())
