"""Weights from a file into a network."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from xai.core.results.message import Message
from xai.errors import CheckpointError, NameLookupError
from xai.models.sandbox.weights import Groups, check_finite, shown

# what DataParallel, torch.compile, FSDP and activation checkpointing put into names
_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_COUNTERS = frozenset({"n_averaged"})  # buffers of wrappers that no network has


@dataclass(frozen=True)
class _Reading:
    """One way to read a file's tensors as the weights of a network.

    Attributes:
        name: as the caller may choose it: the key of the checkpoint and the prefix, "" for all of a plain file.
        tensors: under the network's names.
        notes: what was taken and what was left.
        whole: nothing without a prefix is left over.
    """

    name: str
    tensors: dict[str, Tensor]
    notes: tuple[str, ...]
    whole: bool = True


def fit_weights(network: nn.Module, groups: Groups, path: Path, choice: str | None = None) -> list[str]:
    """Put the weights of a file into `network`, all of them or none.

    Args:
        network: its weights are replaced.
        groups: tensors by name, by the key of the checkpoint that they lie under; "" for a plain state dict.
        path: for messages.
        choice: which weights to take where a file holds several that fit, such as "model_ema".

    Returns:
        Notes: the key and the prefix of the names that were taken, and what was left out.

    Raises:
        CheckpointError: names, shapes or kinds of number differ (the message lists the first few), or several weights
            fit and differ.
        NameLookupError: no weights called `choice`.
    """
    expected = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    readings = [reading for label, tensors in groups.items() for reading in _readings(label, tensors, expected)]
    readings.sort(key=lambda reading: reading.name)
    if choice is not None:
        readings = _chosen(readings, choice, path)
    fitting = [reading for reading in readings if not _value_fault(reading.tensors, expected)]
    if not any(reading.whole for reading in fitting) and choice is None:
        raise CheckpointError(
            f"{path}: these are not the weights of {_name(network)}: {_fault(groups, readings, expected)}"
        )
    if not fitting:
        raise CheckpointError(f"{path}: {choice!r} does not fit: {_value_fault(readings[0].tensors, expected)}")
    taken = fitting[0]
    if any(not _same(taken.tensors, other.tensors) for other in fitting[1:]):
        names = ", ".join(repr(reading.name) for reading in fitting)
        raise CheckpointError(f"{path}: several weights in it fit and differ: {names}. Choose one: weights=NAME.")
    check_finite(taken.tensors, path)  # last: it is the first to touch the data of all of them
    network.load_state_dict(taken.tensors, strict=False)  # all names were compared above
    return list(taken.notes)


def _name(network: nn.Module) -> str:
    return type(network).__name__


def _chosen(readings: list[_Reading], choice: str, path: Path) -> list[_Reading]:
    """Return the readings with this name, or all under this key.

    Raises:
        NameLookupError: there is none.
    """
    bare = choice.rstrip(".")
    exact = [reading for reading in readings if reading.name == bare]
    under = [reading for reading in readings if reading.name.startswith(f"{bare}/")]
    if not exact and not under:
        names = [reading.name for reading in readings if reading.name]
        raise NameLookupError(f"weights that fit in {path} called", choice, names)
    return exact or under


def _readings(label: str, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Iterator[_Reading]:
    """Yield each way in which the names, without one common prefix, are those of the network."""
    plain = list(_without_prefix(label, tensors, expected))
    yield from plain
    if plain:
        return
    names, own_names = _bare(expected), _bare(tensors)
    inside = {name: tensors[own] for name, own in own_names.items() if name not in _COUNTERS}
    if (own_names.keys(), names.keys()) != (tensors.keys(), expected.keys()):
        bare = {name: expected[own] for name, own in names.items()}
        for reading in _without_prefix(label, inside, bare):
            own = {names[name]: value for name, value in reading.tensors.items()}
            notes = (*reading.notes, "what wrappers of modules add to the names of weights was removed")
            yield _Reading(reading.name, own, notes, reading.whole)


def _without_prefix(label: str, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Iterator[_Reading]:
    for prefix in _prefixes(tensors, expected):
        inside = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
        inside = _pruned_merged(inside, expected)
        own = {name: value for name, value in inside.items() if name in expected}
        if own.keys() == expected.keys() and (not prefix or len(own) == len(inside)):
            left = [name for name in tensors if not name.startswith(prefix)] or sorted(inside.keys() - own.keys())
            name = "/".join(part for part in (label, prefix.rstrip(".")) if part)
            yield _Reading(name, own, tuple(_notes(label, prefix, left)), whole=bool(prefix) or not left)


def _prefixes(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Return what stands before every name of the network in names of the file, "" among them."""
    return [prefix for prefix, count in _prefix_counts(tensors, expected).items() if count == len(expected)]


def _prefix_counts(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Counter[str]:
    """Return how many names of the network stand behind each prefix, with or without the mark of a pruned weight."""
    counts: Counter[str] = Counter()
    for name in tensors:
        plain = name.removesuffix("_orig")
        places = [0, *(k + 1 for k, sign in enumerate(name) if sign == ".")]
        counts.update(name[:k] for k in places if name[k:] in expected or plain[k:] in expected)
    return counts


def _notes(label: str, prefix: str, left: list[str]) -> Iterator[str]:
    if label:
        yield Message("weights taken from {label!r} of the checkpoint", label=label)
    if prefix:
        yield Message("the prefix {prefix!r} was removed from the names of weights", prefix=prefix)
    if left:
        template = "{count} other tensor(s) of the file are not used: {names}"
        yield Message(template, count=len(left), names=shown(left))


def _bare(names: Iterable[str]) -> dict[str, str]:
    """Return each name by itself without what wrappers add: first where all names have it, inside anywhere.

    Names stay as they are where two would become the same.
    """
    own = {name: name for name in names}
    while len(first := {name.partition(".")[0] for name in own if name not in _COUNTERS}) == 1 and first <= _WRAPPERS:
        own = {name if name in _COUNTERS else name.partition(".")[2]: full for name, full in own.items()}
    names_inside = {_bare_inside(name): full for name, full in own.items()}
    return names_inside if len(names_inside) == len(own) else own


def _bare_inside(name: str) -> str:
    first, *rest = name.split(".")
    return ".".join([first, *(part for part in rest if part not in _WRAPPERS)])


def _same(first: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in first.items())


def _pruned_merged(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with each weight of torch's pruning, kept as original and mask, as their product."""
    merged = dict(tensors)
    for name in [name for name in tensors if name.endswith("_orig") and name not in expected]:
        plain = name.removesuffix("_orig")
        mask = merged.get(f"{plain}_mask")
        if plain in expected and mask is not None and mask.shape == merged[name].shape:
            merged[plain] = merged.pop(name) * merged.pop(f"{plain}_mask")
    return merged


def _fault(groups: Groups, readings: list[_Reading], expected: Mapping[str, Tensor]) -> str:
    """Say what is wrong with the reading that comes nearest."""
    whole = [reading for reading in readings if reading.whole]
    if whole:
        return _value_fault(whole[0].tensors, expected)
    label, tensors = max(groups.items(), key=lambda item: _overlap(item[1], expected))
    under = f"{label!r} has " if label else ""
    return under + _name_fault(_nearest(tensors, expected), expected)


def _overlap(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> int:
    return len(_nearest(tensors, expected).keys() & expected.keys())


def _nearest(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the tensors without the prefix that most of the network's names have, where all of them have it."""
    counts = _prefix_counts(tensors, expected)
    prefix = counts.most_common(1)[0][0] if counts else ""
    if all(name.startswith(prefix) for name in tensors):
        return {name[len(prefix) :]: value for name, value in tensors.items()}
    return tensors


def _name_fault(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Say which names are missing or too many, or nothing."""
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    faults = [f"{len(missing)} missing ({shown(missing)})"] if missing else []
    faults += [f"{len(extra)} unexpected ({shown(extra)})"] if extra else []
    return f"{', '.join(faults)}. Name the `arch` that they were saved from." if faults else ""


def _value_fault(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Say which tensors have another shape or kind of number than those they are meant for, or nothing."""
    faults = [line for name in tensors if (line := _difference(name, tensors[name], expected[name]))]
    more = f" and {len(faults) - 2} more" if len(faults) > 2 else ""
    cure = "Name an `arch` with the same settings (classes, channels, width)."
    return f"{'; '.join(faults[:2])}{more}. {cure}" if faults else ""


def _difference(name: str, value: Tensor, expected: Tensor) -> str:
    if is_lazy(expected):
        return ""
    if value.shape != expected.shape:
        return f"{shown([name])} is {tuple(value.shape)} and not {tuple(expected.shape)}"
    if value.is_floating_point() != expected.is_floating_point():
        return f"{shown([name])} is {value.dtype} and not {expected.dtype}"
    return ""
