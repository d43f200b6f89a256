"""Directives that show what the registries hold of each method.

`{method-facts} KIND NAME`: summary, facts, settings and image; `{method-costs} KIND NAME`: cost and source, from its
docstring; `{method-table} KIND`: a table of all; `{method-image} KIND NAME`: the image alone.
"""

import inspect
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import xai
from xai.explanations.methods.base import EXPLAINERS
from xai.ood.detectors.base import DETECTORS
from xai.robust.attacks.base import ATTACKS

DOCS = Path(__file__).resolve().parent.parent
CLASSES = {"explanation": EXPLAINERS, "attack": ATTACKS, "detector": DETECTORS}
_SETTING = re.compile(r"^    (\w+): (.*)$")


def known(kind: str) -> dict[str, xai.results.MethodInfo]:
    """Return every method of a kind by name."""
    return {method.name: method for method in xai.methods(kind=kind)}


def file_name(name: str) -> str:
    """Return the file name of a method's page: `gradcam++` is gradcam_plus_plus."""
    return name.replace("++", "_plus_plus").replace("-", "_")


def image_of(kind: str, name: str) -> Path:
    """Return the path of a method's image, below docs/."""
    return Path("images") / "methods" / f"{kind}-{file_name(name)}.png"


def facts(method: xai.results.MethodInfo) -> list[str]:
    """Return the facts of the registry as a Markdown table."""
    rows = [
        ("name", f"`{method.name}`"),
        ("family", method.family),
        ("unit of its values", method.unit),
        ("needs", ", ".join(method.needs) or "predictions only"),
        ("rows per image", f"{method.forward:,} forward, {method.backward:,} backward"),
        ("random", "yes, fixed by `seed` for each image" if method.stochastic else "no"),
        *([("norms", ", ".join(method.norms))] if method.norms else []),
    ]
    meanings = settings_of(method.kind, method.name)
    rows += [(f"`{name}={value!r}`", meanings.get(name, "")) for name, value in method.settings.items()]
    return [method.summary, "", "| | |", "|---|---|", *(f"| {left} | {_cell(right)} |" for left, right in rows)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def settings_of(kind: str, name: str) -> dict[str, str]:
    """Return the meaning of each setting from the docstring of a method."""
    found: dict[str, str] = {}
    last = ""
    for line in _docstring(kind, name).partition("Args:\n")[2].splitlines():
        start = _SETTING.match(line)
        if start:
            last = start[1]
            found[last] = start[2]
        elif line.startswith("        "):
            found[last] += " " + line.strip()
        else:
            break
    return found


def paragraph(kind: str, name: str, title: str) -> str:
    """Return the text of `Cost:` or `Source:` in a method's docstring, "" if there is none."""
    found = re.search(rf"^{title}: (.*?)(?=^[A-Z]\w+:|^$|\Z)", _docstring(kind, name) + "\n", re.MULTILINE | re.DOTALL)
    return " ".join(found[1].split()) if found else ""


def _docstring(kind: str, name: str) -> str:
    return inspect.getdoc(CLASSES[kind][name]) or ""


class Method(SphinxDirective):
    """Facts of one method, and its image."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        """Return the table and the image."""
        kind, name = self.arguments
        return self.parse_text_to_nodes("\n".join([*facts(known(kind)[name]), *shown(kind, name)]))


class Image(SphinxDirective):
    """The image of a method."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        """Return the image."""
        return self.parse_text_to_nodes("\n".join(shown(*self.arguments)))


def shown(kind: str, name: str) -> list[str]:
    """Return the lines that show the image of a method, none if it has no image."""
    place = image_of(kind, name)
    words = {
        "explanation": f"Heatmap of {name} for a photograph of a cup of coffee, beside the photograph",
        "attack": f"Images of clothes, adversarial examples of {name}, and the perturbation",
        "detector": f"Histograms of the score of {name} for in-distribution images and for handwritten digits",
        "bound": f"Share of images verified by {name}, over the radius",
    }
    return ["", f"![{words[kind]}](/{place.as_posix()})"] if (DOCS / place).is_file() else []


class Costs(SphinxDirective):
    """Cost and source of a method."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        """Return two sections in bold."""
        kind, name = self.arguments
        texts = [(title, paragraph(kind, name, title)) for title in ("Cost", "Source")]
        return self.parse_text_to_nodes("\n\n".join(f"**{title}.** {text}" for title, text in texts if text))


class Methods(SphinxDirective):
    """A table of all methods of a kind."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        (kind,) = self.arguments
        lines = ["| method | rows per image | what it does |", "|---|---|---|"]
        for name, method in known(kind).items():
            title = f"[{method.title}]({kind}/{file_name(name)}.md)" if kind in CLASSES else f"`{name}`"
            lines.append(f"| {title} | {method.forward:,} + {method.backward:,} | {_cell(method.summary)} |")
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Any) -> dict[str, bool]:
    """Add the directives."""
    for name, directive in (("facts", Method), ("image", Image), ("costs", Costs), ("table", Methods)):
        app.add_directive(f"method-{name}", directive)
    return {"parallel_read_safe": True}
