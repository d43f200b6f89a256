"""What makes a model itself: a digest of its weights and its wiring."""

import hashlib
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_known: "weakref.WeakKeyDictionary[nn.Module, tuple[object, str]]" = weakref.WeakKeyDictionary()


def fingerprint_module(module: nn.Module) -> str:
    """Return the SHA-256 of all weights, buffers and the modules' names and settings.

    Remembered per module until a tensor is replaced or changed; costs one pass over the weights.
    """
    state = _quick_state(module)
    known = _known.get(module)
    if known is not None and known[0] == state:
        return known[1]
    digest = hashlib.sha256()
    for name, part in module.named_modules():
        digest.update(f"{name}:{type(part).__module__}.{type(part).__qualname__}({part.extra_repr()});".encode())
    for name, tensor in _tensors(module):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(_content(tensor))
    _known[module] = (state, digest.hexdigest())
    return digest.hexdigest()


def fingerprint_mapping(settings: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain settings."""
    return hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest()


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _content(tensor: Tensor) -> bytes:
    flat = tensor.detach().to("cpu").contiguous().flatten()
    return bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""


def _quick_state(module: nn.Module) -> object:
    """Address and version of each tensor, and its first and last value, which writes through `.data` change too."""
    tensors = [tensor for _, tensor in _tensors(module)]
    ends: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.numel():
            flat = tensor.detach().reshape(-1) if tensor.is_contiguous() else tensor.detach().flatten()[:1]
            ends.setdefault(tensor.dtype, []).append(flat[:: max(1, flat.numel() - 1)])
    values = tuple(tuple(torch.cat(group).tolist()) for group in ends.values())
    return tuple((tensor.data_ptr(), tensor._version) for tensor in tensors), values
