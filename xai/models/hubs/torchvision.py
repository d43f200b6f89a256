"""`torchvision:NAME`: torchvision's networks with their published weights, transforms and class names."""

import hashlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from xai.core.extras import missing_extra
from xai.core.results.message import Message
from xai.core.validation import check_choice
from xai.errors import CheckpointError, InputError
from xai.models.hubs import HUBS
from xai.models.hubs.download import fetch, in_torch_cache
from xai.models.sandbox.weights import read_groups
from xai.models.sources import Built
from xai.models.weight_fitting import fit_weights

_HASH = re.compile(r"-([0-9a-f]{8,64})\.")


@HUBS.register("torchvision")
def open_torchvision(name: str) -> Built:
    """Return a network of torchvision, by "resnet50" or, with other weights than the default, "resnet50:IMAGENET1K_V1".

    The weights file is torch's own download where it is there, or downloaded; it is never unpickled: the limited
    process reads its tensors. Torchvision publishes the first 8 digits of the file's SHA-256, which are checked; the
    full one is kept at the first download and checked from then on.

    Raises:
        MissingExtraError: torchvision is not installed or does not fit this torch.
        NameLookupError: no such network or weights.
        InputError: no image classifier.
        CheckpointError: the weights cannot be had, or are not the published ones.
    """
    models = _models()
    network_name, _, which = name.partition(":")
    known = models.list_models(module=models)
    check_choice("network of torchvision", network_name, known)
    offered = models.get_model_weights(network_name)
    choice = check_choice(f"weights of {network_name}", which or None, offered.__members__, optional=True)
    weights = offered.DEFAULT if choice is None else offered[choice]
    network = models.get_model(network_name, weights=None, num_classes=len(weights.meta["categories"]))
    path = _file(weights.url)
    fit_weights(network, read_groups(path, legacy=True), path)
    return network.eval(), {**taken_over(weights), "name": f"torchvision:{network_name}"}


def _models() -> ModuleType:
    try:
        from torchvision import models
    except Exception as error:  # its wheel may not fit the torch that is here
        raise missing_extra("A model of torchvision", "torchvision", error) from error
    module: ModuleType = models
    return module


def taken_over(weights: Any) -> dict[str, Any]:
    """Return the settings that the weights' own transforms and categories say, and notes of them.

    Raises:
        InputError: weights whose transforms are not those of an image classifier.
    """
    preset = weights.transforms()
    if not all(hasattr(preset, part) for part in ("crop_size", "resize_size", "mean", "std")):
        raise InputError(f"{weights}: not the weights of an image classifier.")
    crop, resized = int(preset.crop_size[0]), int(preset.resize_size[0])
    class_names = _different(weights.meta["categories"])
    way = str(getattr(preset.interpolation, "value", preset.interpolation))
    note = Message(
        "weights {weights}: {count} class names, resize {resize}, crop {crop}, mean {mean}, std {std} from torchvision",
        weights=str(weights),
        count=len(class_names),
        resize=resized,
        crop=crop,
        mean=_short(preset.mean),
        std=_short(preset.std),
    )
    notes = [note]
    if way != "bilinear":
        notes.append(Message("torchvision resizes this model's images {way}, xai does so bilinear", way=way))
    settings = {"class_names": class_names, "input_size": (crop, crop), "resize": "crop", "crop_ratio": crop / resized}
    return {**settings, "channels": 3, "mean": preset.mean, "std": preset.std, "notes": notes}


def _different(names: list[str]) -> list[str]:
    """Return the names with a number behind those that come twice, as "crane" does."""
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        distinct.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return distinct


def _short(values: Any) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in values) + ")"


def _file(url: str) -> Path:
    """Return the place of a weights file.

    Raises:
        CheckpointError: it is not there and cannot be downloaded, or is another file.
    """
    name = url.rpartition("/")[2]
    match = _HASH.search(name)
    beginning = match.group(1) if match else ""
    cached = in_torch_cache(name)
    if cached is None:
        return fetch(url, beginning)
    with cached.open("rb") as file:
        if not hashlib.file_digest(file, "sha256").hexdigest().startswith(beginning):
            raise CheckpointError(f"{cached}: not the published file (SHA-256 differs). Delete it.")
    return cached
