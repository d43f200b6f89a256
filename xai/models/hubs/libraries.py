"""Models of torchvision, timm and transformers by name.

Weights, preprocessing and labels are those that `torchvision:NAME`, `timm:NAME` and `hf:ORG/NAME` are published with.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from xai.core.extras import missing_extra
from xai.core.results.message import Message
from xai.core.task.evidence import IMAGES_AND_TEXTS, reads_texts
from xai.core.validation import check_choice
from xai.errors import CheckpointError, InputError, NameLookupError, UnsupportedModelError
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
    models = torchvision_models()
    network_name, _, which = name.partition(":")
    known = models.list_models(module=models)
    check_choice("network of torchvision", network_name, known)
    offered = models.get_model_weights(network_name)
    choice = check_choice(f"weights of {network_name}", which or None, offered.__members__, optional=True)
    weights = offered.DEFAULT if choice is None else offered[choice]
    network = models.get_model(network_name, weights=None, num_classes=len(weights.meta["categories"]))
    path = _weights_file(weights.url)
    fit_weights(network, read_groups(path, legacy=True), path)
    return network.eval(), {**transform_settings(weights), "name": f"torchvision:{network_name}"}


def torchvision_models() -> ModuleType:
    """Return `torchvision.models`.

    Raises:
        MissingExtraError: torchvision is not installed, or does not fit the torch here.
    """
    try:
        from torchvision import models
    except Exception as error:  # its wheel may not fit the torch that is here
        raise missing_extra("A model of torchvision", "torchvision", error) from error
    module: ModuleType = models
    return module


def transform_settings(weights: Any) -> dict[str, Any]:
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


def _weights_file(url: str) -> Path:
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


_FILE = "model.safetensors"


@HUBS.register("timm")
def open_timm(name: str) -> Built:
    """Return a network of timm with the weights of its page on the Hugging Face hub, in safetensors only.

    Raises:
        MissingExtraError: timm is not installed.
        NameLookupError: no such network or tag.
        CheckpointError: no published weights, or they cannot be had.
    """
    timm = timm_package()
    known = timm.list_models(name.partition(".")[0], pretrained=False) + timm.list_pretrained(name)
    if not known:
        raise NameLookupError("network of timm", name, timm.list_models())
    try:
        network: nn.Module = timm.create_model(name, pretrained=False)
    except RuntimeError as error:  # an unknown tag
        raise NameLookupError("network of timm", name, timm.list_pretrained(f"{name.partition('.')[0]}*")) from error
    path = _timm_weights(name, dict(network.pretrained_cfg))  # type: ignore[arg-type]  # not a module
    fit_weights(network, read_groups(path), path)
    return network.eval(), {**timm_settings(network), "name": f"timm:{name}"}


def timm_package() -> ModuleType:
    """Return timm.

    Raises:
        MissingExtraError: timm is not installed, or cannot be imported.
    """
    try:
        import timm
    except Exception as error:  # it imports torchvision, whose wheel may not fit the torch here
        raise missing_extra("A model of timm", "timm", error) from error
    module: ModuleType = timm
    return module


def _timm_weights(name: str, config: dict[str, Any]) -> Path:
    """Return the place of a network's weights.

    Raises:
        CheckpointError: none are published, or the hub cannot be reached.
    """
    page = config.get("hf_hub_id")
    if not page:
        raise CheckpointError(f"timm:{name}: timm publishes no weights of it. Name one of its tags, as `NAME.TAG`.")
    import huggingface_hub

    try:
        return Path(huggingface_hub.hf_hub_download(page, _FILE))
    except Exception as error:  # the hub's library raises many kinds
        first = next(iter(str(error).splitlines()), "")
        raise CheckpointError(
            f"timm:{name}: no {_FILE} from {page} ({type(error).__name__}: {first[:120]})."
        ) from error


def timm_settings(network: Any) -> dict[str, Any]:
    """Return the settings that timm's configuration of a network gives, and notes of them."""
    config = network.pretrained_cfg
    channels, height, width = config["input_size"]
    mean, std = tuple(config["mean"]), tuple(config["std"])
    resize = "squash" if config.get("crop_mode") == "squash" else "crop"
    settings = {"input_size": (height, width), "channels": channels, "mean": mean, "std": std, "resize": resize}
    settings["crop_ratio"] = float(config.get("crop_pct") or 0.875)
    template = "input {height} x {width}, mean, std and crop {crop:.3g} from timm's configuration"
    notes = [Message(template, height=height, width=width, crop=settings["crop_ratio"])]
    class_names = _timm_class_names(network)
    if class_names:
        settings["class_names"] = class_names
        notes.append(Message("{count} class names of ImageNet from timm", count=len(class_names)))
    if config.get("interpolation", "bilinear") != "bilinear":
        way = config["interpolation"]
        notes.append(Message("timm resizes this model's images {way}, xai does so bilinear", way=way))
    return {**settings, "notes": notes}


def _timm_class_names(network: Any) -> list[str] | None:
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    named = network.pretrained_cfg.get("label_names")
    if named:
        return [str(label) for label in named]
    subset = infer_imagenet_subset(network)
    if not subset:
        return None
    info = ImageNetInfo(subset)
    return [_first_name(info, k) for k in range(info.num_classes())]  # type: ignore[no-untyped-call]


def _first_name(info: Any, index: int) -> str:
    """Return the first name of a class, and its WordNet number, as some names come twice."""
    return f"{info.index_to_description(index).split(',')[0]} ({info.index_to_label_name(index)})"


_BILINEAR = 2
_WAYS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


@HUBS.register("hf")
def open_huggingface(name: str) -> Built:
    """Return an image classifier of transformers: weights in safetensors only, code of the page never.

    Args:
        name: "ORG/NAME", or the path of a folder that `save_pretrained` wrote.

    Raises:
        MissingExtraError: transformers is not installed.
        CheckpointError: no such page, no safetensors, or weights that do not fill the network.
        UnsupportedModelError: no image classifier.
    """
    transformers = _transformers()
    try:
        network, report = transformers.AutoModelForImageClassification.from_pretrained(
            name, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
        processor, _ = transformers.ImageProcessingMixin.get_image_processor_dict(name)
    except Exception as error:  # transformers raises many kinds
        first = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"hf:{name}: transformers cannot load it as an image classifier from safetensors ({type(error).__name__}: "
            f"{first})."
        ) from error
    kind = ", ".join(getattr(network.config, "architectures", None) or [type(network).__name__])
    lacking = sorted({*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])})
    if lacking and reads_texts(network.config):
        raise UnsupportedModelError(f"hf:{name} ({kind}) {IMAGES_AND_TEXTS}")
    if lacking:
        raise CheckpointError(
            f"hf:{name}: {len(lacking)} weights are not in its file ({', '.join(lacking[:3])}), so they would be "
            f"random: it is a {kind}. Take a fine-tuned model, ...ForImageClassification."
        )
    settings = {
        **processor_settings(processor, name),
        "class_names": _classes_of_config(network.config),
        "name": f"hf:{name}",
    }
    settings["channels"] = int(getattr(network.config, "num_channels", 3))
    settings["notes"].append(Message("{count} class names from id2label", count=len(settings["class_names"])))
    return network.eval(), settings


def _transformers() -> ModuleType:
    try:
        import transformers
    except Exception as error:  # one that does not work raises anything
        raise missing_extra("A model of the Hugging Face hub", "hf", error) from error
    module: ModuleType = transformers
    return module


def processor_settings(processor: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the settings that an image processor's configuration says, and notes of them.

    Raises:
        UnsupportedModelError: a size of another form.
    """
    size, crop = processor.get("size"), processor.get("crop_size")
    cropped = bool(processor.get("do_center_crop")) and crop is not None
    resized, target = _sides(size), _sides(crop) if cropped else None
    if resized is None:
        raise UnsupportedModelError(f"hf:{name}: expected a `size` of its processor, but got {size!r}.")
    settings: dict[str, Any] = {"resize": "squash", "input_size": resized}
    if target is not None:
        settings = {"resize": "crop", "input_size": target, "crop_ratio": min(1.0, min(target) / min(resized))}
    elif isinstance(size, Mapping) and "shortest_edge" in size:
        share = float(processor.get("crop_pct") or 0.875) if min(resized) < 384 else 1.0
        settings = {"resize": "crop" if share < 1 else "squash", "input_size": resized, "crop_ratio": share}
    if processor.get("do_normalize", True) and processor.get("image_mean") is not None:
        settings["mean"], settings["std"] = processor["image_mean"], processor["image_std"]
    height, width = settings["input_size"]
    template = "input {height} x {width}, {resize}, mean and std from its image processor"
    notes: list[str] = [Message(template, height=height, width=width, resize=settings["resize"])]
    way = _WAYS.get(processor.get("resample", _BILINEAR), str(processor.get("resample")))
    if way != "bilinear":
        notes.append(Message("its processor resizes {way}, xai does so bilinear", way=way))
    if processor.get("do_rescale", True) is False:
        settings["std"] = [value / 255 for value in settings.get("std", (1.0, 1.0, 1.0))]
        settings["mean"] = [value / 255 for value in settings.get("mean", (0.0, 0.0, 0.0))]
        notes.append("its processor does not divide by 255: the model gets pixels from 0 to 255")
    return {**settings, "notes": notes}


def _sides(size: Any) -> tuple[int, int] | None:
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping) and "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"])
    if isinstance(size, Mapping) and {"height", "width"} <= size.keys():
        return int(size["height"]), int(size["width"])
    return None


def _classes_of_config(config: Any) -> list[str]:
    """Return the class names in order; a number behind those that come twice."""
    names = [str(config.id2label.get(k, k)) for k in range(config.num_labels)]
    return [name if names.index(name) == k else f"{name} ({k})" for k, name in enumerate(names)]
