"""Where a network first answers NaN or infinity."""

from typing import Any

import torch
from torch import Tensor, nn

from xai.core.containers import tensors_in


def first_nonfinite(module: nn.Module, inputs: Tensor) -> str:
    """Return the name of the first layer whose weights or output are not finite."""
    for name, parameter in module.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            return f"the weights {name!r}"
    found: list[str] = []
    handles = []
    for name, part in module.named_modules():

        def look(_part: nn.Module, _inputs: Any, output: Any, name: str = name) -> None:
            if not all(bool(torch.isfinite(t).all()) for t in tensors_in(output) if t.is_floating_point()):
                found.append(name)

        if not isinstance(part, torch.jit.ScriptModule):  # which takes no hooks
            handles.append(part.register_forward_hook(look))
    try:
        with torch.no_grad():
            module(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return f"the output of layer {found[0]!r}" if found and found[0] else "the output of the model"
