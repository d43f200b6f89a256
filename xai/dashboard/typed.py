"""Settings of methods as widgets, by the kind of each default, and as text that is read back."""

from collections.abc import Mapping, Sequence
from math import ceil, log10
from typing import Any

import streamlit as st

from xai.dashboard.language import t

_ACROSS = 3
_NONE: Mapping[str, Any] = {}


def choose_settings(
    settings: Mapping[str, Any],
    key: str,
    labels: Mapping[str, str],
    choices: Mapping[str, Sequence[Any]] = _NONE,
    kinds: Mapping[str, type] = _NONE,
) -> dict[str, Any]:
    """Let the user set a method's own settings; return those that are not the default.

    Each is in the address under "KEY.NAME" while it is not the default. What a number may not be is left for xai to
    refuse.

    Args:
        settings: names and defaults, as in `xai.MethodInfo`; None as a default stands for "automatic".
        key: what the names begin with in the address; the method's own name, say.
        labels: English texts by name, marked by `m`; names that are not in it are shown as they are.
        choices: of the settings that have some, all that they can be.
        kinds: of the numbers whose default is None, `int`; without it they are `float`.
    """
    columns = st.columns(_ACROSS) if settings else []
    found = {}
    for k, (name, default) in enumerate(settings.items()):
        with columns[k % _ACROSS]:
            kind = kinds.get(name, float if default is None else type(default))
            value = _choose(t(labels.get(name, name)), default, f"{key}.{name}", choices.get(name), kind)
        if value != default:
            found[name] = value
    return found


def _choose(label: str, default: Any, key: str, options: Sequence[Any] | None, kind: type) -> Any:
    if options is not None:
        every = list(dict.fromkeys([default, *options]))
        return st.selectbox(label, every, format_func=_shown, key=key, bind="query-params")
    if isinstance(default, bool):
        return st.toggle(label, default, key=key, bind="query-params")
    if kind in (int, float):
        return st.number_input(
            label,
            value=default,
            step=1 if kind is int else _step(default),
            format="%d" if kind is int else "%g",
            key=key,
            placeholder=t("automatic"),
            bind="query-params",
        )
    return from_text(st.text_input(label, as_text(default), key=key, bind="query-params"), default)


def _shown(value: Any) -> str:
    return t("automatic") if value is None else as_text(value)


def _step(default: float | None) -> float:
    """Return the power of ten below a number: 0.01 for 0.05."""
    return float(10.0 ** (ceil(log10(abs(default))) - 1)) if default else 0.1


def as_text(value: Any) -> str:
    """Return a setting as people write it: names and numbers, several with commas between them, empty for None."""
    if isinstance(value, tuple | list):
        return ", ".join(map(as_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def from_text(text: str, default: Any) -> Any:
    """Return a text as the kind of value that the default is; what it cannot be is left for xai to refuse."""
    if isinstance(default, tuple):
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return tuple(map(_number_or_text, parts))
    if isinstance(default, bool):
        return text.lower() in {"true", "yes", "1"}
    if isinstance(default, str):
        return text
    try:
        return int(text) if not isinstance(default, float) else float(text)
    except ValueError:
        return text


def _number_or_text(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
