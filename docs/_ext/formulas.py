"""Formulas as SVG inside the page, drawn with matplotlib, so that no internet connection is needed."""

import io
import logging
import re
from html import escape
from typing import Any

import matplotlib as mpl
from docutils import nodes
from matplotlib.figure import Figure

# TeX commands and their equivalents in matplotlib.
_WORDS = [
    (r"\\[lr]Vert", r"\\Vert "),
    (r"\\[bB]ig[lr]?", ""),
    (r"\\([lg])e(?![a-z])", r"\\\1eq"),
    (r"\\text\{([^}]*)\}", lambda found: r"\mathrm{" + found[1].replace(" ", r"\ ") + "}"),
    (r"\\\|", r"\\Vert "),
    (r"\n", " "),
]


def drawn(formula: str, size: float) -> str:
    """Return a formula as SVG in the colour of the text around it.

    Raises:
        ValueError: matplotlib cannot draw it.
    """
    for pattern, word in _WORDS:
        formula = re.sub(pattern, word, formula)
    figure = Figure()
    figure.text(0, 0, f"${formula.strip()}$", fontsize=size)
    file = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "xai", "mathtext.fontset": "stix"}):
        figure.savefig(
            file, format="svg", bbox_inches="tight", pad_inches=0.02, transparent=True, metadata={"Date": None}
        )
    found = file.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", found[found.index("<svg") :], flags=re.DOTALL)


def _labelled(formula: str, size: float, style: str) -> str:
    svg = drawn(formula, size).replace("<svg", f'<svg role="img" aria-label="{escape(formula)}" fill="currentColor"', 1)
    return f'<span style="{style}">{svg}</span>'


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(_labelled(node.astext(), 12, "display: inline-block; vertical-align: middle"))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    style = "display: block; overflow-x: auto; margin: 1em 0"
    parts = re.split(r"\\\\|\\qquad", node.astext())
    writer.body.append("".join(_labelled(part.strip(" ,\n"), 14, style) for part in parts if part.strip(" ,\n")))
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Draw formulas without a script from the internet."""
    logging.getLogger("matplotlib.mathtext").setLevel(logging.WARNING)  # it logs fonts without a sign
    app.add_html_math_renderer("drawn", (_inline, None), (_block, None))
    return {"parallel_read_safe": True}
