"""Finds texts in the source of the dashboard that a user would see and that do not go through the catalogue."""

import ast
import re

WIDGETS = frozenset(
    [
        "button",
        "caption",
        "markdown",
        "info",
        "warning",
        "success",
        "error",
        "header",
        "subheader",
        "title",
        "selectbox",
        "number_input",
        "segmented_control",
        "pills",
        "expander",
        "multiselect",
        "text_input",
        "text_area",
        "spinner",
        "slider",
        "select_slider",
        "file_uploader",
        "toggle",
        "radio",
        "checkbox",
        "metric",
        "download_button",
        "link_button",
        "page_link",
    ]
)
PLACES = {  # functions of the dashboard: which arguments are shown
    "offer_download": (0, 4),
    "Download": (0, 3),
    "csv_file": (1, 2),
    "ask": (1, 2),
    "show_table": (0, 2),
    "show_frame": (1,),
    "show_lines": (1,),
    "of": (1, 2),
    "choose_group": (0,),
    "choose_number": (0,),
    "choose_method": (0,),
    "requested": (1, 2),
    "Job": (1,),
    "verb_job": (1,),
    "show_chart": (2,),
    "GalleryImage": (1, 2),
    "MapPanel": (0, 3),
    "panel_of": (0, 1),
    "image": (1,),
    "progress": (1,),
    "_table": (1,),
}
SHOWN = frozenset({"help", "placeholder", "alt", "label", "text", "caption", "title"})
TRANSLATED = frozenset({"t", "m", "report_word"})
CODE = frozenset(
    [
        "show_script",
        "script",
        "_show_code",
        "call_for",
        "code_for",
        "code",
        "call_of",
        "PageEntry",
        "compile",
        "component",
    ]
)
_PROSE = re.compile(r"[A-Za-z]{2,}[,:;]? [a-z(]{2,}|[a-z]{2,}[.:,] [A-Z]")
_WORD = re.compile(r"[^\W\d_]{2,}")
_NO_WORDS = re.compile(r":material/\w+:|https?:\S+|\{\}")


def raw_texts(text):
    """Return the nodes of texts that are shown as they stand."""
    tree = ast.parse(text)
    found = {}
    _walk(tree, found, visible=False)
    return list(found.values())


def spoken(node):
    """Return the constant text of a string or an f-string, its fields left out."""
    if isinstance(node, ast.Constant):
        return node.value
    return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)


def _walk(node, found, *, visible):
    if isinstance(node, ast.Raise) or _is_docstring(node):
        return
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        _look_at(node, found, visible=visible)
    elif isinstance(node, ast.Call):
        _walk_call(node, found)
    else:
        inside = visible and isinstance(node, ast.IfExp | ast.BinOp | ast.BoolOp | ast.Starred)
        for child in ast.iter_child_nodes(node):
            _walk(child, found, visible=inside and child is not getattr(node, "test", None))


def _look_at(node, found, *, visible):
    """Enter a text that is shown as it stands, or that reads like a sentence wherever it is."""
    said = spoken(node)
    if (visible and _WORD.search(_NO_WORDS.sub("", said))) or _PROSE.search(said):
        found[id(node)] = node
    for part in getattr(node, "values", ()):
        if isinstance(part, ast.FormattedValue):
            _walk(part.value, found, visible=visible)


def _walk_call(node, found):
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in CODE or name in TRANSLATED:
        for child in node.args[1:] + [keyword.value for keyword in node.keywords] if name in TRANSLATED else []:
            _walk(child, found, visible=False)
        return
    method = isinstance(node.func, ast.Attribute)
    places = (0,) if method and name in WIDGETS else PLACES.get(name, ())
    _walk(node.func, found, visible=False)
    for k, argument in enumerate(node.args):
        _walk(argument, found, visible=k in places)
    shown = name in PLACES or (method and (name in WIDGETS or name in {"table", "dataframe", "vega_lite_chart"}))
    for keyword in node.keywords:
        _walk(keyword.value, found, visible=shown and keyword.arg in SHOWN)


def _is_docstring(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
