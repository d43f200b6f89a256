"""Docstrings of this project as Sphinx reads them: `Cost:` and `Source:` may start in the middle of a line."""

import re
from typing import Any

_INLINE = re.compile(r"^(Cost|Source): (.+)$")
_SECTION = re.compile(r"^[A-Z][a-z]+:( |$)")


def sections(lines: list[str]) -> list[str]:
    """Return the lines with every `Cost: text` and `Source: text` as a section of its own."""
    found: list[str] = []
    inside = False
    for line in lines:
        start = _INLINE.match(line)
        if start:
            found += ["", f"{start[1]}:", f"    {start[2]}"]
        elif inside and line.strip() and not _SECTION.match(line):
            found.append(f"    {line.strip()}")
        else:
            found.append(line)
        inside = bool(start) or (inside and bool(line.strip()) and not _SECTION.match(line))
    return found


def setup(app: Any) -> dict[str, bool]:
    """Put the change before napoleon's."""

    def process(_app: Any, _what: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
        lines[:] = sections(lines)

    app.connect("autodoc-process-docstring", process, priority=400)
    return {"parallel_read_safe": True}
