"""Models and images that users add, and what was understood of them."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import streamlit as st
import torch

import xai
from xai.dashboard import widgets as ui
from xai.dashboard.environment import operators
from xai.dashboard.session import (
    DATA,
    MODEL,
    SharedModel,
    UploadedData,
    UploadedModel,
    add_data_folder,
    add_data_zip,
    add_model,
    draw_sample,
    source_of,
    upload_store,
)
from xai.dashboard.text import describe_preprocessing, m, safe, t, written

MODEL_TYPES = ["safetensors", "onnx", "keras", "pt", "pth"]
MEGABYTES = 200
_PIXELS, _IMAGENET, _OWN = (
    m("pixels in [0, 1], unchanged"),
    m("ImageNet's mean and standard deviation"),
    m("my own numbers"),
)
_MEANS = {_IMAGENET: ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])}
_RESIZES = {"crop": m("centre-cropped"), "squash": m("squashed"), "pad": m("padded")}


def offer_own_model() -> None:
    """Let the user add a model from a file; one that is taken is chosen at once."""
    label = t("Add your model")
    with st.expander(label, icon=":material/upload_file:", key="add_model", on_change="rerun") as box:
        if not box.open:
            return
        st.caption(
            t(
                "A file of weights (safetensors, or a state dict of torch.save) with its architecture, or ONNX or "
                "Keras. Nothing in a file is run: pickled modules and TorchScript are refused."
            )
        )
        upload = st.file_uploader(t("Model file"), MODEL_TYPES, key=_once("model_file"), max_upload_size=MEGABYTES)
        architecture = st.selectbox(
            t("Architecture (of a weight file)"),
            [None, *operators(), *_networks()],
            format_func=lambda name: name or t("contained in the file"),
            key="architecture",
            help=t("Only architectures of installed packages, and those named by `xai dashboard --arch`."),
        )
        settings = _settings()
        label = t("Use this model")
        if st.button(label, key="use_model", icon=":material/check:", disabled=upload is None) and upload:
            content = partial(add_model, upload.name, upload.getvalue(), architecture, settings)
            _take(MODEL, content, "model_file", t("Reading the file …"))
    _say_error(MODEL)


@st.cache_data(show_spinner=False)
def _networks() -> list[str]:
    return xai.known_networks()


def _settings() -> dict[str, Any]:
    """Let the user say what the file does not."""
    lines = st.text_area(t("Class names, one a line"), key="class_names", height=100).splitlines()
    names = [name.strip() for name in lines if name.strip()]
    first, second, third = st.columns(3)
    side = int(first.number_input(t("Side of the input (pixels)"), 8, 2048, 224, key="side"))
    channels = second.segmented_control(
        t("Colours"),
        [3, 1],
        default=3,
        required=True,
        format_func=lambda n: t("colour") if n == 3 else t("grey"),
        key="channels",
    )
    resize = third.selectbox(t("Images are"), list(_RESIZES), format_func=lambda name: t(_RESIZES[name]), key="resize")
    return {
        **({"class_names": names} if names else {}),
        "input_size": (side, side),
        "channels": channels,
        "resize": resize,
        **_normalisation(channels),
    }


def _normalisation(channels: int) -> Mapping[str, Any]:
    ways = [_PIXELS, _OWN] if channels == 1 else [_PIXELS, _IMAGENET, _OWN]
    way = st.selectbox(t("The model expects"), ways, format_func=t, key=f"expects_{channels}")
    if way in _MEANS:
        mean, std = _MEANS[way]
        return {"mean": mean, "std": std}
    if way == _PIXELS:
        return {}
    left, right = st.columns(2)
    mean = _numbers(left.text_input(t("Mean of each channel"), ", ".join(["0.5"] * channels), key=f"mean_{channels}"))
    std = _numbers(
        right.text_input(t("Standard deviation of each"), ", ".join(["0.5"] * channels), key=f"std_{channels}")
    )
    return {"mean": mean, "std": std}


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        st.error(t("Expected numbers with commas between them, such as 0.485, 0.456, 0.406."))
        st.stop()


def offer_own_images() -> None:
    """Let the user add images from a folder or a zip; what is taken is chosen at once."""
    label = t("Add your images")
    with st.expander(label, icon=":material/drive_folder_upload:", key="add_images", on_change="rerun") as box:
        if not box.open:
            return
        st.caption(t("One sub-folder per class, with its images: cats/1.jpg, dogs/2.jpg."))
        place = st.text_input(
            t("Folder on this machine"),
            key="folder",
            placeholder="/data/val",
            help=t("Also a .csv or .parquet table with the columns path and label, or an .npz file."),
        )
        if st.button(t("Use this folder"), key="take_folder", icon=":material/check:", disabled=not place.strip()):
            _take(DATA, partial(add_data_folder, place), "folder", t("Reading the images …"))
        upload = st.file_uploader(t("or a zip of it"), ["zip"], key=_once("zip_file"), max_upload_size=MEGABYTES)
        if upload is not None:
            content = partial(add_data_zip, upload.name, upload.getvalue())
            _take(DATA, content, "zip_file", t("Reading the images …"))
    _say_error(DATA)


def _take(kind: str, add: Callable[[], UploadedModel | UploadedData], key: str, text: str) -> None:
    """Take what was brought and choose it; what is wrong with it is told when the page runs again."""
    try:
        with st.spinner(text):
            result = add()
    except xai.XaiError as error:
        st.session_state[f"{kind} error"] = str(error)
        if kind == DATA:
            _forget(key)
        return
    _chosen(kind, result.name, key)


def _chosen(kind: str, name: str, key: str) -> None:
    """Choose what was added, and forget the upload: its bytes are in the store."""
    known: list[str] = st.session_state.setdefault(f"brought {kind}", [])
    if name not in known:
        known.append(name)
    _forget(key)
    ui.choose_next(kind, name)


def _once(key: str) -> str:
    """Return the key of an uploader that is a new one after each file that was taken."""
    return f"{key}_{st.session_state.get(f'{key} taken', 0)}"


def _forget(key: str) -> None:
    st.session_state[f"{key} taken"] = st.session_state.get(f"{key} taken", 0) + 1


def _say_error(kind: str) -> None:
    if error := st.session_state.pop(f"{kind} error", None):
        st.error(safe(error), icon=":material/error:")


_SHOWN, _NAMED, _SIDE = 8, 12, 160


def show_model_summary(model: SharedModel) -> None:
    """Show classes, preprocessing and fingerprint of a model, and the button that unloads it."""
    result = model.classifier
    parameters = sum(p.numel() for p in result.module.parameters())
    st.markdown(
        t(
            "**{name}** predicts one of **{classes}** classes; {parameters} parameters, on {device}.",
            name=safe(model.name),
            classes=written("{value:,}", result.num_classes),
            parameters=written("{value:,}", parameters),
            device=safe(result.device),
        )
    )
    st.caption(safe(_listed(result.class_names)))
    st.markdown(safe(describe_preprocessing(result.preprocessing)))
    ui.show_notes(result.notes)
    st.caption(t("Fingerprint (SHA-256 of weights, architecture and preprocessing)"))
    st.code(model.fingerprint, language=None, wrap_lines=True)
    st.button(
        t("Unload"),
        key="unload",
        on_click=ui.unload,
        args=(model.name,),
        icon=":material/eject:",
        help=t("Frees its memory. All pages of this process share it."),
    )


def _listed(names: tuple[str, ...]) -> str:
    more = f", … (+{len(names) - _NAMED})" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def show_data_summary(name: str, model: SharedModel) -> None:
    """Show what is in a data set, and whether its classes are those of the model."""
    with ui.stop_on_error(), st.spinner(t("Reading the images …")):
        data = xai.load_data(source_of(name))
        shots = _shots(name)
    st.markdown(
        t(
            "**{count}** images of **{classes}** classes.",
            count=written("{value:,}", len(data)),
            classes=len(data.class_names),
        )
    )
    st.caption(safe(_counted(data)))
    ui.show_row(shots, "classes")
    _say_match(data, model)
    notes = list(data.notes)
    upload = upload_store().data.get(name)
    if upload is not None and upload.left_out:
        st.caption(t("{count} files of the archive are not images and were left out.", count=upload.left_out))
    if len(data.groups):
        notes.append(t("Columns to compare groups by: {names}", names=", ".join(data.groups)))
    ui.show_notes(notes)


def _counted(data: xai.Dataset) -> str:
    """Return the classes with their numbers of images, the most frequent first."""
    if data.labels is None:
        return t("without labels")
    counts = Counter(np.asarray(data.labels).tolist()).most_common(_NAMED)
    more = f", … (+{len(data.class_names) - _NAMED})" if len(data.class_names) > _NAMED else ""
    return ", ".join(f"{data.class_names[k]} {count:,}" for k, count in counts) + more


@st.cache_resource(scope="session", max_entries=4, show_spinner=False)
def _shots(name: str) -> list[ui.GalleryImage]:
    sample = draw_sample(name, _SHOWN, 0)
    result = []
    for k in range(len(sample.data)):
        image = sample.data.images[k]
        scale = min(1.0, _SIDE / max(image.shape[1:]))
        if scale < 1:
            image = torch.nn.functional.interpolate(image[None], scale_factor=scale, mode="area")[0]
        label = "" if sample.data.labels is None else sample.label(k)
        result.append(ui.GalleryImage.of(image, label, label or f"{k}"))
    return result


def _say_match(data: xai.Dataset, model: SharedModel) -> None:
    """Say whether the model can be judged on these images."""
    labels = set(model.classifier.class_names)
    known = [name for name in data.class_names if name in labels]
    if known and len(known) == len(data.class_names):
        st.success(t("The model knows all of these classes."), icon=":material/check_circle:")
    elif known:
        unknown = [name for name in data.class_names if name not in labels]
        st.warning(
            t("The model does not know {names}.", names=safe(_listed(tuple(unknown)))), icon=":material/warning:"
        )
    else:
        st.info(
            t("These classes are unknown to this model: usable only as out-of-distribution images"),
            icon=":material/info:",
        )
