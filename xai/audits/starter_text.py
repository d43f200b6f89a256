"""The text of an xai.toml: tables with what was read of model and data, then the checks that can be asked of them."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_CHECK = "[[check]]\n"
_METRIC = re.compile(r'^metric = "(\w+)"', re.M)
_INDENT = 32  # column of comments
_HEAD = """\
# What is audited, on which images, by which checks. `xai audit xai.toml --out audit/` runs it; the same command
# again goes on where it was, and `--dry-run` only says what it would do. Unknown keys are errors.
"""
Change = tuple[Any, str]  # value of a key, and a comment


def value_text(value: Any) -> str:
    """Return a value as TOML."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_text, value))}]"
    return repr(value)


def table_text(name: str, table: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    """Return a table with a comment behind some of its keys."""
    return "\n".join([f"[{name}]", *(_line(key, value, comments.get(key, "")) for key, value in table.items())]) + "\n"


def comment_text(title: str, lines: Sequence[str]) -> str:
    """Return lines as comments below a title."""
    return "".join(f"# {_plain(line)}\n" for line in [f"{title}:", *(f"  {line}" for line in lines)])


def whole_text(tables: Sequence[str], template: str) -> str:
    """Return the file: tables of its own, then [audit], [report] and the checks of a template."""
    return "\n".join([_HEAD, *tables, template[template.index("[audit]\n") :]])


def with_checks(text: str, missing: Mapping[str, str], changes: Mapping[str, Mapping[str, Change]]) -> str:
    """Return a file with some of its checks changed, and those that cannot be asked as comments.

    Args:
        text: of the file.
        missing: why a check cannot be asked, by metric.
        changes: of keys, by metric; a value of None turns a key into a comment.
    """
    head, *blocks = text.split(_CHECK)
    return head + "".join(_block(block, missing, changes) for block in blocks)


def _block(block: str, missing: Mapping[str, str], changes: Mapping[str, Mapping[str, Change]]) -> str:
    found = _METRIC.search(block)
    metric = "" if found is None else found[1]
    lines = _changed(block.rstrip("\n").split("\n"), changes.get(metric, {}))
    if metric not in missing:
        return _CHECK + "\n".join(lines) + "\n\n"
    silent = "".join(f"# {line}\n" for line in [_CHECK.rstrip("\n"), *lines] if line)
    return f"# Not asked, since {_plain(missing[metric])}:\n{silent}\n"


def _changed(lines: list[str], changes: Mapping[str, Change]) -> list[str]:
    """Return the lines of a check with other values; keys that it lacks stand below its metric."""
    left = dict(changes)
    found = []
    for line in lines:
        key = line.partition(" = ")[0]
        if key not in left:
            found.append(line)
            continue
        value, comment = left.pop(key)
        found.append(f"# {line}" if value is None else _line(key, value, comment))
    at = next(k for k, line in enumerate(found) if line.startswith("metric")) + 1
    return found[:at] + [_line(key, *change) for key, change in left.items() if change[0] is not None] + found[at:]


def _line(key: str, value: Any, comment: str) -> str:
    text = f"{key} = {value_text(value)}"
    return f"{text.ljust(_INDENT - 1)} # {_plain(comment)}" if comment else text


def _plain(text: str) -> str:
    """Return text for a comment, in one line."""
    return "".join(c if c.isprintable() else " " for c in text)
