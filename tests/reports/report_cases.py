"""Audits whose names are chosen to hurt, and what pages are made of."""

import copy
from html.parser import HTMLParser

from xai import Audit

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=http://evil.example/x onerror=alert(1)>",
    "\"'><svg onload=alert(1)>",
    "\x1b[31mred\x07",
    '=HYPERLINK("http://evil.example")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\u202eabc\u202c\u2066",
    "a\r\nb\tc",
    "$x_1$ $$y$$ `code` **bold**",
    "| cell | cell |",
    "</details><img src=x>",
    "![p](http://evil.example/p.png)",
    "[l](javascript:alert(1))",
    "@everyone #1 https://evil.example",
    "{{7*7}} {% raw %}",
    "]]> --> <!-- ?>",
    "\ud800 lone",
    "-----",
    "# heading",
)
NAMES = ("north", "south", "Bag")


def hostile(audit: Audit, name: str) -> Audit:
    """Return an audit in which every class, group, file, check, model and title carries a name."""
    document = copy.deepcopy(dict(audit.document))
    found = _renamed(document, name)
    return Audit(found, dict(audit.files), audit.folder)


def _renamed(value, name):
    if isinstance(value, dict):
        return {_key(key, name): _renamed_at(key, item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, name) for item in value]
    return value


def _renamed_at(key, item, name):
    texts = {"title", "image", "where", "label", "predicted", "source", "caption", "alt", "why", "claim", "message"}
    texts |= {"name", "command", "python", "architecture", "unit_of"}
    if isinstance(item, str) and key in texts:
        return name if key in {"name", "where", "label", "predicted", "image"} else f"{name} {item} {name}"
    if (
        key in {"limits", "notes", "classes"}
        and isinstance(item, list)
        and item
        and all(isinstance(one, str) for one in item)
    ):
        return [name, *item]
    if key in {"id", "check"} and isinstance(item, str):
        return f"{item}{name}"
    if key == "versions":
        return {name: name, **item}
    return _renamed(item, name)


def _key(key, name):
    return name if key in NAMES else key


class Page(HTMLParser):
    """Counts what a page is made of."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.images, self.cells = [], [], [], []
        self.text, self._cell = [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag in {"td", "th"}:
            self._cell = ""

    def handle_endtag(self, tag):
        if tag in {"td", "th"} and self._cell is not None:
            self.cells.append(self._cell)
            self._cell = None

    def handle_data(self, data):
        self.text.append(data)
        if self._cell is not None:
            self._cell += data
