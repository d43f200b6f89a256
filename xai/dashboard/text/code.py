"""Text that programs read: Python calls, settings as typed, `xai.toml`, file names."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import xai


def call_for(
    method: str,
    target: str | int | list[str | int] | None,
    seed: int,
    extras: Mapping[str, Any],
    verb: str = "explain",
    *more: str,
) -> str:
    """Return the call of `xai.explain`, or of another verb like it, that explains `image` with `clf`.

    Args:
        method: registered name.
        target: class name or index, several of them, or None for the predicted one.
        seed: fixes everything random.
        extras: other arguments by name, those that are not the default.
        verb: of xai.
        more: arguments of that verb, as text.
    """
    arguments = [f"method={method!r}", *more]
    arguments += [] if target is None else [f"target={target!r}"]
    arguments += [] if seed == 0 else [f"seed={seed}"]
    arguments += [f"{name}={value!r}" for name, value in extras.items()]
    return f"xai.{verb}(clf, image, {', '.join(arguments)})"


def code_for(model: str, image: str, calls: Sequence[str]) -> str:
    """Return the lines of Python that make the same image.

    Args:
        model: an expression that loads it, such as `xai.load('example:fashion')`.
        image: an expression for the image, such as `'photo.jpg'`.
        calls: of `call_for`, one or more.
    """
    if len(calls) == 1:
        last = [f"e = {calls[0]}", "e.save('explanation.png')"]
    else:
        inner = [f"    {call}," for call in calls]
        last = ["explanations = [", *inner, "]", "together = xai.agreement(explanations)", "print(together.table)"]
        last += ["together.save('side_by_side.png')"]
    return script(model, f"image = {image}", *last)


def script(model: str, *lines: str) -> str:
    """Return a script that loads a model as `clf` and goes on with `lines`."""
    return "\n".join(["import xai", "", f"clf = {model}", *lines, ""])


def file_stem(*parts: str) -> str:
    """Return a short file name made of safe characters only."""
    stems = (re.sub(r"[^A-Za-z0-9]+", "-", part.replace("+", "plus")).strip("-").lower()[:40] for part in parts)
    return "_".join(stem for stem in stems if stem) or "explanation"


def eps_code(eps: float, norm: str) -> str:
    """Return a radius as Python writes it: "8 / 255" for l-inf, else "0.5"."""
    return f"{255 * eps:g} / 255" if norm == "linf" else f"{eps:g}"


def setting_text(value: Any) -> str:
    """Return a setting as people write it: names and numbers, several with commas between them, empty for None."""
    if isinstance(value, tuple | list):
        return ", ".join(map(setting_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def read_setting(text: str, default: Any) -> Any:
    """Return a text as the kind of value that the default is; what it cannot be is left for xai to refuse."""
    if isinstance(default, tuple):
        return tuple(_number_or_text(part.strip()) for part in text.split(",") if part.strip())
    if isinstance(default, bool):
        return text.lower() in {"true", "yes", "1"}
    if isinstance(default, str):
        return text
    try:
        return float(text) if isinstance(default, float) else int(text)
    except ValueError:
        return text


def read_length(text: str) -> Any:
    """Return "24" as pixels, "0.15" as a share of the side, "24, 12" as height and width; the rest is left to xai."""
    parts = [_number_or_text(part.strip()) for part in text.split(",")]
    return parts[0] if len(parts) == 1 else tuple(parts)


def _number_or_text(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


Tables = Mapping[str, Any]


def toml_text(tables: Tables) -> str:
    """Return tables as TOML: those of one level, and lists of them as [[name]]."""
    lines: list[str] = []
    for name, table in tables.items():
        for entry in [table] if isinstance(table, Mapping) else table:
            lines += [f"[{name}]" if isinstance(table, Mapping) else f"[[{name}]]"]
            lines += [f"{key} = {_value(value)}" for key, value in entry.items() if value is not None]
            lines.append("")
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)


def read_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text.

    Raises:
        InputError: it is none.
    """
    try:
        result = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise xai.InputError(f"Expected TOML, but: {error}. Check that line.") from error
    for name, table in result.items():
        parts = table if isinstance(table, list) and table else [table]
        if not all(isinstance(part, Mapping) for part in parts):
            raise xai.InputError(f"Expected [{name}] or [[{name}]] as a table of settings, but got {table!r}.")
    return result
