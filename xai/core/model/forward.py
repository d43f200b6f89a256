"""How a classifier runs its module: further inputs, non-finite values, and errors with their cure."""

import copy
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import torch
import torch.fx
from torch import Tensor, nn

from xai.core.images.inputs import ImageLike
from xai.core.model.fingerprint import parts_of, writes_itself
from xai.core.runtime.batching import (
    batch_size,
    find_batch_size,
    has_rows,
    in_pieces,
    is_out_of_memory,
    may_be_fixed,
    note_batch,
    tensors_in,
)
from xai.errors import InputError, ShapeError, UnsupportedModelError


def first_nonfinite(module: nn.Module, inputs: Tensor) -> str:
    """Return the name of the first layer whose weights or output are not finite."""
    for name, parameter in module.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            return f"the weights {name!r}"
    layers: list[str] = []
    handles = []
    for name, part in module.named_modules():

        def look(_part: nn.Module, _inputs: Any, output: Any, name: str = name) -> None:
            if not all(bool(torch.isfinite(t).all()) for t in tensors_in(output) if t.is_floating_point()):
                layers.append(name)

        if not isinstance(part, torch.jit.ScriptModule):  # which takes no hooks
            handles.append(part.register_forward_hook(look))
    try:
        with torch.no_grad():
            module(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return f"the output of layer {layers[0]!r}" if layers and layers[0] else "the output of the model"


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


class RunsModule:
    """The part of a classifier that runs its module."""

    module: nn.Module
    name: str
    input_size: tuple[int, int] | None

    def with_inputs(self, **inputs: Any) -> Self:
        """Return the same classifier with other further inputs, of one image for instance.

        Args:
            **inputs: tensors (1, ...) by the names that the module takes.

        Raises:
            InputError: no such input.
            ShapeError: a tensor that does not begin with a dimension of 1.

        Example:
            >>> import torch, xai
            >>> class Net(torch.nn.Module):
            ...     def forward(self, images, age):
            ...         return torch.cat([images.mean((1, 2, 3))[:, None], age], 1)
            >>> clf = xai.Classifier(Net(), inputs={"age": torch.tensor([[0.3]])})
            >>> clf.with_inputs(age=torch.tensor([[0.9]])).logits(torch.zeros(1, 3, 8, 8))
            tensor([[0.0000, 0.9000]])
        """
        other = copy.copy(self)
        inner = self.module.module if isinstance(self.module, WithInputs) else self.module
        other.module = with_inputs(inner, inputs)
        return other

    def features(self, images: ImageLike) -> Tensor:
        """Return the inputs of the last linear layer for images in any form, or for a data set.

        Returns:
            Features (N, D) in float32 or float64, on the CPU.

        Raises:
            UnsupportedModelError: the logits are not the output of a linear layer.
            InputError: an image that cannot be read or does not fit.

        Example:
            >>> import xai
            >>> clf = xai.load("example:fashion")
            >>> clf.features(xai.load_data("example:fashion-test").images[:4]).shape
            torch.Size([4, 4704])
        """
        source = images if hasattr(images, "images") else self.prepare(images).inputs  # type: ignore[attr-defined]
        outputs = self.outputs(source)  # type: ignore[attr-defined]  # of the classifier
        if outputs.features is None:
            why = next(note for note in outputs.notes if note.startswith("no features"))
            raise UnsupportedModelError(f"{self.name!r} has {why}. Give a model that ends in a linear layer.")
        features: Tensor = outputs.features
        return features

    def _run(self, normalised: Tensor) -> Any:
        size = batch_size(self.module)
        try:
            if size is not None:
                return in_pieces(self._run_at_all, normalised, size)
            output = self._run_at_all(normalised)
        except (RuntimeError, ValueError, AssertionError, TypeError) as error:
            self._explain_lack(error)
            self._explain_channels(normalised, error)
            if self._takes_others(normalised, error):
                return self._run(normalised)
            self._explain_size(normalised, error)
            raise
        if has_rows(output, len(normalised)):
            note_batch(self.module, len(normalised))
            return output
        shapes = [tuple(tensor.shape) for tensor in tensors_in(output)]
        return self._run(normalised) if self._takes_others(normalised, shapes) else output

    def _explain_lack(self, error: Exception) -> None:
        """Raise what the caller can do about a failure that has nothing to do with the images."""
        lacking = lacking_inputs(self.module, error)
        if lacking is not None:
            raise lacking from error
        if is_out_of_memory(error):
            raise error
        if "Inference tensors" in str(error):
            raise UnsupportedModelError(
                f"The weights of {self.name!r} were made inside torch.inference_mode(), which rules out gradients. "
                "Make or load the model outside of it."
            ) from error

    def _explain_channels(self, normalised: Tensor, error: Exception) -> None:
        """Raise the cure where the first convolution takes other channels than the images have."""
        counts = _CHANNELS.search(str(error))
        if counts is None or int(counts[2]) != normalised.shape[1]:
            return
        raise UnsupportedModelError(
            f"The model {self.name!r} cannot run on images {tuple(normalised.shape[1:])}: it takes {counts[1]} "
            f"channel(s). Give channels={counts[1]}, as in xai.Classifier(model, channels={counts[1]})."
        ) from error

    def _explain_size(self, normalised: Tensor, error: Exception) -> None:
        """Raise what the caller can do about a failure that looks like one of the images' size."""
        if self.input_size is not None or not _about_size(error):
            return
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ShapeError(
            f"The model {self.name!r} cannot take images of {tuple(normalised.shape[1:])}: {first} "
            "Set `input_size=(H, W)` of the classifier."
        ) from error

    def _takes_others(self, normalised: Tensor, fault: object) -> bool:
        """Find whether the module takes another number of images, one that its batch is fixed to."""
        if not len(normalised) or not may_be_fixed(self.module, len(normalised)):
            return False
        with torch.no_grad():
            return find_batch_size(parts_of(self.module), self._run_at_all, normalised, fault) is not None

    def _run_at_all(self, normalised: Tensor) -> Any:
        """Run the module; TorchScript that was run with gradients once would keep them in inference mode, too.

        What a module keeps for its next forward must not be a tensor of inference mode, which allows no gradient.
        """
        inference = torch.is_inference_mode_enabled()
        try:
            if not (inference and writes_itself(self.module)):
                return self.module(normalised)
        except RuntimeError as error:
            if "Inference tensors" not in str(error) or not inference:
                raise
        with torch.inference_mode(False), torch.no_grad():
            return self.module(normalised.clone())


_CHANNELS = re.compile(r"to have (\d+) channels, but got (\d+) channels")  # a convolution's own words


def _about_size(error: Exception) -> bool:
    """Whether a network refused its input's size; those that check it themselves assert it."""
    words = ("size", "shape", "height", "width", "dimension")
    return isinstance(error, AssertionError) or any(word in str(error).lower() for word in words)
