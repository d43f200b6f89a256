"""Further inputs of models that take more than images: the same for all images, or computed from them."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.fx
from torch import Tensor, nn

from xai.errors import InputError, ShapeError, UnsupportedModelError

FurtherInputs = Mapping[str, Any] | Callable[[Tensor], Mapping[str, Any]]
_OPEN = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class WithInputs(nn.Module):
    """A module of several inputs as one of images alone; names of its layers begin with "module.".

    Args:
        module: takes images, and the others by name.
        inputs: tensors (1, ...) by name, repeated for each image; or a function from the images (N, C, H, W), as the
            module gets them, to tensors (N, ...) by name. What is no tensor is handed over as it is.

    Raises:
        InputError: neither a mapping nor a function, or names that the module does not take.
        ShapeError: a tensor that does not begin with a dimension of 1.
    """

    def __init__(self, module: nn.Module, inputs: FurtherInputs) -> None:
        super().__init__()
        self.module, self.compute = module, None if isinstance(inputs, Mapping) else inputs
        if self.compute is not None and not callable(self.compute):
            raise InputError(
                f'Expected `inputs` as {{"name": tensor (1, ...)}} or a function of the images, but got '
                f"{type(inputs).__name__}."
            )
        self.source = getattr(self.compute, "__qualname__", "")  # part of the fingerprint
        self.constants: dict[str, Any] = {}
        for name, value in inputs.items() if isinstance(inputs, Mapping) else ():
            self._check_name(name)
            self._keep(name, torch.from_numpy(value) if isinstance(value, np.ndarray) else value)
        self.training = module.training

    def _check_name(self, name: str) -> None:
        known = _parameters(self.module)
        open_ended = any(part.kind is inspect.Parameter.VAR_KEYWORD for part in known.values())
        if known and name not in list(known)[1:] and not open_ended:
            raise InputError(
                f"{type(self.module).__name__} takes no input {name!r} beside images: {', '.join(list(known)[1:])}."
            )

    def _keep(self, name: str, value: Any) -> None:
        if not isinstance(value, Tensor):
            self.constants[name] = value
            return
        if value.ndim < 1 or len(value) != 1:
            raise ShapeError(
                f"Expected the input {name!r} for one image, (1, ...), but got {tuple(value.shape)}. Give one row, as "
                "`values[k : k + 1]`; with `clf.with_inputs(...)` another one for each image."
            )
        self.register_buffer(f"input_{name}", value.detach(), persistent=False)

    def forward(self, images: Tensor) -> Any:
        """Return what the module returns for images (N, C, H, W)."""
        if self.compute is not None:
            return self.module(images, **self.compute(images))
        names = [name.removeprefix("input_") for name in self._buffers]
        given = {name: repeated(getattr(self, f"input_{name}"), images) for name in names}
        return self.module(images, **given, **self.constants)


@torch.fx.wrap
def repeated(value: Tensor, images: Tensor) -> Tensor:
    """Return (N, ...) of (1, ...), one row for each image."""
    return value.expand(len(images), *value.shape[1:])


def with_inputs(module: nn.Module, inputs: FurtherInputs | None) -> nn.Module:
    """Return a module of images alone, the module itself where it needs nothing else."""
    return module if inputs is None else WithInputs(module, inputs)


def lacking_inputs(module: nn.Module, error: Exception) -> UnsupportedModelError | None:
    """Return an error that names the inputs that a module lacks; None where it failed of something else."""
    if not isinstance(error, TypeError):
        return None
    needed = [
        name
        for name, part in list(_parameters(module).items())[1:]
        if part.kind not in _OPEN and part.default is inspect.Parameter.empty
    ]
    if not needed:
        return None
    given = ", ".join(f'"{name}": tensor (1, ...)' for name in needed)
    return UnsupportedModelError(
        f"{type(module).__name__} takes more than images: {', '.join(needed)}. Give what is the same for all images as "
        f"`inputs={{{given}}}`, or a function of the images; clf.with_inputs(...) sets it for one image."
    )


def _parameters(module: nn.Module) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(module.forward).parameters
    except (TypeError, ValueError):  # compiled code has none
        return {}
