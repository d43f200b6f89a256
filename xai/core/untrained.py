"""Whether a model looks untrained: weights without any structure that training leaves, layer by layer."""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from xai.core.fingerprint import fingerprint_module
from xai.core.hooks import parts_of

UNTRAINED = (
    "the model looks untrained: in all of its layers the weights are as independent as random numbers; are its weights "
    "loaded?"
)
_LAYERS = 12  # looked at, from the last one
_MOST = 96, 768  # rows and columns of a matrix that are looked at
_FEWEST = 200  # weights of a layer that tell anything
_SHUFFLES = 24
_FAR = 4.0  # deviations of shuffled weights
_KEPT = 64
_known: "OrderedDict[str, bool]" = OrderedDict()


def looks_untrained(module: nn.Module) -> bool:
    """Return True when no layer of a model has structure; False where it has, or where that cannot be told.

    Initial weights are independent of each other, so that shuffling the entries of a layer's matrix changes none of
    its statistics but by chance: its largest singular values, the spread of the sizes and means of rows and columns,
    and, of a convolution, how alike neighbouring weights are. Training leaves several of them many deviations away in
    the layers that it reached. A layer whose weights are equal or whose rows are orthogonal is not judged.

    Cost: remembered by fingerprint; some milliseconds a layer, fewer for trained models, which the first layers tell.
    """
    key = fingerprint_module(module)
    if key not in _known:
        _known[key] = _judge(module)
        while len(_known) > _KEPT:
            _known.popitem(last=False)
    return _known[key]


def untrained_noted(module: nn.Module) -> list[str]:
    """Return a note when a model looks untrained."""
    return [UNTRAINED] if looks_untrained(module) else []


def _judge(module: nn.Module) -> bool:
    if _has_counted(module):
        return False
    layers = [part.weight.detach() for part in parts_of(module) if isinstance(part, nn.Linear | nn.Conv2d)]
    usable = [weight for weight in layers if weight.is_floating_point() and weight.numel() >= _FEWEST]
    usable = [weight for weight in usable if weight.device.type != "meta" and float(weight.float().std()) > 0]
    return bool(usable) and all(not has_structure(weight) for weight in usable[:_LAYERS])


def _has_counted(module: nn.Module) -> bool:
    """Whether a batch norm has seen images: its running statistics are no longer those of the start."""
    norms = [part for part in parts_of(module) if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    return any(part.running_mean is not None and bool(part.running_mean.any()) for part in norms)


def has_structure(weight: Tensor) -> bool:
    """Return True when a layer's weights (out, in, ...) depend on each other."""
    kernel = weight.ndim == 4 and weight.shape[2] * weight.shape[3] > 1
    table = weight.float().cpu().flatten(1)[: _MOST[0], : _MOST[1]].double()
    side = weight.shape[2:] if kernel else None
    draw = torch.Generator().manual_seed(0)
    found = _statistics(table, side)
    chance = torch.stack([_statistics(_shuffled(table, draw), side) for _ in range(_SHUFFLES)])
    deviation = chance.std(0).clamp_min(1e-12)
    apart = (found - chance.mean(0)) / deviation
    return bool((apart > _FAR).any())


def _shuffled(table: Tensor, draw: torch.Generator) -> Tensor:
    return table.flatten()[torch.randperm(table.numel(), generator=draw)].view_as(table)


def _statistics(table: Tensor, side: torch.Size | None) -> Tensor:
    """Return statistics that structure raises: singular values, spreads of rows and columns, likeness of neighbours."""
    values = torch.linalg.svdvals(table)
    spreads = [table.square().mean(k).log().nan_to_num(neginf=-30).var() for k in (0, 1) if table.shape[1 - k] > 1]
    spreads += [table.mean(k).square().mean() for k in (0, 1)]
    found = [values[0], values[:3].square().sum(), *spreads]
    if side is not None and table.shape[1] % side.numel() == 0:
        maps = table.reshape(-1, *side)
        found += [_alike(maps), maps.square().mean(0).log().nan_to_num(neginf=-30).var()]
    return torch.stack([value if math.isfinite(float(value)) else torch.zeros_like(value) for value in found])


def _alike(maps: Tensor) -> Tensor:
    """Return the mean product of neighbouring weights of all kernels, as a share of their mean square."""
    products = [(maps[:, 1:] * maps[:, :-1]).flatten(), (maps[:, :, 1:] * maps[:, :, :-1]).flatten()]
    return torch.cat(products).mean() / maps.square().mean().clamp_min(1e-30)
