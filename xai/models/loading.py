"""`load`: a classifier from a name, a file or a module, on a device."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xai.core.layers.selection import remember_layer
from xai.core.model.classifier import Classifier
from xai.core.model.forward import FurtherInputs
from xai.core.model.hooks import random_states_kept
from xai.core.model.predictions import DeclaredTask, Key, OutputMeaning
from xai.core.runtime.devices import move, pick_device
from xai.core.validation import checked_size
from xai.errors import CheckpointError, InputError, NameLookupError, UnsupportedModelError
from xai.models.architectures import Architecture, build_network
from xai.models.estimators import attach
from xai.models.file_format import kind_of
from xai.models.hubs import HUBS, open_hub
from xai.models.inspection import examine
from xai.models.keras_files import open_keras
from xai.models.onnx.files import open_onnx
from xai.models.probes import Probe, ProbeNet, is_probe, open_probe
from xai.models.sandbox.weights import opened, read_groups, read_tensors, shown
from xai.models.sources import MODELS, Built
from xai.models.trusted import open_trusted
from xai.models.weight_fitting import fit_weights


def open_model(
    path: Path, arch: Architecture | None, declared: DeclaredTask, *, weights: str | None = None, trust: bool = False
) -> Built:
    """Return the network of a file and what the file says of how to use it.

    With `arch` the file has to hold weights, which are read as weights alone, trusted or not; `weights` chooses where
    it holds several. Without it, it has to be
    a whole model: ONNX or Keras, or, with `trust`, one of the forms that can carry code. What is done follows from the
    arguments and from the file's structure, never from the failure of a first try. `declared` says what is known of the
    outputs of a whole model: the readers take the one of several that is meant, so that "output_key" is settled.

    Raises:
        InputError: weights without `arch`, or a choice of weights without one.
        CheckpointError: a file that cannot be used, or weights that do not fit.
    """
    with opened(path) as (file, size):
        kind = kind_of(file, path, size, trust=trust)
    if kind == "safetensors" and is_probe(path):
        return open_probe(path, arch)
    if arch is not None:
        groups = read_groups(path, legacy=trust)
        network = build_network(arch)
        return network, {"name": path.stem, "notes": fit_weights(network, groups, path, weights)}
    if weights is not None:
        raise InputError('`weights` chooses among weights in a file: name the `arch` too, "package.module:factory".')
    if kind in _WHOLE:
        network, own = _WHOLE[kind](path, declared)
        return network, {**own, "output_key": None}
    if kind == "safetensors" or not trust:
        tensors = read_tensors(path)
        raise InputError(
            f"{path} holds {len(tensors)} tensors ({shown(tensors)}) and no network. "
            'Name the one they belong to: arch="package.module:factory".'
        )
    return open_trusted(path, kind)


_WHOLE = {"onnx": open_onnx, "keras": open_keras}


_WAYS = (
    "Or give torchvision:NAME, timm:NAME, hf:ORG/NAME, the path of an ONNX or Keras model, or that of a state dict "
    '(safetensors, or .pt of torch.save) with `arch="package.module:factory"`.'
)
_HUB_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]+:")  # two letters at least: "C:" is a drive


def load(
    source: str | os.PathLike[str] | nn.Module | Classifier,
    arch: Architecture | None = None,
    *,
    class_names: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    input_size: tuple[int, int] | None = None,
    channels: int | None = None,
    resize: str | None = None,
    name: str | None = None,
    device: str | torch.device | None = None,
    task: str | None = None,
    output: str | None = None,
    output_key: int | str | None = None,
    estimator: Any = None,
    weights: str | None = None,
    inputs: FurtherInputs | None = None,
    trust: bool = False,
) -> Classifier:
    """Return a classifier from a name, a model file or a module.

    Files are judged by their content, never by their suffix, and nothing in them runs unless `trust` says so. What is
    not given is taken from the source or found by a first look at the network; `notes` of the classifier say what.

    Args:
        source: a name of `xai.catalogue()`; "torchvision:NAME", "timm:NAME" or "hf:ORG/NAME"; the path of an ONNX or
            Keras model, of weights or of a probe; a module; or a classifier, which comes back as it is.
        arch: the network of a weight file: "package.module:factory" or another callable without arguments, or a module.
        class_names: in the order of the outputs; None takes the source's own, or names them "0", "1", ...
        mean: per channel, subtracted from pixels in [0, 1].
        std: per channel, divides afterwards.
        input_size: (height, width) of the network's input.
        channels: 3 for colour, 1 for grey.
        resize: "crop" (None means so), "squash" or "pad".
        name: shown in reports; None takes the source's own.
        device: "auto" for a GPU when there is one, "cpu", "cuda", "cuda:1", "mps"; None leaves it where it is.
        task: "multiclass", "binary" or "multilabel"; None finds it, or refuses, as of one unbounded output.
        output: "logits", or "probabilities" when the model ends in a softmax or sigmoid; None finds it.
        output_key: name or place of the class scores (with `estimator`, the features) among several outputs.
        estimator: a fitted scikit-learn classifier (linear, SVC, Pipeline with scalers) on the network's outputs.
        weights: which weights of a checkpoint that holds several, such as "model_ema"; None takes those that fit.
        inputs: further inputs of the network: tensors (1, ...) by name, or a function from the images to them.
        trust: also reads TorchScript, .pt2 and pickled modules, which may run anything on this machine.

    Raises:
        NameLookupError: no such model; near names are suggested.
        CheckpointError: a file that cannot be used or could carry code, or weights that do not fit `arch`.
        InputError: `arch` missing or of no use here, or no such device.
        UnsupportedModelError: no module, or one that is no classifier of images.
        NonFiniteError: NaN or infinity in the weights or answers.
        MissingExtraError: the source needs an optional package.

    Example:
        >>> import xai
        >>> xai.load("example:fashion").input_size
        (28, 28)
    """
    given: dict[str, Any] = {"class_names": class_names, "mean": mean, "std": std, "channels": channels, "name": name}
    given |= {"input_size": checked_size(input_size), "resize": resize, "task": task, "output": output}
    settings = {key: value for key, value in (given | {"output_key": output_key}).items() if value is not None}
    place = pick_device(device)
    if isinstance(source, Classifier):
        return _placed(source, settings | ({} if estimator is None else {"estimator": estimator}), arch, place)
    with random_states_kept():  # building a network draws weights
        built = _find(source, arch, weights, _declared(settings), trust=trust)
        module, own = _completed(*built, inputs, estimator, output_key)
        move(module, place)
        classifier = _examined(module, _together(own, settings), known=estimator is None and source in MODELS.names())
    return classifier if settings or module is not built[0] else _with_known_layer(classifier, source)


def _declared(settings: dict[str, Any]) -> DeclaredTask:
    task, output, key, names = (settings.get(name) for name in ("task", "output", "output_key", "class_names"))
    return DeclaredTask(task, output, key, None if names is None else len(names), settings.get("input_size"))


def _together(own: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings given over those of the source, which may have followed `output_key` already."""
    return {**own, **{name: value for name, value in settings.items() if name != "output_key" or name not in own}}


def _completed(
    module: nn.Module, own: dict[str, Any], inputs: FurtherInputs | None, estimator: object, key: Key | None
) -> Built:
    """Return the network with its further inputs and what reads its answers, and how to use it."""
    if inputs is not None:
        classifier = Classifier(module, inputs=inputs)
        module, own = classifier.module, {"name": classifier.name, **own}
    if estimator is not None:
        module, more = attach(module, estimator, None if "output_key" in own else key)
        own = {**own, **more, "output_key": None, "notes": [*own.get("notes", ()), *more["notes"]]}
    return module, own


def _examined(module: nn.Module, settings: dict[str, Any], *, known: bool) -> Classifier:
    """Return the classifier; a shipped model or a probe needs no examination."""
    return (_known if known or isinstance(module, ProbeNet) else examine)(module, settings)


def _known(module: nn.Module, settings: dict[str, Any]) -> Classifier:
    """Return the classifier of a model with a name, whose outputs are logits of classes that exclude each other."""
    classifier = (Probe if isinstance(module, ProbeNet) else Classifier)(module, **settings)
    if not {"task", "output", "output_key"} & settings.keys():
        classifier.settle(OutputMeaning())
    return classifier


def _with_known_layer(classifier: Classifier, source: object) -> Classifier:
    """Return the classifier of a source as it comes, whose layer is known where it is shipped."""
    if source in MODELS.names():
        remember_layer(classifier, *MODELS[str(source)].layer)
    return classifier


def _placed(classifier: Classifier, settings: dict[str, Any], arch: object, device: torch.device | None) -> Classifier:
    """Return the classifier itself, on the device asked for."""
    _refuse_arch(arch, classifier.name)
    if settings:
        raise InputError(
            f"{classifier.name!r} has its settings already: load its `.module` to give it {', '.join(settings)}."
        )
    if device is not None:
        classifier.module.to(device)
    return classifier


def _find(
    source: object, arch: Architecture | None, weights: str | None, declared: DeclaredTask, *, trust: bool
) -> Built:
    """Return the network and what is known of how to use it."""
    if isinstance(source, nn.Module):
        _refuse_arch(arch, "a module")
        return source, {}
    if not isinstance(source, str | os.PathLike):
        raise UnsupportedModelError(
            f"Expected a model's name, a weight file or a module, but got {type(source).__name__}. {_WAYS}"
        )
    text = os.fspath(source)
    if text in MODELS:
        _refuse_arch(arch, repr(text))
        return MODELS[text].build()
    if text.partition(":")[0] in HUBS and ":" in text and not Path(text).exists():
        _refuse_arch(arch, repr(text))
        return open_hub(text)
    if _is_path(text):
        return open_model(Path(text), arch, declared, weights=weights, trust=trust)
    raise _unknown(text)


def check_source(text: str) -> None:
    """Raise unless a name or path could be loaded, without loading it: names are known, files are there.

    Raises:
        NameLookupError: no such name.
        CheckpointError: no such file.
    """
    if text in MODELS or (text.partition(":")[0] in HUBS and ":" in text):
        return
    if not _is_path(text):
        raise _unknown(text)
    if not Path(text).exists():
        raise CheckpointError(f"{text}: no such file. Check the path of the model.")


def _is_path(text: str) -> bool:
    """Whether it is a path that exists, or looks like one that should."""
    try:
        exists = Path(text).exists()
    except OSError:  # too long for a path
        exists = False
    looks = bool(Path(text).suffix) or "/" in text or os.sep in text
    return exists or (looks and not _HUB_NAME.match(text) and "\0" not in text)


def _unknown(text: str) -> NameLookupError:
    error = NameLookupError("model", text, MODELS.names())
    error.args = (f"{error} {_WAYS}",)
    return error


def _refuse_arch(arch: object, source: str) -> None:
    if arch is not None:
        raise InputError(f"`arch` names the network of a weight file, but {source} brings its own. Leave `arch` out.")
