"""What can be chosen on the pages; each choice that fits into a link is in the address."""

from collections import Counter
from inspect import signature
from typing import Any

import streamlit as st

import xai
from xai.dashboard.pictures import Picture, from_file, from_path, garments
from xai.dashboard.words import safe
from xai.dashboard.work import Model, load_model, model_names, sentences

TYPES = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"]
MEGABYTES = 20


def choose_model() -> Model:
    """Let the user choose a model, and load it."""
    name = st.selectbox("Network", model_names(), key="model", bind="query-params")
    with sentences(), st.spinner("Loading the network …"):
        return load_model(name)


def upload_picture() -> Picture | None:
    """Take a picture file, as bytes: nothing is decoded here."""
    upload = st.file_uploader("Your picture", TYPES, key="picture", max_upload_size=MEGABYTES)
    return None if upload is None else from_file(upload.name, upload.getvalue())


def choose_sample(model: Model) -> Picture:
    """Offer sample pictures that suit the model: photographs, or the small grey ones for small grey inputs."""
    with sentences():
        if model.classifier.channels == 1 and model.classifier.input_size == (28, 28):
            clothes = garments()
            return clothes[_pick("garment", list(clothes))]
        photos = {photo.name: photo for photo in xai.sample_photos()}
        photo = photos[_pick("photo", list(photos))]
        st.caption(safe(f"{photo.title}. {photo.author}, {photo.licence}."))
        return from_path(photo.path, photo.name)


def _pick(key: str, names: list[str]) -> str:
    chosen = st.pills(
        "or a sample", names, default=names[0], required=True, key=key, format_func=safe, bind="query-params"
    )
    return chosen or names[0]


def choose_class(prediction: xai.Prediction) -> int | None:
    """Let the user choose the class to explain; None is the predicted one."""
    labels, times = prediction.labels, Counter(prediction.labels)
    names = {k: label if times[label] == 1 else f"{label} ({k})" for k, label in enumerate(labels)}
    every = [None, *names]
    chosen: int | None = st.selectbox(
        "Why this class?",
        every,
        format_func=lambda k: f"predicted: {prediction.label}" if k is None else names[k],
        key="class",
        bind="query-params",
    )
    return chosen


def choose_method() -> xai.MethodInfo:
    """Let the user choose among all registered methods."""
    methods = {info.name: info for info in xai.methods()}
    usual = signature(xai.explain).parameters["method"].default
    name = st.selectbox(
        "Method",
        list(methods),
        index=list(methods).index(usual),
        format_func=lambda name: methods[name].title,
        key="method",
        bind="query-params",
    )
    return methods[name]


def choose_settings(model: Model, method: xai.MethodInfo) -> tuple[dict[str, Any], int]:
    """Let the user choose the layer and the seed where the method has them; return settings and seed."""
    settings, seed = {}, 0
    if "maps" in method.needs:
        layer = st.selectbox(
            "Layer",
            [None, *model.layers],
            format_func=lambda name: name or "automatic",
            key="layer",
            bind="query-params",
        )
        settings = {"layer": layer} if layer else {}
    if method.stochastic:
        seed = st.number_input("Seed", 0, 2**31 - 1, 0, key="seed", bind="query-params")
    return settings, int(seed)
