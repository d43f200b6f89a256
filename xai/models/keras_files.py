"""Keras archives (`.keras`) on the torch backend. They run layer by layer, so that each can be explained."""

import os
import tempfile
from collections.abc import Collection
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from torch import Tensor, nn

from xai.core.extras import missing_extra
from xai.core.model.predictions import DeclaredTask
from xai.core.results.message import Message
from xai.errors import UnsupportedModelError
from xai.models.inspection import chosen_output, head_settings, scale_settings
from xai.models.keras_trial import check_archive, import_keras, read_keras
from xai.models.sandbox import client as cache
from xai.models.sandbox.client import ask, can_limit
from xai.models.sandbox.weights import opened
from xai.models.sources import Built

_ROOM = 4 << 30
_SIDE = 64  # stands in for a side that the archive leaves open


def open_keras(path: Path, declared: DeclaredTask) -> Built:
    """Return the network of a Keras archive and how to use it; networks trained in TensorFlow load as well.

    The archive is looked at and loaded in the limited process first. Of several outputs one is taken, as of an ONNX
    file. A softmax or sigmoid of the last layer is taken off, so that the answers are logits. Images with channels
    last are turned inside; a model whose first operations expect pixels from 0 to 255
    gets them (`entry_scale`), and layers that augment images are not active.

    Raises:
        MissingExtraError: keras is not installed.
        CheckpointError: a damaged archive, or one with layers that can carry code or are not Keras's own.
        UnsupportedModelError: a subclassed network, whose layers are unknown, no such output as the one asked for,
            or Keras runs on another backend.
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
    template = "Keras archive of version {version}, its images (N, H, W, C) are turned inside"
    notes: list[str] = [Message(template, version=facts["version"])]
    model, cut_notes = _cut_to_one(keras, model, declared)
    notes += cut_notes
    settings = _head_off(keras, model, declared, notes)
    height, width, channels = facts["input"]
    settings["channels"] = channels or 3
    if height and width:
        settings["input_size"] = (height, width)
    network = _Network(model).eval()
    settings |= scale_settings(network, (1, settings["channels"], height or _SIDE, width or _SIDE), notes)
    return network, {**settings, "name": path.stem, "notes": notes}


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


def _cut_to_one(keras: ModuleType, model: Any, declared: DeclaredTask) -> tuple[Any, list[str]]:
    """Return the network with one output, the class scores, and notes."""
    if not getattr(model, "outputs", None):
        return model, []
    named = _named_outputs(model)
    outputs = [
        {"name": name, "shape": [size or 0 for size in output.shape], "floating": "float" in str(output.dtype)}
        for name, output in named
    ]
    place, notes = chosen_output(outputs, declared, None, 1)
    return model if len(named) == 1 else keras.Model(model.inputs, named[place][1]), notes


def _named_outputs(model: Any) -> list[tuple[str, Any]]:
    """Return the outputs under the names that the model gives them, or else those of their layers."""
    inner = getattr(model, "_functional", None) or model
    given = getattr(inner, "_outputs_struct", None)
    if isinstance(given, dict) and len(given) == len(model.outputs):
        return list(given.items())
    return list(zip(getattr(inner, "output_names", ["output"]), model.outputs, strict=False))


def _head_off(keras: ModuleType, model: Any, declared: DeclaredTask, notes: list[str]) -> dict[str, Any]:
    """Make the last layer answer logits; return the settings of the head."""
    last = model.layers[-1]
    made = getattr((getattr(model, "outputs", None) or [None])[0], "_keras_history", None)
    if made is not None and made[0] is not last:
        return {}  # an operation follows that is no layer
    kind = (
        "softmax"
        if isinstance(last, keras.layers.Softmax)
        else getattr(getattr(last, "activation", None), "__name__", "")
    )
    settings = head_settings(kind, declared, notes)
    if settings and isinstance(last, keras.layers.Softmax):
        last.call = _as_it_is
    elif settings:
        last.activation = keras.activations.linear
    return settings


def _as_it_is(inputs: Tensor, mask: Any = None) -> Tensor:  # noqa: ARG001 (Keras gives it)
    return inputs


class _KerasStep(nn.Module):
    """One layer of Keras as a module of torch, whose hooks are called; Keras's own never are."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer
        self.evaluated = {"training": False} if "training" in _arguments(layer) else {}

    def forward(self, *inputs: Any, **settings: Any) -> Any:
        return self.layer(*inputs, **{**settings, **self.evaluated})


def _arguments(layer: Any) -> Collection[str]:
    """Return the names of what a layer takes; those that augment images are active unless `training` is False."""
    return signature(layer.call).parameters if hasattr(layer, "call") else ()


class _Graph(nn.Module):
    """A functional or sequential network, run through its graph with a `_Step` for each layer."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = [getattr(model, "_functional", None) or model]  # in a list: no module of this one
        self.steps = nn.ModuleDict()
        for operation in self._model[0].operations:
            inner = getattr(operation, "_functional", None) or operation
            whole = hasattr(inner, "_run_through_graph")
            self.steps[operation.name.replace(".", "_")] = _Graph(operation) if whole else _KerasStep(operation)

    def forward(self, *inputs: Any, **_: Any) -> Any:
        outputs = self._model[0]._run_through_graph(
            list(inputs), operation_fn=lambda operation: self.steps[operation.name.replace(".", "_")]
        )
        return outputs[0] if isinstance(outputs, list | tuple) and len(outputs) == 1 else outputs


class _Network(nn.Module):
    """Takes images (N, C, H, W) to a Keras network."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        if not hasattr(getattr(model, "_functional", None) or model, "_run_through_graph"):
            raise UnsupportedModelError(
                "A subclassed Keras network cannot be taken apart. Write it as a functional one."
            )
        self.graph = _Graph(model)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.graph(images.permute(0, 2, 3, 1))
        return logits
