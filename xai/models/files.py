"""Weights from a file into a network."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from xai.errors import CheckpointError
from xai.models.guard import check_finite, shown

_WRAPPERS = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every name


def fit_weights(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put `tensors` into `network`, all of them or none.

    Raises:
        CheckpointError: names, shapes or kinds of number differ; the message lists the first few.
    """
    wanted = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    tensors = _pruned_merged(_unwrapped_names(tensors, wanted), wanted)
    fault = _name_fault(tensors, wanted) or _value_fault(tensors, wanted)
    if fault:
        raise CheckpointError(f"{path}: these are not the weights of {type(network).__name__}: {fault}")
    check_finite(tensors, path)  # last: it is the first to touch the data of all of them
    network.load_state_dict(dict(tensors), strict=False)  # all names were compared above


def _unwrapped_names(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the tensors without a wrapper's prefix, when every name has it and the network does not want it."""
    for prefix in _WRAPPERS:
        if tensors.keys() != wanted.keys() and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _pruned_merged(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the tensors with each weight of torch's pruning, kept as original and mask, as their product."""
    found = dict(tensors)
    for name in [name for name in tensors if name.endswith("_orig") and name not in wanted]:
        plain = name.removesuffix("_orig")
        mask = found.get(f"{plain}_mask")
        if plain in wanted and mask is not None and mask.shape == found[name].shape:
            found[plain] = found.pop(name) * found.pop(f"{plain}_mask")
    return found


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
