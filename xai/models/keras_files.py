"""Keras archives (`.keras`) on the torch backend, layer by layer, so that each can be looked at."""

import os
import tempfile
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from torch import Tensor, nn

from xai.core.extras import missing_extra
from xai.errors import UnsupportedModelError
from xai.models import cache
from xai.models.guard import opened
from xai.models.keras_trial import check_archive, import_keras, read_keras
from xai.models.reader import ask, can_limit
from xai.models.sources import Built

_ROOM = 4 << 30
_HEADS = ("softmax", "sigmoid")
_BRIGHT = 1 / 64  # a Rescaling below this expects pixels from 0 to 255
_NO_SCALE = "the file says nothing of mean and std: give those of the training, unless the network does it itself"


def open_keras(path: Path) -> Built:
    """Return the network of a Keras archive and how to use it; networks trained in TensorFlow load as well.

    The archive is looked at and loaded in the limited process first. A softmax or sigmoid of the last layer is taken
    off, so that the answers are logits. Pictures with channels last are turned inside; a network that begins with a
    Rescaling gets pixels from 0 to 255.

    Raises:
        MissingExtraError: keras is not installed.
        CheckpointError: a damaged archive, or one with layers that can carry code or are not Keras's own.
        UnsupportedModelError: a subclassed network, whose layers cannot be told, or Keras runs on another backend.
    """
    with opened(path) as (file, _):
        content = file.read()
        check_archive_here(content, path)
        keras = _on_torch()
        facts = _tried(path, file)
    with tempfile.TemporaryDirectory(prefix="xai-keras-") as folder:
        place = Path(folder) / "model.keras"
        place.write_bytes(content)  # the bytes that were tried, under the suffix that Keras asks for
        model = read_keras(place, str(path))
    notes = [f"Keras archive of version {facts['version']}, its pictures (N, H, W, C) are turned inside"]
    settings = _head_off(keras, model, notes)
    height, width, channels = facts["input"]
    settings["channels"] = channels or 3
    if height and width:
        settings["input_size"] = (height, width)
    if _wants_bytes(keras, model):
        settings["std"] = (1 / 255,) * settings["channels"]
        notes.append("it begins with a Rescaling: it gets pixels from 0 to 255")
    elif not _has_own_scale(keras, model):
        notes.append(_NO_SCALE)
    return _Network(model).eval(), {**settings, "name": path.stem, "notes": notes}


def check_archive_here(content: bytes, path: Path) -> None:
    """Look at the archive in this process: cheap, and a refusal starts nothing."""
    try:
        check_archive(content, str(path))
    except ImportError as error:
        raise missing_extra("A Keras model", "keras", error, "h5py") from error


def _tried(path: Path, file: IO[bytes]) -> dict[str, Any]:
    if not can_limit():
        from xai.models.keras_trial import try_keras

        return try_keras(file.fileno(), file.fileno(), {"name": str(path)})
    with cache.fresh() as target:
        return ask("keras", path, file, target, memory=_ROOM + 8 * os.fstat(file.fileno()).st_size, seconds=60)


def _on_torch() -> ModuleType:
    keras = import_keras()
    if keras.backend.backend() != "torch":
        raise UnsupportedModelError(
            f"Keras runs on {keras.backend.backend()!r} here, and gradients need torch. Set KERAS_BACKEND=torch before "
            "keras is imported."
        )
    return keras


def _head_off(keras: ModuleType, model: Any, notes: list[str]) -> dict[str, Any]:
    """Make the last layer answer logits; return the settings of the head."""
    last = model.layers[-1]
    kind = (
        "softmax"
        if isinstance(last, keras.layers.Softmax)
        else getattr(getattr(last, "activation", None), "__name__", "")
    )
    if kind not in _HEADS:
        return {}
    if isinstance(last, keras.layers.Softmax):
        last.call = _as_it_is
    else:
        last.activation = keras.activations.linear
    notes.append(f"ends in a {kind}, which is taken off: what goes into it is the logits")
    return {"task": "multiclass" if kind == "softmax" else "multilabel", "output": "logits"}


def _wants_bytes(keras: ModuleType, model: Any) -> bool:
    return any(
        isinstance(layer, keras.layers.Rescaling) and abs(float(layer.scale)) < _BRIGHT
        for layer in model.layers[:3]
        if not isinstance(getattr(layer, "scale", None), list | tuple)
    )


def _has_own_scale(keras: ModuleType, model: Any) -> bool:
    return any(isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization) for layer in model.layers[:4])


def _as_it_is(inputs: Tensor, mask: Any = None) -> Tensor:  # noqa: ARG001 (Keras gives it)
    return inputs


class _Step(nn.Module):
    """One layer of Keras as a module of torch, whose hooks are called; Keras's own never are."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: Any, **settings: Any) -> Any:
        return self.layer(*inputs, **settings)


class _Graph(nn.Module):
    """A functional or sequential network, run through its graph with a `_Step` for each layer."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = [getattr(model, "_functional", None) or model]  # in a list: no module of this one
        self.steps = nn.ModuleDict()
        for operation in self._model[0].operations:
            inner = getattr(operation, "_functional", None) or operation
            whole = hasattr(inner, "_run_through_graph")
            self.steps[operation.name.replace(".", "_")] = _Graph(operation) if whole else _Step(operation)

    def forward(self, *inputs: Any, **_: Any) -> Any:
        found = self._model[0]._run_through_graph(
            list(inputs), operation_fn=lambda operation: self.steps[operation.name.replace(".", "_")]
        )
        return found[0] if isinstance(found, list | tuple) and len(found) == 1 else found


class _Network(nn.Module):
    """Takes pictures (N, C, H, W) to a Keras network."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        if not hasattr(getattr(model, "_functional", None) or model, "_run_through_graph"):
            raise UnsupportedModelError(
                "A subclassed Keras network cannot be taken apart. Write it as a functional one."
            )
        self.graph = _Graph(model)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.graph(images.permute(0, 2, 3, 1))
        return found
