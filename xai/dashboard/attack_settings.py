"""The settings of attacks: what they are called, and those that have names to choose from."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

import xai
from xai.dashboard.knobs import choose_settings
from xai.dashboard.language import m, t
from xai.dashboard.work import sentences

LABELS = {
    "steps": m("steps"),
    "restarts": m("restarts"),
    "eot": m("gradients averaged per step"),
    "targets": m("classes aimed at"),
    "version": m("version"),
    "loss": m("loss"),
    "step_size": m("step size"),
    "searches": m("weights tried"),
    "rate": m("learning rate"),
    "weight": m("first weight of the margin"),
    "confidence": m("margin to reach, in logits"),
    "gamma": m("share by which the radius changes"),
    "radius": m("first radius"),
    "levels": m("values per pixel"),
    "candidates": m("classes tried per step"),
    "overshoot": m("overshoot"),
    "step": m("first step"),
    "decay": m("decay of the momentum"),
    "samples": m("samples"),
    "random_start": m("random start"),
    "rotation": m("largest rotation (degrees)"),
    "shift": m("largest shift (share of the side)"),
    "angles": m("rotations tried"),
    "shifts": m("shifts tried per direction"),
    "fill": m("value beyond the border"),
    "queries": m("queries"),
    "share": m("pixels in the first squares (share)"),
}
CHOICES = {"loss": ("ce", "margin", "dlr"), "version": ("standard", "rand")}
KINDS = {"levels": int}


def choose_attack_settings(info: xai.MethodInfo) -> tuple[xai.MethodInfo, Mapping[str, Any]]:
    """Let the user set an attack; return it with the rows that this costs, and what is not the default.

    What the attack refuses is a sentence on the page, and ends the run there.
    """
    with st.expander(t("Settings of {title}", title=info.title), icon=":material/tune:"):
        settings = choose_settings(info.settings, info.name, LABELS, CHOICES, KINDS)
    with sentences():
        return info.with_settings(**settings), settings
