"""Borrow a model, look inside, give it back as it was."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai.errors import UnsupportedModelError


def parts_of(module: nn.Module) -> list[nn.Module]:
    """Return the module and everything in it, each once; several times faster than `module.modules()`."""
    seen: dict[int, nn.Module] = {}
    waiting: list[nn.Module | None] = [module]
    while waiting:
        part = waiting.pop()
        if part is not None and id(part) not in seen:
            seen[id(part)] = part
            waiting.extend(part._modules.values())
    return list(seen.values())


def scales_by_batch(module: nn.Module) -> bool:
    """Return whether any layer is quantised dynamically: one scale is then taken from all rows of a batch."""
    return any(".quantized.dynamic" in type(part).__module__ for part in parts_of(module))


@contextmanager
def borrowed(module: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode inside; every module's own mode and all random states back afterwards, also after an error."""
    modes = [(part, part.training) for part in parts_of(module)]
    with random_states_kept():
        try:
            if any(training for _, training in modes):
                module.eval()
            yield module
        finally:
            for part, training in modes:
                part.training = training


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


def tensors_in(output: Any) -> list[Tensor]:
    """Return the tensors in a module's output: a tensor, tuple, list, dict or object with fields."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, tuple | list):
        return [tensor for item in output for tensor in tensors_in(item)]
    return []


def first_tensor(output: Any) -> Tensor | None:
    """Return the first tensor in a module's output, or None."""
    found = tensors_in(output)
    return found[0] if found else None


def with_first_tensor(output: Any, tensor: Tensor) -> Any:
    """Return `output` with its first tensor replaced."""
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, dict):
        key = next(k for k, v in output.items() if isinstance(v, Tensor))
        output = output.copy()
        output[key] = tensor
        return output
    items = list(output)
    place = next(k for k, v in enumerate(items) if isinstance(v, Tensor))
    items[place] = tensor
    return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)


@contextmanager
def hooked(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    """Keep a forward hook on one module while inside."""
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


class Cut:
    """Cuts the graph at a layer: everything before runs without gradients, everything after with them.

    `activation` is the layer's output as a leaf, so gradients towards it cost the head of the network only; the
    network goes on with a copy, so that an in-place ReLU behind the layer cannot overwrite it.
    """

    def __init__(self, layer: nn.Module, name: str) -> None:
        self.layer, self.name, self.calls = layer, name, 0
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
        tensor = first_tensor(output)
        if tensor is None:
            return output
        self._activation = tensor.detach().clone().requires_grad_()
        torch.set_grad_enabled(True)  # for the rest of this forward; `forward` gives the state back
        return with_first_tensor(output, self._activation.clone())

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
    try:
        (found,) = torch.autograd.grad(score, at, retain_graph=keep, allow_unused=True)
    except RuntimeError as error:
        if "does not require grad" not in str(error):
            raise
        found = None
    if found is None:
        raise UnsupportedModelError(
            f"No gradient reaches {what}: the model detaches or ignores it. Name another `layer`, or use occlusion."
        )
    return found
