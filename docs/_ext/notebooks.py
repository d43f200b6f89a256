"""Directives that show an executed notebook of `notebooks/` without its title: text, code and outputs.

`{notebook-beginning} NAME`: the text before its first heading; `{notebook} NAME`: the rest.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

NOTEBOOKS = Path(__file__).resolve().parent.parent.parent / "notebooks"
_CODES = re.compile(r"\x1b\[[0-9;]*m")


class Beginning(SphinxDirective):
    """The text before the first heading: MyST adds headings to the page itself, before anything returned."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return its cells."""
        return self.parse_text_to_nodes(_halves(self, self.arguments[0])[0])


class Notebook(SphinxDirective):
    """An executed notebook from its first heading on."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return its cells."""
        return self.parse_text_to_nodes(_halves(self, self.arguments[0])[1], allow_section_headings=True)


def _halves(directive: SphinxDirective, name: str) -> tuple[str, str]:
    """Return the text before and from the first heading on."""
    path = NOTEBOOKS / f"{name}.ipynb"
    directive.env.note_dependency(str(path))
    text = "\n\n".join(_texts(json.loads(path.read_text(encoding="utf-8"))["cells"]))
    first, mark, rest = text.partition("\n## ")
    return first, f"{mark.strip()} {rest}"


def _texts(cells: list[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the cells as Markdown; tables and images as raw HTML."""
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield re.sub(r"\A# .*\n*", "", source)
        elif cell["cell_type"] == "code":
            yield _fenced("python", source)
            yield from filter(None, (_shown(output) for output in cell["outputs"]))


def _shown(output: Mapping[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        pixels = "".join(data["image/png"]).replace("\n", "")
        return _fenced("{raw} html", f'<img alt="Output of the cell above" src="data:image/png;base64,{pixels}">')
    if "text/html" in data:
        return _fenced("{raw} html", f'<div class="table-wrapper">{_plain("".join(data["text/html"]))}</div>')
    text = "".join(output.get("text", data.get("text/plain", "")))
    return _fenced("text", _CODES.sub("", text)) if text.strip() else ""


def _plain(table: str) -> str:
    """Return the HTML of a table of pandas without its style sheet."""
    return re.sub(r"<style.*?</style>|\n\s*", "", table, flags=re.DOTALL)


def _fenced(language: str, text: str) -> str:
    return f"````{language}\n{text.rstrip()}\n````"


def setup(app: Any) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("notebook-beginning", Beginning)
    app.add_directive("notebook", Notebook)
    return {"parallel_read_safe": True}
