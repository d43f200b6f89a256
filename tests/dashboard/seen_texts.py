"""All texts that a page shows, and which are English: a word of them is in the catalogues' English alone."""

import json
import re
from functools import cache
from pathlib import Path

import xai

ROOT = Path(xai.__file__).parent
READ = frozenset(  # fields of elements that a reader sees or hears; the others are codes, places and settings
    [
        "label",
        "body",
        "text",
        "help",
        "placeholder",
        "content",
        "options",
        "caption",
        "alt",
        "title",
        "tooltip",
        "error",
    ]
)
NOT_DRAWN = frozenset(["transform", "detail", "x2", "y2", "text", "values"])  # parts of charts
_WORD = re.compile(r"[^\W\d_]+(?:'[a-z]+)?")
_MARKS = re.compile(r"\\(.)|\u2060|:material/\w+:|\*\*")
_CODE = re.compile(
    r"`[^`]*`|\bexample[:-][\w@:-]+|[\w./-]*\.(?:toml|csv|npy|zip|png|gif|json|npz|parquet|load|py|html|pdf|md|xml)\b"
    r"|xai\.[\w.]+|https?:\S+|\{[^}]*\}|[\w-]+/\d{6}"
)
FUNCTION_WORDS = frozenset(
    [
        "the", "of", "and", "with", "for", "from", "by", "that", "this", "these", "those", "not",
        "which", "are", "was", "were", "is", "it", "its", "be", "been", "has", "have", "at",
        "as", "on", "to", "into", "than", "then", "them", "they", "their", "there", "how", "what",
        "why", "when", "who", "only", "each", "every", "other", "all", "any", "such", "both", "between",
        "under", "after", "before", "about", "above", "below", "very", "more", "most", "less",
    ]
)  # fmt: skip


def seen(app):
    """Return every text of a page in its order, as a reader sees it."""
    found = []
    for node in _walk(app._tree):
        proto = getattr(node, "proto", None)
        if hasattr(proto, "ListFields"):
            found += _of_element(proto)
        if node.type in {"arrow_data_frame", "arrow_table", "dataframe", "table"}:
            found += _of_frame(node.value, proto)
    return [text for text in dict.fromkeys(map(plain, found)) if _WORD.search(text)]


def plain(text):
    """Return a text without the marks of Markdown."""
    bare = _MARKS.sub(lambda found: found[1] or "", text)
    return bare.replace("\N{NO-BREAK SPACE}", " ").strip()


def _walk(node):
    yield node
    for child in getattr(node, "children", {}).values():
        yield from _walk(child)


def _of_element(proto):
    """Return the texts of an element: those of a chart and of the viewer are in a JSON of their own."""
    found = []
    fields = {field.name: value for field, value in proto.ListFields()}
    if "spec" in fields:
        found += _of_chart(json.loads(fields["spec"]))
    if "component_name" in fields:
        panels = json.loads(fields["json"])["panels"]
        found += [panel[name] for panel in panels for name in ("title", "unit", "alt")]
    for name, value in fields.items():
        single = isinstance(value, str | bytes | int | float) or hasattr(value, "ListFields")
        for one in [value] if single else list(value):
            if hasattr(one, "ListFields"):
                found += _of_element(one)
            elif isinstance(one, str) and name in READ:
                found.append(one)
    return found


def _of_chart(spec):
    """Return titles of axes, legends and tooltips, the names of shapes, and fields that stand for a title."""
    if isinstance(spec, list):
        return [text for one in spec for text in _of_chart(one)]
    if not isinstance(spec, dict) or ("legend" in spec and spec["legend"] is None):
        return []
    found = [spec["title"]] if isinstance(spec.get("title"), str) else []
    if "field" in spec and "title" not in spec and "title" not in (spec.get("axis") or {}):
        found.append(spec["field"])
    found += [one for one in (spec.get("scale") or {}).get("domain", ()) if isinstance(one, str)]
    return found + [text for name, one in spec.items() if name not in NOT_DRAWN for text in _of_chart(one)]


def _of_frame(frame, proto):
    """Return the headings as they are shown, and the texts of the cells."""
    headings = json.loads(getattr(proto, "columns", "") or "{}")
    texts = [str(headings.get(str(name), {}).get("label") or name) for name in frame.columns]
    return texts + [one for name in frame.columns for one in frame[name].tolist() if isinstance(one, str)]


@cache
def english():
    """Return the words that stand in English texts of the catalogues and in no Spanish one."""
    pairs = dict(_catalogue("dashboard/locale/es.json"))
    here, there = _catalogue("reports/locale/en.json"), _catalogue("reports/locale/es.json")
    pairs |= {here.get(key, key): translation for key, translation in there.items()}
    for path in sorted((ROOT / "reports/locale/es").glob("*.json")):
        pairs |= _catalogue(path)
    return (_words(pairs) | FUNCTION_WORDS) - _words(pairs.values())


def _words(texts):
    return {word.lower() for text in texts for word in _WORD.findall(_CODE.sub(" ", text))}


def _catalogue(name):
    return json.loads((ROOT / name).read_text(encoding="utf-8"))


def english_words(text, names):
    """Return the English words of a text; names (of classes, methods, layers) are in no language."""
    text = re.sub(r":[a-z]+-badge\[", " ", text)  # markup of a chip
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(rf"(?<![\w.]){re.escape(name)}(?!\w)", " ", text)
    return [word for word in _WORD.findall(_CODE.sub(" ", text)) if len(word) > 1 and word.lower() in english()]
