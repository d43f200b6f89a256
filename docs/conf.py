"""How Sphinx builds these pages: `make docs`, into build/docs."""

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

import xai  # noqa: E402  # found by the line above

project = "xai"
author = "the authors of xai"
project_copyright = "the authors of xai, Apache-2.0"
version = release = xai.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docstrings",
    "formulas",
    "method_facts",
    "notebooks",
    "tables",
]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4
exclude_patterns = ["_ext", "images", "README*"]
suppress_warnings = ["misc.highlighting_failure"]  # JSON with dots in it, and shell with its output, are no code

default_role = "code"
autodoc_typehints = "none"  # the signatures are long enough; shapes and types are in the text
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Cost", "Source"]

ELSEWHERE = {"](../CONTRIBUTING.md)": "](reference/contributing.md)"}  # links that are right in the repository

html_math_renderer = "drawn"  # see _ext/formulas.py
html_theme = "furo"
html_title = f"xai {release}"
html_static_path: list[str] = []
html_show_sourcelink = False
html_copy_source = False


def setup(app: Any) -> None:
    """Point links to files beside docs/ at the pages that include them."""

    def read(_app: Any, _name: str, content: list[str]) -> None:
        for written, meant in ELSEWHERE.items():
            content[0] = content[0].replace(written, meant)

    app.connect("source-read", read)
