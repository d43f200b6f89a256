"""Settings of methods and of checks: what they are called, and texts as the values that they stand for."""

from typing import Any

import streamlit as st

import xai
from xai.dashboard.language import m, t

_NAMES = {
    "absolute": m("sizes without signs"),
    "against_train": m("compare with the training pictures"),
    "alpha": m("false alarms (alpha)"),
    "attack": m("attack"),
    "baseline": m("compared with (baseline)"),
    "batch": m("batch"),
    "bins": m("bins"),
    "border": m("windows at the border"),
    "columns": m("columns (empty: all)"),
    "corruptions": m("corruptions (empty: all)"),
    "cues": m("cues (empty: all)"),
    "depth": m("columns together"),
    "eps": m("radius (eps)"),
    "fast": m("low precision"),
    "fill": m("shown instead (fill)"),
    "gap": m("smallest gap"),
    "grid": m("cells across the picture"),
    "least": m("smallest effect"),
    "like": m("in the way of the package"),
    "method": m("method"),
    "norm": m("norm"),
    "probability": m("share that stays visible"),
    "regions": m("regions, about"),
    "relu": m("only in favour"),
    "repeats": m("repeats"),
    "residual": m("share of the skip connections"),
    "samples": m("samples"),
    "segments": m("how regions are cut"),
    "severities": m("severities"),
    "std": m("noise, as a share of the range"),
    "steps": m("steps"),
    "stop": m("stop early"),
    "stride": m("stride: pixels, or share of the side"),
    "trust": m("pictures that check the attack itself"),
    "width": m("width of the kernel"),
    "window": m("window: pixels, or share of the side"),
}
_IN_METHODS = {"alpha": m("strength of the ridge (alpha)")}  # where a name means something else than in a check
_LENGTHS = {"window", "stride"}  # whole numbers are pixels, others shares of the side
_ELSEWHERE = {"layer"}  # has a chooser of its own
_TIMES = 20  # the default, at most: more would hold a page up for long, and may not fit into memory


def name_of(setting: str) -> str:
    """Return what a setting of a check is called, in the language of the page."""
    return t(_NAMES.get(setting, setting))


def choose_own(method: xai.MethodInfo, across: int) -> dict[str, Any]:
    """Let the user choose the settings of a method, so many beside each other; return those that are not the default.

    Settings that have a chooser of their own are left out.
    """
    able = {name: default for name, default in method.settings.items() if name not in _ELSEWHERE}
    chosen: dict[str, Any] = {}
    columns: list[Any] = []
    for name, default in able.items():
        columns = columns or st.columns(across, vertical_alignment="bottom")  # rows, so that one line is one height
        with columns.pop(0):
            chosen[name] = _choose(method, name, default)
    return {name: value for name, value in chosen.items() if value != method.settings[name]}


def _choose(method: xai.MethodInfo, name: str, default: Any) -> Any:
    """Let the user choose one setting, by a widget that suits its default; what is chosen is in the address."""
    label = t(_IN_METHODS.get(name) or _NAMES.get(name, name))
    label = label[:1].upper() + label[1:]
    shared: dict[str, Any] = {"key": f"{name}_{method.name}", "bind": "query-params"}
    if name in method.choices:
        return _choose_name(label, method.choices[name], default, shared)
    if isinstance(default, bool):
        return st.toggle(label, default, **shared)
    if name in _LENGTHS or isinstance(default, str) or default is None:
        text = st.text_input(label, as_text(default), placeholder=t("automatic"), **shared).strip()
        return default if text == as_text(default) else length(text)
    if isinstance(default, int):
        return int(st.number_input(label, 1, _TIMES * default, default, **shared))
    return float(st.number_input(label, 0.0, _TIMES * default, default, 0.05, format="%g", **shared))


def _choose_name(label: str, names: tuple[str, ...], default: str | None, shared: dict[str, Any]) -> str | None:
    """Let the user choose one of some names, or several where the default is several."""
    if default is not None and "+" in default:
        several: list[str] = st.multiselect(label, names, default.split("+"), select_all=False, **shared)
        return "+".join(several) or default
    offered = [*([default] if default not in names else []), *names]
    nothing = t("no")
    chosen: str | None = st.selectbox(
        label, offered, offered.index(default), format_func=lambda name: name or nothing, placeholder=nothing, **shared
    )
    return chosen


def as_text(value: Any) -> str:
    """Return a value as users write it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(as_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def typed(text: str, default: Any) -> Any:
    """Return a text as the kind of value that the default is; what it cannot be is left for xai to refuse."""
    if isinstance(default, tuple):
        return [typed(part.strip(), 0 if part.strip().isdigit() else "") for part in text.split(",") if part.strip()]
    if isinstance(default, bool):
        return text.lower() in {"true", "yes", "1"}
    if isinstance(default, str):
        return text
    return _number(text, whole=not isinstance(default, float))


def length(text: str) -> Any:
    """Return "24" as pixels, "0.15" as a share of the side, "24, 12" as height and width; the rest is left to xai."""
    parts = [_number(part.strip(), whole="." not in part) for part in text.split(",")]
    return parts[0] if len(parts) == 1 else tuple(parts)


def _number(text: str, *, whole: bool) -> int | float | str:
    try:
        return int(text) if whole else float(text)
    except ValueError:
        return text
