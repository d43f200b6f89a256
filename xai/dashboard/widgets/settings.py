"""Settings of methods and checks as widgets. Here are their labels and the widget of each kind of value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log10
from typing import Any

import streamlit as st

import xai
from xai.dashboard.text import ABOUT_NORMS, NORMS, m, radius, read_length, read_setting, setting_text, t, told

_NAMES = {
    "absolute": m("sizes without signs"),
    "against_train": m("compare with the training images"),
    "alpha": m("false alarms (alpha)"),
    "attack": m("attack"),
    "baseline": m("reference value (baseline)"),
    "batch": m("batch"),
    "bins": m("bins"),
    "border": m("windows at the border"),
    "columns": m("columns (empty: all)"),
    "corruptions": m("corruptions (empty: all)"),
    "probes": m("probes (empty: all)"),
    "depth": m("columns together"),
    "eps": m("radius (eps)"),
    "fast": m("low precision"),
    "fill": m("replacement value (fill)"),
    "gap": m("smallest gap"),
    "grid": m("cells across the image"),
    "least": m("smallest effect"),
    "like": m("as in the package"),
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
    "trust": m("images that check the attack itself"),
    "width": m("width of the kernel"),
    "window": m("window: pixels, or share of the side"),
}
_IN_METHODS = {"alpha": m("strength of the ridge (alpha)")}  # where a name means something else than in a check
_LENGTHS = {"window", "stride"}  # whole numbers are pixels, others shares of the side
_ELSEWHERE = {"layer"}  # has a chooser of its own
_TIMES = 20  # the default, at most: more would hold a page up for long, and may not fit into memory
_ACROSS = 3
_NONE: Mapping[str, Any] = {}
_STEPS = 64  # of the slider
_LABELS = {"linf": m("eps in 1/255"), "l2": "eps", "l1": "eps"}
_WITHIN = {
    "linf": m("no pixel changes by more than {}"),
    "l2": m("the l2 norm of the perturbation is at most {}"),
    "l1": m("all changes sum to at most {}"),
}


@dataclass(frozen=True)
class SettingWidget:
    """A setting with its widget, which is in the address while it is not the default.

    Attributes:
        name: as the library calls it.
        label: in the language of the page.
        default: what it is when nothing is chosen; None for "automatic".
        key: in the address.
        options: names or values to choose from, where it takes no others.
        kind: of its values; `object` for those that are written as text.
        least: of a number.
        most: of a number.
        nothing: what None is called, in English.
    """

    name: str
    label: str
    default: Any
    key: str
    options: Sequence[Any] | None = None
    kind: type = object
    least: float | None = None
    most: float | None = None
    nothing: str = m("automatic")

    def turn(self) -> Any:
        """Show the widget and return what is chosen."""
        if self.options is not None:
            return self._several() if isinstance(self.default, str) and "+" in self.default else self._one()
        if self.kind is bool:
            return st.toggle(self.label, self.default, key=self.key, bind="query-params")
        return self._number() if self.kind in (int, float) else self._text()

    def _one(self) -> Any:
        every = list(dict.fromkeys([self.default, *(self.options or ())]))
        return st.selectbox(self.label, every, format_func=self._shown, key=self.key, bind="query-params")

    def _several(self) -> str:
        several: list[str] = st.multiselect(
            self.label,
            list(self.options or ()),
            self.default.split("+"),
            select_all=False,
            format_func=told,
            key=self.key,
            bind="query-params",
        )
        return "+".join(several) or str(self.default)

    def _number(self) -> Any:
        whole = self.kind is int
        return st.number_input(
            self.label,
            self.least,
            self.most,
            self.default,
            1 if whole else _step(self.default),
            format="%d" if whole else "%g",
            key=self.key,
            placeholder=t(self.nothing),
            bind="query-params",
        )

    def _shown(self, value: Any) -> str:
        return t(self.nothing) if value is None else told(setting_text(value))

    def _text(self) -> Any:
        known = setting_text(self.default)
        text = st.text_input(self.label, known, key=self.key, placeholder=t(self.nothing), bind="query-params").strip()
        if text == known:
            return self.default
        return read_setting(text, self.default) if isinstance(self.default, str | tuple) else read_length(text)


def name_of(setting: str) -> str:
    """Return what a setting of a check is called, in the language of the page."""
    return t(_NAMES.get(setting, setting))


def choose_own(method: xai.results.MethodInfo, across: int) -> dict[str, Any]:
    """Let the user choose the settings of a method, so many beside each other; return those that are not the default.

    Settings that have a chooser of their own are left out.
    """
    return _turn([_own(method, name) for name in method.settings if name not in _ELSEWHERE], across)


def choose_settings(
    settings: Mapping[str, Any],
    key: str,
    labels: Mapping[str, str],
    choices: Mapping[str, Sequence[Any]] = _NONE,
    kinds: Mapping[str, type] = _NONE,
) -> dict[str, Any]:
    """Let the user choose settings of anything; return those that are not the default.

    What a number may not be is left for xai to refuse.

    Args:
        settings: names and defaults; None as a default stands for "automatic".
        key: what the names begin with in the address: "KEY.NAME".
        labels: English texts by name, marked by `m`; names that are not in it are shown as they are.
        choices: of the settings that have some, all that they can be.
        kinds: of the numbers whose default is None, `int`; without it they are `float`.
    """
    knobs = [
        SettingWidget(
            name,
            t(labels.get(name, name)),
            default,
            f"{key}.{name}",
            choices.get(name),
            kinds.get(name, float if default is None else type(default)),
        )
        for name, default in settings.items()
    ]
    return _turn(knobs, _ACROSS)


def _turn(knobs: Sequence[SettingWidget], across: int) -> dict[str, Any]:
    """Show widgets in rows, so that one line is one height; return by name what is not the default."""
    result: dict[str, Any] = {}
    columns: list[Any] = []
    for knob in knobs:
        columns = columns or st.columns(across, vertical_alignment="bottom")
        with columns.pop(0):
            value = knob.turn()
        if value != knob.default or type(value) is not type(knob.default):
            result[knob.name] = value
    return result


def _own(method: xai.results.MethodInfo, name: str) -> SettingWidget:
    """Return the knob of a setting of an explanation; numbers are at least 1, or 0.0, and not beyond reason."""
    default, label = method.settings[name], t(_IN_METHODS.get(name) or _NAMES.get(name, name))
    kind = object if name in _LENGTHS or default is None else type(default)
    most = _TIMES * default if kind in (int, float) else None
    least = None if most is None else 1 if kind is int else 0.0
    key, options = f"{name}_{method.name}", method.choices.get(name)
    nothing = m("no") if options else m("automatic")
    return SettingWidget(name, label[:1].upper() + label[1:], default, key, options, kind, least, most, nothing)


def _step(default: float | None) -> float:
    """Return the power of ten below a number: 0.01 for 0.05."""
    return float(10.0 ** (ceil(log10(abs(default))) - 1)) if default else 0.1


def choose_seed(key: str, place: Any = st) -> int:
    """Let the user choose a seed, in a column or where the page is."""
    return choose_number(t("Seed"), key, 0, 2**31 - 1, 0, place=place)


def choose_number(
    label: str, key: str, least: int, most: int, usual: int, step: int = 1, *, place: Any = st, tip: str | None = None
) -> int:
    """Let the user choose a whole number; it is in the address while it is not the usual one."""
    return int(place.number_input(label, least, most, usual, step, key=key, help=tip, bind="query-params"))


def choose_method(
    label: str, methods: Mapping[str, xai.results.MethodInfo], usual: str, key: str, place: Any = st
) -> xai.results.MethodInfo:
    """Let the user choose a method by its title."""
    names = list(methods)
    chosen: str = place.selectbox(
        label,
        names,
        names.index(usual),
        format_func=lambda name: told(methods[name].title),
        key=key,
        bind="query-params",
    )
    return methods[chosen]


def choose_layer(layers: Sequence[str], key: str) -> str | None:
    """Let the user choose a layer; None for the automatic one."""
    automatic = t("automatic")
    layer: str | None = st.selectbox(
        t("Layer"),
        [None, *layers],
        format_func=lambda name: name or automatic,
        placeholder=automatic,
        key=key,
        bind="query-params",
    )
    return layer


def choose_norm(key: str, place: Any = st) -> str:
    """Let the user choose how the size of a change is measured, in a column or where the page is."""
    chosen: str = place.selectbox(
        t("Norm"), list(NORMS), format_func=NORMS.__getitem__, key=key, help=t(ABOUT_NORMS), bind="query-params"
    )
    return chosen


def choose_eps(
    norm: str,
    key: str,
    largest: Mapping[str, float],
    usual: Mapping[str, float],
    tip: str,
    place: Any = st,
    *,
    disabled: bool = False,
) -> float:
    """Let the user choose a radius; return it in the scale of pixels in [0, 1].

    Args:
        norm: has its own slider, which begins a step above 0.
        key: what the name in the address begins with; the norm follows.
        largest: radius by norm; of l-inf in 1/255.
        usual: what is proposed, likewise.
        tip: about the radius.
        place: a column, or where the page is.
        disabled: shown only.
    """
    most = float(largest[norm])
    shown: float = place.slider(
        t(_LABELS[norm]),
        most / _STEPS,
        most,
        float(usual[norm]),
        most / _STEPS,
        key=f"{key}_{norm}",
        disabled=disabled,
        help=tip,
        bind="query-params",
    )
    return shown / 255 if norm == "linf" else shown


def within_ball(eps: float, norm: str) -> str:
    """Say which changes are in the ball: "no pixel changes by more than 8/255"."""
    return t(_WITHIN[norm]).format(radius(eps, norm))
