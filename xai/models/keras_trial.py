"""The check of a Keras archive before it is loaded. The limited process reads it, and loads it there first."""

import io
import json
import os
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from xai.core.extras import missing_extra
from xai.errors import CheckpointError

_MEMBERS = {"config.json", "metadata.json", "model.weights.h5"}
_MOST_CONFIG = 16 << 20
_MOST_OBJECTS = 200_000
_RATIO = 20
_PACKAGES = tuple(
    f"keras.{name}"
    for name in [
        "layers",
        "models",
        "initializers",
        "regularizers",
        "constraints",
        "activations",
        "dtype_policies",
        "random",
        "ops",
    ]
) + tuple(f"keras.src.{name}" for name in ["layers", "models", "ops", "engine"])
_AT_THE_TOP = {"DTypePolicy", "Functional", "Sequential", "Model", "KerasTensor", "Variable"}
_RUN_CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "function", "__lambda__"}


def import_keras() -> ModuleType:
    """Return Keras, on the torch backend unless the user said another one.

    Raises:
        MissingExtraError: it is not installed.
    """
    backend = os.environ.get("KERAS_BACKEND")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        import keras
    except Exception as error:  # one that does not work raises anything
        raise missing_extra("A Keras model", "keras", error) from error
    finally:
        if backend is None:
            os.environ.pop("KERAS_BACKEND", None)
    module: ModuleType = keras
    return module


def read_keras(place: Path, name: str) -> Any:
    """Return the network of an archive that `check_archive` let through.

    Raises:
        CheckpointError: Keras cannot read it.
    """
    keras = import_keras()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Keras about itself
            return keras.saving.load_model(place, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises anything
        first = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{name}: Keras {keras.__version__} cannot read it ({first}).") from error


def try_keras(source: int, _: int, request: dict[str, Any]) -> dict[str, Any]:
    """Load the archive in an open file and run it on one image.

    Returns:
        "input", the shape of the images without the batch, and "version" of Keras that wrote it.

    Raises:
        CheckpointError: damaged, a layer that can carry code or is not Keras's own, or a model that is no classifier.
    """
    name = request["name"]
    with os.fdopen(os.dup(source), "rb") as file:
        file.seek(0)
        content = file.read()
    version = check_archive(content, name)
    _check_weights(content, name)
    place = Path(f"{os.getpid()}.keras")
    try:
        place.write_bytes(content)
        import numpy as np

        model = read_keras(place, name)
        shape = getattr(model, "input_shape", None)
        if not isinstance(shape, tuple) or len(shape) != 4:
            raise CheckpointError(f"{name}: expected one input of images (H, W, C), but it takes {str(shape)[:80]}.")
        sizes = [side or standing for side, standing in zip(shape[1:], (224, 224, 3), strict=True)]
        outputs = import_keras().tree.flatten(model(np.zeros((1, *sizes), "float32"), training=False))
        if all(getattr(output, "ndim", 0) != 2 for output in outputs):
            raise CheckpointError(f"{name}: expected one row of class scores for an image. Only classifiers are read.")
    finally:
        place.unlink(missing_ok=True)
    return {"input": list(shape[1:]), "version": version}


def check_archive(content: bytes, name: str) -> str:
    """Look at an archive without Keras and without HDF5; return the version that wrote it.

    Raises:
        CheckpointError: it may not be loaded.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {member.filename: member for member in archive.infolist()}
            fault = _member_fault(members, len(content))
            config = {} if fault else json.loads(archive.read("config.json"))
            about = json.loads(archive.read("metadata.json")) if not fault and "metadata.json" in members else {}
            fault = fault or next(_config_faults(_network(config)), "")
    except Exception as error:  # zipfile and json raise anything on damaged files
        raise CheckpointError(f"{name}: a damaged Keras archive ({type(error).__name__}). Save it again.") from error
    if fault:
        raise CheckpointError(f"{name}: {fault}")
    return str(about.get("keras_version", "unknown"))[:20] if isinstance(about, dict) else "unknown"


def _network(config: Any) -> Any:
    """Return a configuration without how the network was trained, which `load_model(compile=False)` never looks at."""
    return {k: v for k, v in config.items() if k != "compile_config"} if isinstance(config, dict) else config


def _member_fault(members: dict[str, zipfile.ZipInfo], size: int) -> str:
    strange = sorted(set(members) - _MEMBERS)
    if strange:
        return f"the Keras archive has members that no plain network needs ({strange[0][:60]!r}), so it is refused."
    if members["config.json"].file_size > _MOST_CONFIG:
        return f"the configuration of the network has more than {_MOST_CONFIG >> 20} MB, so it is refused."
    if sum(member.file_size for member in members.values()) > _RATIO * size:
        return f"the archive claims more than {_RATIO} times its bytes, so it is refused."
    return ""


def _config_faults(config: Any) -> Iterator[str]:
    """Yield what in a configuration is not a layer of Keras itself."""
    waiting, seen = [config], 0
    while waiting:
        part = waiting.pop()
        seen += 1
        if seen > _MOST_OBJECTS:
            yield f"its configuration has more than {_MOST_OBJECTS} parts."
            return
        if isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, dict):
            waiting.extend(part.values())
            fault = _class_fault(part)
            if fault:
                yield fault


def _class_fault(part: dict[str, Any]) -> str:
    kind, module, registered = (part.get(key) for key in ("class_name", "module", "registered_name"))
    if kind is None:
        return ""
    refusal = "a Keras archive can carry code, and this one"
    if not isinstance(kind, str) or kind in _RUN_CODE:
        return f"{refusal} does, in {str(kind)[:40]!r}, so it is refused. Write that layer with Keras's own."
    home = str(module)
    own = home in _PACKAGES or home.startswith(tuple(f"{package}." for package in _PACKAGES))
    if module is not None and home != "builtins" and not own and not (home == "keras" and kind in _AT_THE_TOP):
        return f"{refusal} needs {home[:60]!r} for {kind[:40]!r}, so it is refused. Only Keras's own layers are read."
    if isinstance(registered, str) and ">" in registered:
        return f"{refusal} needs {registered[:60]!r}, so it is refused. Only Keras's own layers are read."
    return ""


def _check_weights(content: bytes, name: str) -> None:
    """Raise unless every value of the weights is in the file itself.

    Raises:
        CheckpointError: damaged, or not so.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            fault = _weights_fault(archive.read("model.weights.h5"))
    except Exception as error:  # zipfile and HDF5 raise anything on damaged files
        raise CheckpointError(f"{name}: a damaged Keras archive ({type(error).__name__}). Save it again.") from error
    if fault:
        raise CheckpointError(f"{name}: {fault}")


def _weights_fault(content: bytes) -> str:
    import h5py

    total = 0
    with h5py.File(io.BytesIO(content), "r") as file:
        waiting = [file]
        while waiting:
            group = waiting.pop()
            for key in group:
                link = group.get(key, getlink=True)
                if not isinstance(link, h5py.HardLink):
                    return "its weights point to other places, so it is refused."
                item = group[key]
                if isinstance(item, h5py.Group):
                    waiting.append(item)
                elif item.external or item.is_virtual:
                    return "its weights are in other files, so it is refused."
                else:
                    total += item.nbytes
    return "its weights claim more bytes than the file has." if total > _RATIO * len(content) else ""
