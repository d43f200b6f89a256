"""What makes a model itself: a digest of its weights and its wiring."""

import hashlib
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xai.core.model.forward_state import attributes, is_written, kept_buffers
from xai.core.model.hooks import parts_of

_views: "weakref.WeakKeyDictionary[nn.Module, tuple[list[int], list[list[Tensor]]]]" = weakref.WeakKeyDictionary()
_known: "weakref.WeakKeyDictionary[nn.Module, tuple[object, str]]" = weakref.WeakKeyDictionary()


def fingerprint_module(module: nn.Module, *, fresh: bool = False) -> str:
    """Return the SHA-256 of all weights, buffers and the modules' names and settings.

    Settings are all attributes that are numbers, words, tensors, arrays, functions (by their code) or containers of
    these; of other objects the type counts. What every forward was seen to write without any effect on the answer is
    left out (`xai.core.model.forward_state`).
    Remembered per module until a tensor, a module or a setting is replaced; `fresh` reads all weights again,
    which also sees a write through `.data` that leaves the ends of a tensor alone. Costs one pass over the weights.
    """
    state = _quick_state(module)
    known = _known.get(module)
    if known is not None and known[0] == state and not fresh:
        return known[1]
    digest = hashlib.sha256()
    for name, part in module.named_modules():
        digest.update(f"{name}:{type(part).__module__}.{type(part).__qualname__}({part.extra_repr()});".encode())
        digest.update(repr(_settings(part)).encode())
    for name, tensor in [*module.named_parameters(), *_buffers(module)]:
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(_module_content(tensor))
    _known[module] = (state, digest.hexdigest())
    return digest.hexdigest()


def fingerprint_mapping(settings: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain settings."""
    return hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest()


def _settings(part: nn.Module) -> list[tuple[str, object]]:
    """Return what a module keeps beside weights, buffers and parts, which `extra_repr` need not mention."""
    return [(name, value) for name, value in attributes(part) if not is_written(part, name)]


def _buffers(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Return the buffers by name, each once, without those that a forward writes and no answer depends on."""
    left_out = {id(b) for part in parts_of(module) for name, b in part._buffers.items() if is_written(part, name)}
    return [(name, buffer) for name, buffer in module.named_buffers() if id(buffer) not in left_out]


def _module_content(tensor: Tensor) -> bytes:
    flat = tensor.detach().to("cpu").contiguous().flatten()
    return bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""


def _quick_state(module: nn.Module) -> object:
    """What is cheap to look at: modules and their settings; address, version, first and last value of each tensor."""
    parts = parts_of(module)
    held = [tensor for part in parts for tensor in (*part._parameters.values(), *kept_buffers(part).values())]
    tensors = [tensor for tensor in held if tensor is not None]
    places = [tensor.data_ptr() for tensor in tensors]
    written = [0 if tensor.is_inference() else tensor._version for tensor in tensors]
    with torch.no_grad():
        values = tuple(tuple(torch.cat(group).tolist()) for group in _ends(module, tensors, places))
    return tuple(map(id, parts)), repr([_settings(part) for part in parts]), places, written, values


def _ends(module: nn.Module, tensors: list[Tensor], places: list[int]) -> list[list[Tensor]]:
    """Return views of the first and last value of each tensor, by type and device; kept while nothing moves."""
    kept = _views.get(module)
    if kept is not None and kept[0] == places:
        return kept[1]
    ends: dict[object, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.numel():
            span = 1 + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
            pair = tensor.detach().as_strided((min(2, span),), (max(1, span - 1),))
            ends.setdefault((tensor.dtype, tensor.device), []).append(pair)
    _views[module] = (places, list(ends.values()))
    return _views[module][1]
