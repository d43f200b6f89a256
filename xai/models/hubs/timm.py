"""`timm:NAME`: timm's networks with their published weights, preprocessing and class names."""

from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from xai.core.extras import missing_extra
from xai.core.results.message import Message
from xai.errors import CheckpointError, NameLookupError
from xai.models.hubs import HUBS
from xai.models.sandbox.weights import read_groups
from xai.models.sources import Built
from xai.models.weight_fitting import fit_weights

_FILE = "model.safetensors"


@HUBS.register("timm")
def open_timm(name: str) -> Built:
    """Return a network of timm with the weights of its page on the Hugging Face hub, in safetensors only.

    Raises:
        MissingExtraError: timm is not installed.
        NameLookupError: no such network or tag.
        CheckpointError: no published weights, or they cannot be had.
    """
    timm = _timm()
    known = timm.list_models(name.partition(".")[0], pretrained=False) + timm.list_pretrained(name)
    if not known:
        raise NameLookupError("network of timm", name, timm.list_models())
    try:
        network: nn.Module = timm.create_model(name, pretrained=False)
    except RuntimeError as error:  # an unknown tag
        raise NameLookupError("network of timm", name, timm.list_pretrained(f"{name.partition('.')[0]}*")) from error
    path = _weights(name, dict(network.pretrained_cfg))  # type: ignore[arg-type]  # not a module
    fit_weights(network, read_groups(path), path)
    return network.eval(), {**taken_over(network), "name": f"timm:{name}"}


def _timm() -> ModuleType:
    try:
        import timm
    except Exception as error:  # it imports torchvision, whose wheel may not fit the torch here
        raise missing_extra("A model of timm", "timm", error) from error
    module: ModuleType = timm
    return module


def _weights(name: str, config: dict[str, Any]) -> Path:
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


def taken_over(network: Any) -> dict[str, Any]:
    """Return the settings that timm's configuration of a network gives, and notes of them."""
    config = network.pretrained_cfg
    channels, height, width = config["input_size"]
    mean, std = tuple(config["mean"]), tuple(config["std"])
    resize = "squash" if config.get("crop_mode") == "squash" else "crop"
    settings = {"input_size": (height, width), "channels": channels, "mean": mean, "std": std, "resize": resize}
    settings["crop_ratio"] = float(config.get("crop_pct") or 0.875)
    template = "input {height} x {width}, mean, std and crop {crop:.3g} from timm's configuration"
    notes = [Message(template, height=height, width=width, crop=settings["crop_ratio"])]
    class_names = _class_names(network)
    if class_names:
        settings["class_names"] = class_names
        notes.append(Message("{count} class names of ImageNet from timm", count=len(class_names)))
    if config.get("interpolation", "bilinear") != "bilinear":
        way = config["interpolation"]
        notes.append(Message("timm resizes this model's images {way}, xai does so bilinear", way=way))
    return {**settings, "notes": notes}


def _class_names(network: Any) -> list[str] | None:
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    named = network.pretrained_cfg.get("label_names")
    if named:
        return [str(label) for label in named]
    subset = infer_imagenet_subset(network)
    if not subset:
        return None
    info = ImageNetInfo(subset)
    return [_first(info, k) for k in range(info.num_classes())]  # type: ignore[no-untyped-call]


def _first(info: Any, index: int) -> str:
    """Return the first name of a class, and its WordNet number, as some names come twice."""
    return f"{info.index_to_description(index).split(',')[0]} ({info.index_to_label_name(index)})"
