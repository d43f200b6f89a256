"""Where a network first answers NaN or infinity, and what may be done about it."""

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


def nonfinite_cure(logits: Tensor) -> str:
    """Return what to do about logits (N, K) that are not all finite: masked classes are minus infinity on purpose."""
    finite = torch.isfinite(logits)
    masked = (logits == -torch.inf).all(0)
    if bool(finite[:, ~masked].all()) and not bool(masked.all()):
        classes = ", ".join(str(int(k)) for k in masked.nonzero()[:, 0])
        return f"Minus infinity of class {classes} in every image looks like a mask: use -1e4 instead."
    if bool((finite | logits.isinf()).all()):
        return "Infinity comes of a logarithm or a division: return what goes into it, the logits or probabilities."
    return "Check its weights."
