"""The ReLUs of a network, found in the autograd graph of its answer: modules, functions and calls in place alike."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import Tensor

_BOUNDED = {
    "Hardtanh": "_saved_min_val",
    "ClampMin": "_saved_min",
    "Clamp": "_saved_min",
    "Threshold": "_saved_threshold",
}
_OTHERS = {
    "Gelu": "GELU",
    "Silu": "SiLU",
    "Mish": "Mish",
    "Elu": "ELU",
    "LeakyRelu": "leaky ReLU",
    "PreluKernel": "PReLU",
    "Hardswish": "hard swish",
    "Hardsigmoid": "hard sigmoid",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "Softmax": "softmax",
    "Maximum": "maximum",
    "torch::autograd::CopySlices": "an operation in place on a part of a tensor",
}


def guide(scores: Tensor) -> list[str]:
    """Let gradients pass every ReLU behind `scores` only where they are positive, from now on; say what was found.

    The rule is tied to this graph and goes with it: nothing is left on the model.

    Returns:
        Notes: how many ReLUs, and which other functions stay as they are.
    """
    kinds: Counter[str] = Counter()
    for node in _graph(scores):
        kind = _kind(node)
        if _is_relu(node, kind):
            node.register_hook(_keep_positive)
            kinds["ReLU"] += 1
        elif kind in _OTHERS:
            kinds[_OTHERS[kind]] += 1
    return _notes(kinds)


def _notes(kinds: Counter[str]) -> list[str]:
    count = kinds.pop("ReLU", 0)
    others = f" ({', '.join(sorted(kinds))})" if kinds else ""
    if not count:
        return [f"no ReLU in this network{others}: this is the plain gradient, nothing is guided"]
    notes = [f"{count} ReLU(s) guided, counted per call"]
    return [*notes, f"not guided, because the rule is for ReLU alone: {', '.join(sorted(kinds))}"] if kinds else notes


def _graph(scores: Tensor) -> list[Any]:
    """Return every node of the graph behind a tensor once."""
    seen: dict[Any, None] = {}
    waiting: list[Any] = [scores.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen[node] = None
            waiting.extend(before for before, _ in node.next_functions)
    return list(seen)


def _kind(node: Any) -> str:
    """Return "Relu" for "ReluBackward0"."""
    return str(node.name()).partition("Backward")[0]


def _is_relu(node: Any, kind: str) -> bool:
    """Whether a node is a ReLU, or one with an upper bound as ReLU6: flat below 0, with slope 1 above."""
    return kind == "Relu" or (kind in _BOUNDED and _zero(getattr(node, _BOUNDED[kind], None)))


def _zero(bound: Any) -> bool:
    return isinstance(bound, int | float) and bound == 0


def _keep_positive(towards_input: Sequence[Tensor | None], _from_output: Sequence[Tensor | None]) -> Any:
    """Return the gradients that go on; where the ReLU let nothing through they are 0 already."""
    return tuple(None if found is None else found.clamp_min(0) for found in towards_input)
