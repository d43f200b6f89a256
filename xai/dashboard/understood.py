"""The page "Start": what was understood of a network and of pictures."""

from collections import Counter

import numpy as np
import streamlit as st
import torch

import xai
from xai.dashboard.controls import unload
from xai.dashboard.gallery import Shot, as_pixels, show_row
from xai.dashboard.language import t
from xai.dashboard.sets import draw, source_of
from xai.dashboard.uploads import shelf
from xai.dashboard.words import describe_preprocessing, safe, sentence
from xai.dashboard.work import Model, sentences

_SHOWN, _NAMED, _SIDE = 8, 12, 160


def show_network(model: Model) -> None:
    """Show classes, preprocessing and fingerprint of a network, and the button that unloads it."""
    found = model.classifier
    parameters = sum(p.numel() for p in found.module.parameters())
    st.markdown(
        t(
            "**{name}** answers with one of **{classes}** classes; {parameters} parameters, on {device}.",
            name=safe(model.name),
            classes=f"{found.num_classes:,}",
            parameters=f"{parameters:,}",
            device=safe(found.device),
        )
    )
    st.caption(safe(_listed(found.labels)))
    st.markdown(safe(describe_preprocessing(found.preprocessing)))
    for note in found.notes:
        st.caption(safe(sentence(note)))
    st.caption(t("Fingerprint (SHA-256 of weights, wiring and preprocessing)"))
    st.code(model.fingerprint, language=None, wrap_lines=True)
    st.button(
        t("Unload"),
        key="unload",
        on_click=unload,
        args=(model.name,),
        icon=":material/eject:",
        help=t("Gives its memory back. All pages of this process share it."),
    )


def _listed(names: tuple[str, ...]) -> str:
    more = f", … (+{len(names) - _NAMED})" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def show_pictures(name: str, model: Model) -> None:
    """Show what is in a data set, and whether its classes are those of the network."""
    with sentences(), st.spinner(t("Looking at the pictures …")):
        data = xai.load_data(source_of(name))
        shots = _shots(name)
    st.markdown(t("**{count}** pictures of **{classes}** classes.", count=f"{len(data):,}", classes=len(data.classes)))
    st.caption(safe(_counted(data)))
    show_row(shots, "classes")
    _say_match(data, model)
    notes = list(data.notes)
    kept = shelf().pictures.get(name)
    if kept is not None and kept.left_out:
        st.caption(t("{count} files of the archive are no pictures and were left out.", count=kept.left_out))
    if len(data.groups):
        notes.append(t("Columns to compare groups by: {names}", names=", ".join(data.groups)))
    for note in notes:
        st.caption(safe(sentence(note)))


def _counted(data: xai.Dataset) -> str:
    """Return the classes with their numbers of pictures, the most frequent first."""
    if data.labels is None:
        return t("without labels")
    counts = Counter(np.asarray(data.labels).tolist()).most_common(_NAMED)
    more = f", … (+{len(data.classes) - _NAMED})" if len(data.classes) > _NAMED else ""
    return ", ".join(f"{data.classes[k]} {count:,}" for k, count in counts) + more


@st.cache_resource(scope="session", max_entries=4, show_spinner=False)
def _shots(name: str) -> list[Shot]:
    sample = draw(name, _SHOWN, 0)
    found = []
    for k in range(len(sample.data)):
        image = sample.data.images[k]
        scale = min(1.0, _SIDE / max(image.shape[1:]))
        if scale < 1:
            image = torch.nn.functional.interpolate(image[None], scale_factor=scale, mode="area")[0]
        label = "" if sample.data.labels is None else sample.label(k)
        found.append(Shot(as_pixels(image[None])[0], safe(label, 40), label or f"{k}"))
    return found


def _say_match(data: xai.Dataset, model: Model) -> None:
    """Say whether the network can be judged on these pictures."""
    labels = set(model.classifier.labels)
    known = [name for name in data.classes if name in labels]
    if known and len(known) == len(data.classes):
        st.success(t("The network knows all of these classes."), icon=":material/check_circle:")
    elif known:
        unknown = [name for name in data.classes if name not in labels]
        st.warning(
            t("The network does not know {names}.", names=safe(_listed(tuple(unknown)))), icon=":material/warning:"
        )
    else:
        st.info(
            t(
                "The network knows none of these classes: they serve as foreign pictures, but it cannot be "
                "judged on them."
            ),
            icon=":material/info:",
        )
