"""A head fitted on the features of a model: the classifier, and its file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from xai.core.model.classifier import Classifier
from xai.core.model.fingerprint import fingerprint_module
from xai.core.model.hooks import copied
from xai.core.results.codec import finite, plain
from xai.core.results.message import message_table, with_messages
from xai.core.runtime.batching import first_tensor
from xai.errors import CheckpointError, InputError, UnsupportedModelError
from xai.models.architectures import Architecture, build_network
from xai.models.sandbox.weights import read_tensors
from xai.models.sources import MODELS, Built
from xai.models.weight_fitting import fit_weights

_KEY, _FORM = "xai_probe", 1
_MESSAGES = "messages"  # the templates of the notes
_PARTS = ("weights", "bias", "vectors", "shift", "scale", "gamma")
_RECORD = {"base", "layer", "extractor", "settings", "accuracy", "interval", "count", "notes"}


class FeatureNet(nn.Module):
    """A model up to the inputs of its last linear layer; names of its layers begin with "net.".

    Args:
        module: the model; it is copied.
        layer: name of its last linear layer; None takes what the model returns as the features.

    Raises:
        UnsupportedModelError: no such layer.
    """

    def __init__(self, module: nn.Module, layer: str | None) -> None:
        super().__init__()
        self.net = copied(module).eval().requires_grad_(False)
        if layer is not None and layer not in dict(self.net.named_modules()):
            raise UnsupportedModelError(f"{type(module).__name__} has no layer {layer!r} to take features before.")
        if layer is not None:
            self.net.set_submodule(layer, nn.Identity())
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return features (N, D) of normalised images (N, C, H, W)."""
        features = first_tensor(self.net(images))
        if features is None:
            raise UnsupportedModelError("Expected features as a tensor, but the model returned none.")
        return features.flatten(1)


class ProbeHead(nn.Module):
    """Class scores (N, K) of features (N, D): linear, or linear in Gaussian kernels around support vectors.

    Args:
        weights: (K, D), or (K, V) of kernels.
        bias: (K,).
        vectors: (V, D) support vectors; (0, D) for a linear head.
        shift: (D,) subtracted from the features before the kernels.
        scale: (D,) divides afterwards.
        gamma: (1,) of the kernel exp(-gamma * squared distance).
    """

    def __init__(self, **parts: Tensor) -> None:
        super().__init__()
        for name in _PARTS[2:]:
            self.register_buffer(name, parts[name].float().contiguous())
        rows, width = parts["weights"].shape
        self.linear = nn.Linear(width, rows, device="meta").to_empty(device="cpu")  # draws no random numbers
        with torch.no_grad():
            self.linear.weight.copy_(parts["weights"])
            self.linear.bias.copy_(parts["bias"])
        self.eval().requires_grad_(False)

    @property
    def parts(self) -> dict[str, Tensor]:
        """The tensors it is made of."""
        buffers = {name: self.get_buffer(name) for name in _PARTS[2:]}
        return {"weights": self.linear.weight.detach(), "bias": self.linear.bias.detach(), **buffers}

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (N, K), differentiable."""
        vectors = self.get_buffer("vectors")
        if vectors.shape[0]:
            rows = (features - self.get_buffer("shift")) / self.get_buffer("scale")
            squares = rows.square().sum(1, keepdim=True) + vectors.square().sum(1) - 2 * rows @ vectors.T
            features = torch.exp(-self.get_buffer("gamma") * squares.clamp_min(0))
        scores: Tensor = self.linear(features)
        return scores


class ProbeNet(nn.Module):
    """Features and head.

    Args:
        extractor: of the features.
        head: on them.
        record: JSON-ready: what the head was fitted on and how well it does.
    """

    told_of_it = frozenset({"record"})  # changes no answer, so it is in no fingerprint

    def __init__(self, extractor: FeatureNet, head: ProbeHead, record: Mapping[str, Any]) -> None:
        super().__init__()
        self.extractor, self.head, self.record = extractor, head, dict(record)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K) of normalised images (N, C, H, W)."""
        scores: Tensor = self.head(self.extractor(images))
        return scores


class Probe(Classifier):
    """A classifier of `xai.fit_probe`: the features of a model and a head fitted on them.

    Example:
        >>> import xai
        >>> train = xai.load_data("example:fashion-train").subset(300)
        >>> probe = xai.fit_probe("example:fashion", train)
        >>> probe.accuracy > 0.6
        True
    """

    @property
    def accuracy(self) -> float:
        """Share of held-out images whose class is predicted, when it was fitted."""
        return float(self._record["accuracy"])

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of the accuracy, 95 %."""
        low, high = self._record["interval"]
        return float(low), float(high)

    @property
    def held_out(self) -> int:
        """Number of held-out images."""
        return int(self._record["count"])

    @property
    def _record(self) -> dict[str, Any]:
        record: dict[str, Any] = self.module.record  # type: ignore[assignment]  # a ProbeNet's
        return record

    def to_dict(self) -> dict[str, Any]:
        """Return name, fingerprint, classes and what the head was fitted on, JSON-ready."""
        names = list(self.class_names)
        record = {"name": self.name, "fingerprint": self.fingerprint, "class_names": names}
        return record | {"fit": finite(plain(self._record))}

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file, for `xai.load(path)`.

        Of a model of `xai.catalogue()` only the name is written; of any other the weights of the features are, too,
        and `xai.load(path, arch=...)` needs the code of the whole model, as for any weight file.

        Raises:
            InputError: another ending than ".safetensors".
        """
        place = Path(path)
        if place.suffix != ".safetensors":
            raise InputError(f"Expected a path that ends in .safetensors, but got {place.name!r}.")
        net = self.module
        assert isinstance(net, ProbeNet)
        tensors = {f"head.{name}": part.contiguous() for name, part in net.head.parts.items()}
        if net.record["base"] is None:
            state = net.extractor.net.state_dict()
            tensors |= {f"extractor.{name}": value.clone().contiguous() for name, value in state.items()}
        settings = {**kept_settings(self), "class_names": list(self.class_names), "name": self.name}
        record = {**net.record, "settings": settings}
        whole = {"form": _FORM, **record, _MESSAGES: message_table(record["notes"])}
        save_file(tensors, place, {_KEY: json.dumps(whole, sort_keys=True)})
        return place


def kept_settings(classifier: Classifier) -> dict[str, Any]:
    """Return what is done to images before the features, JSON-ready; a head's outputs are always logits."""
    known = classifier.preprocessing
    return {key: known[key] for key in ("input_size", "channels", "mean", "std", "resize", "crop_ratio")}


def is_probe(path: Path) -> bool:
    """Return whether a safetensors file, looked at before, is one of `Probe.save`."""
    return _KEY in _metadata(path)


def open_probe(path: Path, arch: Architecture | None) -> Built:
    """Return the network of a file of `Probe.save` and how to use it.

    Raises:
        CheckpointError: damaged, or of another model than the one that is here.
        InputError: features of a model without a name, and no `arch`.
    """
    record = _record_of(path)
    tensors = read_tensors(path)
    base = _base(record, arch, path)
    extractor = FeatureNet(base, record["layer"])
    own = {name.removeprefix("extractor."): t for name, t in tensors.items() if name.startswith("extractor.")}
    if record["base"] is None:
        fit_weights(extractor.net, {"": own}, path)
    if fingerprint_module(extractor) != record["extractor"]:
        raise CheckpointError(f"{path}: its head was fitted on features of another model than the one here. Fit anew.")
    try:
        head = ProbeHead(**{name: tensors[f"head.{name}"] for name in _PARTS})
        record["notes"] = with_messages([str(note) for note in record["notes"]], record.get(_MESSAGES, {}))
        settings = {**record["settings"], "notes": record["notes"]}
        settings["input_size"] = tuple(settings["input_size"]) if settings["input_size"] else None
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: a damaged file of a probe ({error}). Save it again.") from error
    return ProbeNet(extractor, head, {name: record[name] for name in _RECORD}), settings


def _base(record: Mapping[str, Any], arch: Architecture | None, path: Path) -> nn.Module:
    """Return the model whose features are meant; a file names only models that are installed here."""
    if arch is not None:
        return build_network(arch)
    if record["base"] is None:
        raise InputError(f'{path} holds a head on features of a model of yours: arch="package.module:factory".')
    if record["base"] not in MODELS.names():
        raise CheckpointError(f"{path}: it names no model of `xai.catalogue()`. Save it again.")
    return MODELS[str(record["base"])].build()[0]


def _record_of(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(_metadata(path)[_KEY])
        whole = isinstance(record, dict) and record.keys() >= _RECORD and record.get("form") == _FORM
    except (ValueError, RecursionError):
        whole = False
    if not whole:
        raise CheckpointError(f"{path}: a damaged file of a probe. Save it again.")
    return dict(record)


def _metadata(path: Path) -> Mapping[str, str]:
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except Exception as error:  # the format's library may raise anything on damaged files
        raise CheckpointError(f"{path}: a truncated or damaged safetensors file. Save it again.") from error
