"""The tables of an audit as text: `xai.toml`, written and read."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import xai

Tables = Mapping[str, Any]


def written(tables: Tables) -> str:
    """Return tables as TOML: those of one level, and lists of them as [[name]]."""
    lines: list[str] = []
    for name, table in tables.items():
        for one in [table] if isinstance(table, Mapping) else table:
            lines += [f"[{name}]" if isinstance(table, Mapping) else f"[[{name}]]"]
            lines += [f"{key} = {_value(value)}" for key, value in one.items() if value is not None]
            lines.append("")
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_value(one)}" for key, one in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)


def read(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text.

    Raises:
        InputError: it is none.
    """
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise xai.InputError(f"Expected TOML, but: {error}. Check that line.") from error
    for name, table in found.items():
        parts = table if isinstance(table, list) and table else [table]
        if not all(isinstance(part, Mapping) for part in parts):
            raise xai.InputError(f"Expected [{name}] or [[{name}]] as a table of settings, but got {table!r}.")
    return found
