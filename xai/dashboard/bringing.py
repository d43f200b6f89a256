"""The page "Start": bring a network or pictures of one's own."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

import xai
from xai.dashboard.choices import choose_next
from xai.dashboard.language import m, t
from xai.dashboard.uploads import DATA, MODEL, bring_folder, bring_network, bring_zip, operators
from xai.dashboard.words import safe

MODEL_TYPES = ["safetensors", "onnx", "keras", "pt", "pth"]
MEGABYTES = 200
_PIXELS, _IMAGENET, _OWN = m("pixels in [0, 1] as they are"), m("ImageNet's mean and deviation"), m("my own numbers")
_MEANS = {_IMAGENET: ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])}
_RESIZES = {
    "crop": m("cut out of the middle"),
    "squash": m("squashed"),
    "pad": m("padded"),
}


def offer_network() -> None:
    """Let the user bring a network from a file; one that is taken is chosen at once."""
    label = t("Bring a network of your own")
    with st.expander(label, icon=":material/upload_file:", key="bring_network", on_change="rerun") as box:
        if not box.open:
            return
        st.caption(
            t(
                "A file of weights (safetensors, or a state dict of torch.save) with its architecture, or ONNX or "
                "Keras. Nothing in a file is run: pickled modules and TorchScript are refused."
            )
        )
        upload = st.file_uploader(t("Model file"), MODEL_TYPES, key=_once("network_file"), max_upload_size=MEGABYTES)
        architecture = st.selectbox(
            t("Architecture (of a file of weights)"),
            [None, *operators(), *_networks()],
            format_func=lambda name: name or t("the file brings its own"),
            key="architecture",
            help=t("Only networks of installed packages, and those named by `xai dashboard --arch`."),
        )
        settings = _settings()
        if st.button(t("Take this network"), key="take_network", icon=":material/check:", disabled=upload is None):
            _take_network(upload, architecture, settings)
    _say_error("network")


@st.cache_data(show_spinner=False)
def _networks() -> list[str]:
    return xai.known_networks()


def _settings() -> dict[str, Any]:
    """Let the user say what the file does not."""
    names = st.text_area(t("Class names, one a line"), key="class_names", height=100).splitlines()
    labels = [name.strip() for name in names if name.strip()]
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
    resize = third.selectbox(
        t("Pictures are"), list(_RESIZES), format_func=lambda name: t(_RESIZES[name]), key="resize"
    )
    return {
        **({"labels": labels} if labels else {}),
        "input_size": (side, side),
        "channels": channels,
        "resize": resize,
        **_normalisation(channels),
    }


def _normalisation(channels: int) -> Mapping[str, Any]:
    ways = [_PIXELS, _OWN] if channels == 1 else [_PIXELS, _IMAGENET, _OWN]
    way = st.selectbox(t("The network expects"), ways, format_func=t, key=f"expects_{channels}")
    if way in _MEANS:
        mean, std = _MEANS[way]
        return {"mean": mean, "std": std}
    if way == _PIXELS:
        return {}
    left, right = st.columns(2)
    mean = _numbers(left.text_input(t("Mean of each channel"), ", ".join(["0.5"] * channels), key=f"mean_{channels}"))
    std = _numbers(right.text_input(t("Deviation of each"), ", ".join(["0.5"] * channels), key=f"std_{channels}"))
    return {"mean": mean, "std": std}


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        st.error(t("Expected numbers with commas between them, such as 0.485, 0.456, 0.406."))
        st.stop()


def _take_network(upload: Any, architecture: str | None, settings: Mapping[str, Any]) -> None:
    try:
        with st.spinner(t("Looking at the file …")):
            found = bring_network(upload.name, upload.getvalue(), architecture, settings)
    except xai.XaiError as error:
        st.session_state["network error"] = str(error)
        return
    _chosen(MODEL, found.name, "network_file")


def offer_pictures() -> None:
    """Let the user bring pictures from a folder or a zip; what is taken is chosen at once."""
    label = t("Bring pictures of your own")
    with st.expander(label, icon=":material/drive_folder_upload:", key="bring_pictures", on_change="rerun") as box:
        if not box.open:
            return
        st.caption(t("One sub-folder per class, with its pictures: cats/1.jpg, dogs/2.jpg."))
        place = st.text_input(
            t("Folder on this machine"),
            key="folder",
            placeholder="/data/val",
            help=t("Also a .csv or .parquet table with the columns path and label, or an .npz file."),
        )
        if st.button(t("Take this folder"), key="take_folder", icon=":material/check:", disabled=not place.strip()):
            _take_pictures(lambda: bring_folder(place), "folder")
        upload = st.file_uploader(t("or a zip of it"), ["zip"], key=_once("zip_file"), max_upload_size=MEGABYTES)
        if upload is not None:
            _take_pictures(lambda: bring_zip(upload.name, upload.getvalue()), "zip_file")
    _say_error("pictures")


def _take_pictures(take: Any, key: str) -> None:
    try:
        with st.spinner(t("Looking at the pictures …")):
            found = take()
    except xai.XaiError as error:
        st.session_state["pictures error"] = str(error)
        _forget(key)
        return
    _chosen(DATA, found.name, key)


def _chosen(kind: str, name: str, key: str) -> None:
    """Choose what was brought, and let go of the upload: its bytes are on the shelf."""
    known: list[str] = st.session_state.setdefault(f"brought {kind}", [])
    if name not in known:
        known.append(name)
    _forget(key)
    choose_next(kind, name)


def _once(key: str) -> str:
    """Return the key of an uploader that is a new one after each file that was taken."""
    return f"{key}_{st.session_state.get(f'{key} taken', 0)}"


def _forget(key: str) -> None:
    st.session_state[f"{key} taken"] = st.session_state.get(f"{key} taken", 0) + 1


def _say_error(kind: str) -> None:
    if error := st.session_state.pop(f"{kind} error", None):
        st.error(safe(error), icon=":material/error:")
