"""The only place that gives a weight file to a library. Tensors come out, and nothing in the file runs."""

import argparse
import hashlib
import io
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from xai.errors import CheckpointError
from xai.models.file_format import AGAIN, CURE, MAX_TENSORS, kind_of
from xai.models.sandbox import client as cache
from xai.models.sandbox.client import ask, can_limit

Groups = Mapping[str, Mapping[str, Tensor]]  # tensors by name, by the key of the checkpoint that they lie under
_SCANS = 4  # times the file's size that all tensors together may cover; tied ones count each time
_AT_ONCE = 1 << 24  # values looked at together
_DEEPEST, _MOST_KEYS, _MOST_GROUPS = 2, 100, 32  # how far a checkpoint is searched for state dicts
_BORDER = "\x1f"  # between key and name in what the limited process hands over
_NOTHING_RUNS = (argparse.Namespace, pathlib.PosixPath, pathlib.WindowsPath)  # settings that stand beside weights


def read_groups(path: Path, *, legacy: bool = False) -> dict[str, dict[str, Tensor]]:
    """Return the state dicts of a file in safetensors or in the zip form of torch.save, on the CPU.

    A checkpoint of torch.save is read by the limited process (`cell`), which hands over safetensors; they are kept
    under the SHA-256 of the file, so that this happens once. Whether values are finite is for `check_finite` to say.

    Args:
        path: judged by its content, whatever its suffix.
        legacy: also takes the old form of torch.save, a bare pickle; it too is read as tensors and nothing else.

    Returns:
        Tensors by name, by the key that they lie under: "" for a plain state dict, "model_ema", "ema/module", ...

    Raises:
        CheckpointError: a missing, empty, truncated or damaged file, another format, a file that could carry code, or
            tensors that are no plain numbers; the message names the file and the cure.
    Cost: reads the file twice; a second more when the limited process starts.
    """
    with opened(path) as (file, size):
        kind = kind_of(file, path, size, trust=legacy)
        if kind not in {"safetensors", "state dict", "pickle"}:
            raise CheckpointError(f"{path}: a whole model and no weights. Load it without `arch`.")
        place = path if kind == "safetensors" else _handed_over(file, path)
        groups = {"": _flat(_load_safetensors(place, path), path)}
    if place != path:
        groups = _divided(groups[""])
    _check_tensors(_together(groups), path, max(size, place.stat().st_size))
    return groups


def read_tensors(path: Path, *, legacy: bool = False) -> dict[str, Tensor]:
    """Return all tensors of all state dicts in a file, as `read_groups` finds them, under key and name."""
    return _together(read_groups(path, legacy=legacy), "/")


def _together(groups: Groups, border: str = _BORDER) -> dict[str, Tensor]:
    return {
        (label + border if label else "") + name: t for label, tensors in groups.items() for name, t in tensors.items()
    }


def _divided(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return what `_together` put together."""
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        label, border, rest = name.partition(_BORDER)
        groups.setdefault(label if border else "", {})[rest if border else name] = tensor
    return groups


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """Open a model file and give its size.

    Raises:
        CheckpointError: no file, or one that cannot be read.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise CheckpointError(f"{path}: expected a weight file, but this is a folder or a device. Name the file.")
        with path.open("rb") as file:
            yield file, size
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise unless all values are numbers.

    Raises:
        CheckpointError: naming the first tensor with NaN or infinity.
    """
    for name, tensor in tensors.items():
        if not all(_is_finite(part) for part in torch.split(tensor.reshape(-1), _AT_ONCE)):
            raise CheckpointError(
                f"{path}: {shown([name])} holds NaN or infinity. Take a checkpoint from before the training broke down."
            )


def _handed_over(file: IO[bytes], path: Path) -> Path:
    """Return the place of the same tensors as safetensors.

    Raises:
        CheckpointError: what the limited process says of the file.
    """
    before = os.fstat(file.fileno())
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # a binary file is one
    cached = cache.find(digest)
    if cached is not None:
        return cached
    with cache.fresh() as target:
        if can_limit():
            ask("weights", path, file, target)
        else:
            hand_over(file.fileno(), target.fileno(), {"name": str(path)})
        after = os.fstat(file.fileno())
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            raise CheckpointError(f"{path}: it changed while it was read. {AGAIN}")
        with open(target.name, "rb") as made:  # noqa: PTH123
            kind_of(made, path, os.fstat(made.fileno()).st_size)
        return cache.keep(digest, Path(target.name))


def hand_over(source: int, target: int, request: dict[str, Any]) -> dict[str, Any]:
    """Write the tensors of one open checkpoint into another open file; runs in the limited process.

    Raises:
        CheckpointError: not a state dict of plain tensors.
    """
    path, size = Path(request["name"]), os.fstat(source).st_size
    with os.fdopen(os.dup(source), "rb") as file:
        file.seek(0)
        tensors = _together(_groups(_load_state_dict(file, path), path))
    _check_tensors(tensors, path, size)
    content = save({name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()})
    with os.fdopen(os.dup(target), "wb") as out:
        out.write(content)
    return {"tensors": len(tensors)}


def read_known(path: Path, sha256: str) -> dict[str, dict[str, Tensor]]:
    """Return the state dicts of a file whose bytes are known; for packages that use the old form of torch.save.

    Raises:
        CheckpointError: a missing file, or other bytes than the known ones.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}). Install its package again.") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CheckpointError(f"{path}: not the published weights (SHA-256 differs). Install its package again.")
    return _groups(_load_state_dict(io.BytesIO(content), path), path)


def shown(names: Iterable[object], most: int = 3) -> str:
    """Return the first few names of a file as text that is safe to print: quoted, short, on one line."""
    first = list(islice(names, most + 1))
    texts = [repr(name[:60]) if isinstance(name, str) else type(name).__name__ for name in first[:most]]
    return ", ".join(texts) + (", ..." if len(first) > most else "")


def _load_safetensors(place: Path, path: Path) -> dict[str, Tensor]:
    try:
        return load_file(place)
    except Exception as error:  # the format's library may raise anything on damaged files
        raise CheckpointError(f"{path}: a truncated or damaged safetensors file. {AGAIN}") from error


def _load_state_dict(file: IO[bytes], path: Path) -> object:
    """Unpickle tensors and nothing else; torch's own words are left out, as they say how to switch this off.

    Raises:
        CheckpointError: other objects than tensors, or damaged.
    """
    try:
        with torch.serialization.safe_globals([*_NOTHING_RUNS]):
            content: object = torch.load(file, map_location="cpu", weights_only=True, mmap=False)
    except UnpicklingError:
        raise CheckpointError(
            f"{path}: it holds Python objects beside tensors, which can carry code, so it is refused. {CURE}"
        ) from None
    except Exception:  # noqa: BLE001 (torch may raise anything on damaged files)
        raise CheckpointError(f"{path}: a damaged checkpoint. {AGAIN}") from None
    return content


def _groups(content: object, path: Path) -> dict[str, dict[str, Tensor]]:
    """Return the state dicts in what a checkpoint holds, by key; looks at two levels of keys, never deeper.

    Raises:
        CheckpointError: there is none.
    """
    groups = dict(islice(_searched(content, ()), _MOST_GROUPS))
    if groups:
        return groups
    state_dict = content.get("state_dict") if isinstance(content, Mapping) else None
    return {"": _flat(state_dict if isinstance(state_dict, Mapping) else content, path)}


def _searched(content: object, keys: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield each mapping of names to tensors and nothing else, with its keys; no key again inside itself."""
    if not isinstance(content, Mapping) or not 0 < len(content) <= MAX_TENSORS:
        return
    if all(_is_named_tensor(name, value) for name, value in content.items()):
        yield "/".join(keys), {name: value.detach() for name, value in content.items()}
    elif len(keys) < _DEEPEST:
        for key, value in islice(content.items(), _MOST_KEYS):
            if isinstance(key, str) and key not in keys:
                yield from _searched(value, (*keys, key))


def _flat(content: object, path: Path) -> dict[str, Tensor]:
    """Return a state dict as it is.

    Raises:
        CheckpointError: anything else.
    """
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: expected a state dict, but it holds a {type(content).__name__}. {CURE}")
    if not 0 < len(content) <= MAX_TENSORS:
        raise CheckpointError(f"{path}: expected 1 to {MAX_TENSORS} tensors, but got {len(content)}. {CURE}")
    others = [name for name, value in content.items() if not _is_named_tensor(name, value)]
    if others:
        raise CheckpointError(
            f"{path}: expected tensors by name and nothing else, but these are no tensors: {shown(others)}. {CURE}"
        )
    return {name: value.detach() for name, value in content.items()}


def _is_named_tensor(name: object, value: object) -> bool:
    return isinstance(name, str) and type(value) in {Tensor, nn.Parameter}


def _check_tensors(tensors: Mapping[str, Tensor], path: Path, size: int) -> None:
    """Raise unless every tensor is plain and backed by bytes of the file.

    Raises:
        CheckpointError: naming the first that is not.
    """
    total = 0
    for name, tensor in tensors.items():
        where = f"{path}: {shown([name])}"
        if not _is_plain(tensor):
            raise CheckpointError(f"{where} is sparse, quantised or without data. {CURE}")
        covers = tensor.numel() * tensor.element_size()
        total += covers
        if covers > size or total > _SCANS * size:
            raise CheckpointError(f"{where} claims more values than the file has. {CURE}")


def _is_plain(tensor: Tensor) -> bool:
    special = tensor.is_quantized or tensor.is_nested
    return tensor.layout == torch.strided and tensor.device.type == "cpu" and not special


def _is_finite(tensor: Tensor) -> bool:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    narrow = tensor.is_floating_point() and tensor.element_size() == 1  # 8-bit floats have no isfinite
    return bool(torch.isfinite(tensor.float() if narrow else tensor).all())
