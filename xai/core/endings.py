"""How a forward ends: the operation that made what the model returns."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from xai.core.containers import tensors_in

_ENDS = {
    "_softmax": "softmax",
    "softmax": "softmax",
    "_safe_softmax": "softmax",
    "_log_softmax": "log_softmax",
    "log_softmax": "log_softmax",
    "sigmoid": "sigmoid",
    "sigmoid_": "sigmoid",
    **dict.fromkeys(("hardsigmoid", "hardsigmoid_"), "hardsigmoid"),
    "relu": "relu",
    "relu_": "relu",
    "clamp_min": "relu",
    "softplus": "softplus",
    "exp": "exp",
    "tanh": "tanh",
    "tanh_": "tanh",
    "log_sigmoid_forward": "log_sigmoid",
    "log_sigmoid": "log_sigmoid",
    **dict.fromkeys(("addmm", "mm", "mv", "bmm", "baddbmm", "linear", "convolution", "_convolution"), "linear"),
}
_KEEPS_LINEAR = frozenset({"mean", "sum", "add", "add_", "sub", "sub_", "rsub", "mul", "mul_", "div", "div_", "neg"})
_SHARES = frozenset({"softmax", "sigmoid", "hardsigmoid"})
_PASSING = frozenset(
    {
        *(
            "view",
            "_unsafe_view",
            "reshape",
            "_reshape_alias",
            "flatten",
            "squeeze",
            "unsqueeze",
            "expand",
            "as_strided",
        ),
        *(
            "as_strided",
            "_to_copy",
            "clone",
            "contiguous",
            "alias",
            "detach",
            "lift_fresh",
            "permute",
            "transpose",
            "t",
        ),
        *("select", "slice", "index_select", "split", "unbind", "dropout", "native_dropout"),
    }
)
TWICE = "softmax of a softmax"
_SUM = "sum of exp"  # over the classes: a softmax that is written out divides by it
Ending = Callable[[Tensor], str]


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps, for each place in memory, the name of the operation that wrote it last; no tensor is kept."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made: dict[int, str] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        sources = [self.made.get(tensor.data_ptr(), "") for tensor in tensors_in(args) if tensor.numel()]
        result = function(*args, **(kwargs or {}))
        name = _named(function.overloadpacket.__name__, sources)
        for tensor in tensors_in(result):
            if tensor.numel() and (name or tensor.data_ptr() in self.made):
                self.made[tensor.data_ptr()] = name
        return result


def _named(operation: str, sources: list[str]) -> str:
    """Return the name of what an operation wrote: its own, that of its sources where it only moves them, or ""."""
    ending = _ENDS.get(operation, "")
    if ending == "softmax" and sources and sources[0] in {"softmax", TWICE}:
        return TWICE
    if ending:
        return "" if ending == "linear" and _SHARES & set(sources) else ending  # a mixture of probabilities is one
    if "exp" in sources and operation in {"sum", "div", "div_"}:
        return _SUM if operation == "sum" else "softmax" if sources == ["exp", _SUM] else ""
    if operation in _KEEPS_LINEAR and "linear" in sources:
        return "linear" if set(sources) <= {"linear", ""} else ""
    moves = operation in _PASSING or (operation in {"cat", "stack"} and len(set(sources)) == 1)
    return sources[0] if moves and sources else ""


def watched(run: Callable[[], Any]) -> tuple[Any, Ending]:
    """Run a forward, once, and find how it ends.

    Args:
        run: the forward.

    Returns:
        What it returned, and a function from one of its tensors to how that was made: "softmax", "log_softmax",
        "sigmoid", "hardsigmoid", "log_sigmoid", "relu", "softplus", "exp", "tanh", `TWICE`, "linear" for a linear
        layer or convolution, scaled, shifted or averaged, or "" for anything else. A softmax that is written out as
        exp and a division is one. Views, casts and concatenations of several such outputs do not hide it.
    """
    with _Watch() as watch:
        found = run()
    made = {place: name for place, name in watch.made.items() if name != _SUM}
    return found, lambda tensor: made.get(tensor.data_ptr(), "")
