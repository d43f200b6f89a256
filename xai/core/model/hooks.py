"""Borrow a model, look inside, give it back as it was."""

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from xai.core.model.fingerprint import parts_of
from xai.core.runtime.batching import batch_size, tensors_in, with_tensor
from xai.errors import UnsupportedModelError


def unwrapped(module: Any) -> nn.Module:
    """Return the module behind torch.compile and DataParallel, whose hooks would not fire.

    Raises:
        UnsupportedModelError: no module.
    """
    if not isinstance(module, nn.Module):
        raise UnsupportedModelError(
            f"Expected a torch.nn.Module, but got {type(module).__name__}. Load models with `xai.load(...)`, or wrap "
            "the function in a module."
        )
    inner = getattr(module, "_orig_mod", module)
    if isinstance(inner, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inner = inner.module
    if not isinstance(inner, nn.Module):
        raise UnsupportedModelError(f"{type(module).__name__} holds no module.")
    return inner


def scales_by_batch(module: nn.Module) -> bool:
    """Return whether any layer is quantised dynamically: one scale is then taken from all rows of a batch."""
    return any(".quantized.dynamic" in type(part).__module__ for part in parts_of(module))


@contextmanager
def borrowed(module: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode inside; every module's own mode and all random states back afterwards, also after an error."""
    moded = [part for part in parts_of(module) if hasattr(part, "training")]  # frozen TorchScript has no mode
    modes = [(part, part.training) for part in moded]
    with random_states_kept():
        try:
            if any(training for _, training in modes):
                module.eval()
            yield module
        finally:
            for part, training in modes:
                part.training = training


def copied(module: nn.Module) -> nn.Module:
    """Return a deep copy, also where a forward left tensors with a graph in it, as pruning and weight norm do."""
    values = (value for part in parts_of(module) for value in (*vars(part).values(), *part._buffers.values()))
    graphs = {id(value): value.detach().clone() for value in values if isinstance(value, Tensor) and not value.is_leaf}
    with torch.no_grad():  # TorchScript clones its weights, which would have a graph
        return copy.deepcopy(module, graphs)


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Give all random states back as they were, also after an error."""
    states = _random_states()
    try:
        yield
    finally:
        _restore_random_states(states)


def _random_states() -> tuple[Any, ...]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    return torch.get_rng_state(), cuda, np.random.get_state(), random.getstate()  # noqa: NPY002 (borrowed, not used)


def _restore_random_states(states: tuple[Any, ...]) -> None:
    cpu, cuda, numpy_state, python_state = states
    torch.set_rng_state(cpu)
    if cuda is not None:
        torch.cuda.set_rng_state_all(cuda)
    np.random.set_state(numpy_state)  # noqa: NPY002
    random.setstate(python_state)


@contextmanager
def gradients_on() -> Iterator[None]:
    """Allow gradients even when the caller sits inside no_grad or inference_mode."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def add_hook(module: nn.Module, hook: Callable[..., Any]) -> RemovableHandle:
    """Add a forward hook; remove it by the handle that is returned.

    Raises:
        UnsupportedModelError: a module of TorchScript, which takes none, or of a model that takes a fixed number of
            images at once, whose layers see other images, too.
    """
    size = batch_size(module) or 1
    if size > 1:
        raise UnsupportedModelError(
            f"The model takes exactly {size} images at a time, so that its layers cannot be read image by image. Let "
            "it take any number of images, or use occlusion, lime, rise, saliency or integrated_gradients."
        )
    if isinstance(module, torch.jit.ScriptModule):
        raise UnsupportedModelError(
            "TorchScript shows nothing of its layers. Load the weights into the model's own class, or use occlusion, "
            "lime, rise or a gradient method."
        )
    return module.register_forward_hook(hook)


@contextmanager
def hooked(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    """Keep a forward hook on one module while inside, see `add_hook`."""
    handle = add_hook(module, hook)
    try:
        yield
    finally:
        handle.remove()


class Cut:
    """Cuts the graph at a layer: everything before runs without gradients, everything after with them.

    `activation` is the layer's output as a leaf, so gradients towards it cost the head of the network only; the
    network goes on with a copy, so that an in-place ReLU behind the layer cannot overwrite it.

    Args:
        layer: the module.
        name: of the module, for messages.
        tensor: which of the tensors in its output, see `containers.tensors_in`.
    """

    def __init__(self, layer: nn.Module, name: str, tensor: int = 0) -> None:
        self.layer, self.name, self.tensor, self.calls = layer, name, tensor, 0
        self._activation: Tensor | None = None

    @property
    def activation(self) -> Tensor:
        """The layer's output.

        Raises:
            UnsupportedModelError: the layer did not run, or ran more than once, in the last forward.
        """
        if self._activation is None or self.calls != 1:
            raise UnsupportedModelError(
                f"The layer {self.name!r} ran {self.calls} times in one forward, not once. Name another `layer`."
            )
        return self._activation

    def _hook(self, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        self.calls += 1
        tensors = tensors_in(output)
        if len(tensors) <= self.tensor:
            return output
        tensor = tensors[self.tensor]
        self._activation = tensor.detach().clone().requires_grad_()
        torch.set_grad_enabled(True)  # for the rest of this forward; `forward` gives the state back
        return with_tensor(output, tensor, self._activation.clone())

    def forward(self, run: Callable[[], Tensor]) -> Tensor:
        """Return what `run()` returns, computed with the cut in place."""
        self.calls, self._activation = 0, None
        with torch.no_grad(), hooked(self.layer, self._hook):
            return run()


def gradient(score: Tensor, at: Tensor, what: str, *, keep: bool = False) -> Tensor:
    """Return d score / d at; `keep` leaves the graph for another score.

    Raises:
        UnsupportedModelError: the model blocks gradients between the two.
    """
    slopes = gradients(score, [at], keep=keep)[0]
    if slopes is None:
        raise UnsupportedModelError(
            f"No gradient reaches {what}: the model detaches or ignores it. Name another `layer`, or use occlusion."
        )
    return slopes


def gradients(score: Tensor, at: Sequence[Tensor], *, keep: bool = False) -> Sequence[Tensor | None]:
    """Return d score / d each of some tensors, None where the model blocks it; `keep` leaves the graph.

    Raises:
        UnsupportedModelError: the model checkpoints its activations in the way that allows no such gradient.
    """
    places = [k for k, tensor in enumerate(at) if tensor.requires_grad]
    if not (score.requires_grad and places):
        return [None] * len(at)
    try:
        slopes = torch.autograd.grad(score, [at[k] for k in places], retain_graph=keep, allow_unused=True)
    except RuntimeError as error:
        raise checkpointed(error) or error from None
    by_place = dict(zip(places, slopes, strict=True))
    return [by_place.get(k) for k in range(len(at))]


def checkpointed(error: RuntimeError) -> UnsupportedModelError | None:
    """Return what to say when an error of autograd comes from reentrant activation checkpointing, else None."""
    if "use_reentrant" not in str(error) and "Checkpointing is not compatible" not in str(error):
        return None
    return UnsupportedModelError(
        "No gradient can be taken: the model saves memory by reentrant activation checkpointing. Pass "
        "use_reentrant=False to torch.utils.checkpoint.checkpoint, or switch checkpointing off."
    )
