"""Settings of methods and of checks as widgets: what they are called, and what each kind of value is chosen with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log10
from typing import Any

import streamlit as st

import xai
from xai.dashboard.language import m, t, told
from xai.dashboard.typed import as_text, from_text, length

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
_ACROSS = 3
_NONE: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Knob:
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
        return t(self.nothing) if value is None else told(as_text(value))

    def _text(self) -> Any:
        known = as_text(self.default)
        text = st.text_input(self.label, known, key=self.key, placeholder=t(self.nothing), bind="query-params").strip()
        if text == known:
            return self.default
        return from_text(text, self.default) if isinstance(self.default, str | tuple) else length(text)


def name_of(setting: str) -> str:
    """Return what a setting of a check is called, in the language of the page."""
    return t(_NAMES.get(setting, setting))


def choose_own(method: xai.MethodInfo, across: int) -> dict[str, Any]:
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
        Knob(
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


def _turn(knobs: Sequence[Knob], across: int) -> dict[str, Any]:
    """Show widgets in rows, so that one line is one height; return by name what is not the default."""
    found: dict[str, Any] = {}
    columns: list[Any] = []
    for knob in knobs:
        columns = columns or st.columns(across, vertical_alignment="bottom")
        with columns.pop(0):
            value = knob.turn()
        if value != knob.default or type(value) is not type(knob.default):
            found[knob.name] = value
    return found


def _own(method: xai.MethodInfo, name: str) -> Knob:
    """Return the knob of a setting of an explanation; numbers are at least 1, or 0.0, and not beyond reason."""
    default, label = method.settings[name], t(_IN_METHODS.get(name) or _NAMES.get(name, name))
    kind = object if name in _LENGTHS or default is None else type(default)
    most = _TIMES * default if kind in (int, float) else None
    least = None if most is None else 1 if kind is int else 0.0
    key, options = f"{name}_{method.name}", method.choices.get(name)
    nothing = m("no") if options else m("automatic")
    return Knob(name, label[:1].upper() + label[1:], default, key, options, kind, least, most, nothing)


def _step(default: float | None) -> float:
    """Return the power of ten below a number: 0.01 for 0.05."""
    return float(10.0 ** (ceil(log10(abs(default))) - 1)) if default else 0.1
