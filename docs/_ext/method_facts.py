"""`{method} KIND NAME`: what the registry knows of a method, and its picture; `{methods} KIND`: a table of all."""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import xai

DOCS = Path(__file__).resolve().parent.parent
SETTING = re.compile(r"^    (\w+): (.*)$")


def known(kind: str) -> dict[str, xai.MethodInfo]:
    """Return every method of a kind by name."""
    return {method.name: method for method in xai.methods(kind=kind)}


def file_name(name: str) -> str:
    """Return the name of a method as its page's: `gradcam++` is gradcam_plus_plus."""
    return name.replace("++", "_plus_plus").replace("-", "_")


def facts(method: xai.MethodInfo) -> list[str]:
    """Return the lines of a table of what the registry says."""
    lines = [
        f"{method.summary}",
        "",
        "| | |",
        "|---|---|",
        f"| name | `{method.name}` |",
        f"| family | {method.family} |",
    ]
    lines.append(f"| unit of its values | {method.unit} |")
    lines.append(f"| needs | {', '.join(method.needs) or 'nothing but answers'} |")
    lines.append(f"| cost per picture | {_count(method.forward)} forward, {_count(method.backward)} backward |")
    lines.append(f"| random | {'yes, fixed by `seed` for each picture' if method.stochastic else 'no'} |")
    if method.norms:
        lines.append(f"| norms | {', '.join(method.norms)} |")
    for name, value in method.settings.items():
        lines.append(f"| `{name}` | default `{value!r}` |")
    return lines


def _count(rows: int) -> str:
    return f"{rows:,} row" + ("" if rows == 1 else "s")


class Method(SphinxDirective):
    """What the registry knows of one method."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        """Return the table, and the picture where there is one."""
        kind, name = self.arguments
        lines = facts(known(kind)[name])
        picture = f"images/methods/{kind}-{file_name(name)}.png"
        if (DOCS / picture).is_file():
            lines += ["", f"![What {name} makes of an example, beside the picture it was given](/{picture})"]
        return self.parse_text_to_nodes("\n".join(lines))


class Methods(SphinxDirective):
    """A table of all methods of a kind."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        (kind,) = self.arguments
        lines = ["| method | rows per picture | what it does |", "|---|---|---|"]
        for name, method in known(kind).items():
            page = f"[{method.title}]({kind}/{file_name(name)}.md)"
            lines.append(f"| {page} | {method.forward:,} + {method.backward:,} | {method.summary} |")
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Any) -> dict[str, bool]:
    """Add the directives."""
    app.add_directive("method", Method)
    app.add_directive("methods", Methods)
    return {"parallel_read_safe": True}
