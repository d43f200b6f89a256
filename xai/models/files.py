"""Weights from a file into a network."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from xai.errors import CheckpointError, InputError
from xai.models.architectures import Architecture, build_network
from xai.models.guard import read_tensors, shown

_WRAPPERS = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every name


def load_weights(path: Path, arch: Architecture | None, *, trust: bool = False) -> nn.Module:
    """Return the network `arch` with the weights of a file, on the CPU unless `arch` is a module elsewhere.

    Raises:
        InputError: no `arch`.
        CheckpointError: a file that cannot be used, or weights that do not fit.
    """
    tensors = read_tensors(path, trust=trust)
    if arch is None:
        raise InputError(
            f"{path} holds {len(tensors)} tensors ({shown(tensors)}) and no network. "
            'Name the one they belong to: arch="package.module:factory".'
        )
    network = build_network(arch)
    fit_weights(network, tensors, path)
    return network


def fit_weights(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put `tensors` into `network`, all of them or none.

    Raises:
        CheckpointError: names, shapes or kinds of number differ; the message lists the first few.
    """
    wanted = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    tensors = _unwrapped_names(tensors, wanted)
    fault = _name_fault(tensors, wanted) or _value_fault(tensors, wanted)
    if fault:
        raise CheckpointError(f"{path}: these are not the weights of {type(network).__name__}: {fault}")
    network.load_state_dict(dict(tensors), strict=False)  # all names were compared above


def _unwrapped_names(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the tensors without a wrapper's prefix, when every name has it and the network does not want it."""
    for prefix in _WRAPPERS:
        if tensors.keys() != wanted.keys() and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _name_fault(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Say which names are missing or too many, or nothing."""
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    faults = [f"{len(missing)} missing ({shown(missing)})"] if missing else []
    faults += [f"{len(extra)} unexpected ({shown(extra)})"] if extra else []
    return f"{', '.join(faults)}. Name the `arch` that they were saved from." if faults else ""


def _value_fault(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Say which tensors have another shape or kind of number than those they are meant for, or nothing."""
    faults = [line for name in tensors if (line := _difference(name, tensors[name], wanted[name]))]
    more = f" and {len(faults) - 2} more" if len(faults) > 2 else ""
    cure = "Name an `arch` with the same settings (classes, channels, width)."
    return f"{'; '.join(faults[:2])}{more}. {cure}" if faults else ""


def _difference(name: str, value: Tensor, wanted: Tensor) -> str:
    if is_lazy(wanted):
        return ""
    if value.shape != wanted.shape:
        return f"{shown([name])} is {tuple(value.shape)} and not {tuple(wanted.shape)}"
    if value.is_floating_point() != wanted.is_floating_point():
        return f"{shown([name])} is {value.dtype} and not {wanted.dtype}"
    return ""
