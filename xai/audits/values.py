"""Values as they stand in a file, checked by the type that is asked for."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, get_origin

from xai.core.validation import check_choices
from xai.errors import InputError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def known_keys(table: Any, known: Sequence[str], where: str) -> dict[str, Any]:
    """Return a table whose keys are all known.

    Raises:
        InputError: no table.
        NameLookupError: an unknown key; near ones are suggested.
    """
    if not isinstance(table, Mapping):
        raise InputError(f"Expected {where} as a table of settings, but got {table!r}.")
    check_choices(f"setting of {where}", table, known)
    return dict(table)


def number(name: str, value: Any) -> float:
    """Return a number, also written as "8/255".

    Raises:
        InputError: it is none.
    """
    if isinstance(value, str):
        top, _, bottom = value.partition("/")
        try:
            return float(top) / float(bottom or 1)
        except (ValueError, ZeroDivisionError):
            value = repr(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise InputError(f'Expected `{name}` as a number, or as "8/255", but got {value}.')
    return float(value)


def whole(name: str, value: Any) -> int:
    """Return a whole number.

    Raises:
        InputError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"Expected `{name}` as a whole number, but got {value!r}.")
    return value


def text(name: str, value: Any) -> str:
    """Return a text.

    Raises:
        InputError: it is none.
    """
    if not isinstance(value, str):
        raise InputError(f"Expected `{name}` as a text in quotes, but got {value!r}.")
    return value


def seconds(name: str, value: Any) -> float:
    """Return a duration in seconds, from a number or from "90s", "8m", "1h30m".

    Raises:
        InputError: it is none, or not above 0.
    """
    duration = 0.0
    if isinstance(value, str) and re.fullmatch(r"(\d+(\.\d+)?[smh])+", value):
        duration = sum(float(part[:-1]) * _UNITS[part[-1]] for part in re.findall(r"\d+(?:\.\d+)?[smh]", value))
    elif not isinstance(value, str):
        duration = number(name, value)
    if not 0 < duration < float("inf"):
        raise InputError(f'Expected `{name}` as a time such as "8m", "90s" or "1h30m", but got {value!r}.')
    return duration


def as_type(name: str, value: Any, kind: Any) -> Any:
    """Return a value as the type of a field asks for it.

    Raises:
        InputError: it is of another kind.
    """
    choices = [choice for choice in get_args(kind) if choice is not type(None)]
    if get_origin(kind) is tuple:
        return _listed(name, value, choices[0])
    if get_origin(kind) is not None and kind not in _PLAIN and len(choices) == 1:  # such as int | None
        return value if value is None else as_type(name, value, choices[0])
    for plain, read in _PLAIN.items():
        if kind is plain:
            return read(name, value)
    if not isinstance(value, Mapping):
        raise InputError(f"Expected `{name}` as a table of settings, but got {value!r}.")
    return dict(value)


def _listed(name: str, value: Any, kind: Any) -> tuple[Any, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise InputError(f"Expected `{name}` as a list, but got {value!r}.")
    return tuple(as_type(name, item, kind) for item in items)


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"Expected `{name}` as true or false, but got {value!r}.")
    return value


_PLAIN: dict[Any, Callable[[str, Any], Any]] = {float: number, int: whole, str: text, bool: _truth}
