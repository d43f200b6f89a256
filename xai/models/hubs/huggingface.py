"""`hf:ORG/NAME`: image classifiers of the Hugging Face hub, or of a folder, with their processor and class names."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from xai.core.extras import missing_extra
from xai.core.results.message import Message
from xai.core.task.evidence import IMAGES_AND_TEXTS, reads_texts
from xai.errors import CheckpointError, UnsupportedModelError
from xai.models.hubs import HUBS
from xai.models.sources import Built

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
    settings = {**taken_over(processor, name), "class_names": _class_names(network.config), "name": f"hf:{name}"}
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


def taken_over(processor: Mapping[str, Any], name: str) -> dict[str, Any]:
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


def _class_names(config: Any) -> list[str]:
    """Return the class names in order; a number behind those that come twice."""
    names = [str(config.id2label.get(k, k)) for k in range(config.num_labels)]
    return [name if names.index(name) == k else f"{name} ({k})" for k, name in enumerate(names)]
