"""How old words are searched: in names and texts of the code, in pages, catalogues and notebooks.

A list of words maps a pattern to the word that is written instead, followed by the phrases in which it stays right.
Names are read as words: `_planted`, `plantedImages` and `PLANTED` hold the word "planted".
"""

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

Words = Mapping[str, Sequence[str]]
PLACES = ("xai/**/*", "docs/**/*", "notebooks/*", "README*.md", "CONTRIBUTING.md", "app.py")
_TEXTS = frozenset({".py", ".md", ".json", ".html", ".js", ".toml", ".txt", ".ipynb"})
_SPANISH = re.compile(r"(^|[/.])es([/.]|$)")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def files_to_search(checkout: Path) -> dict[str, str]:
    """Return the texts that users and developers read, by path inside the checkout."""
    paths = sorted({path for place in PLACES for path in checkout.glob(place) if path.suffix in _TEXTS})
    texts = {path.relative_to(checkout).as_posix(): path.read_text("utf-8") for path in paths if path.is_file()}
    return {place: _cells(text) if place.endswith(".ipynb") else text for place, text in texts.items()}


def is_spanish(place: str) -> bool:
    """Tell whether a file is written in Spanish."""
    return _SPANISH.search(place) is not None


def as_words(text: str) -> str:
    """Return a text in lower case with the words of its names apart."""
    return _CAMEL.sub(" ", text).replace("_", " ").lower()


def old_words_of(place: str, text: str, words: Words, names: Words, spanish: Words) -> Iterator[tuple[int, str]]:
    """Yield line and pattern of the old words of a file: of a Spanish one the Spanish words, else words and names."""
    if is_spanish(place):
        yield from occurrences(place, text, spanish)
    else:
        yield from occurrences(place, text, words)
        yield from occurrences(place, without_prose(place, text), names)


def occurrences(place: str, text: str, words: Words) -> Iterator[tuple[int, str]]:
    """Yield line and pattern of the words that occur in a text or in the name of its file."""
    patterns = [(word, _pattern(word), _allowed(words[word][1:])) for word in words]
    for number, line in enumerate([place, *text.splitlines()]):
        plain = as_words(line)
        for word, pattern, allowed in patterns:
            if pattern.search(plain) and pattern.search(allowed.sub(" ", plain) if allowed else plain):
                yield number, word


def without_prose(place: str, text: str) -> str:
    """Return a text without the comments and docstrings of code; pages and catalogues as they are."""
    if not place.endswith(".py"):
        return text
    lines = text.splitlines(keepends=True)
    for first, last in _docstrings(text):
        lines[first - 1 : last] = ["\n"] * (last - first + 1)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip("\n") + "\n"
    return "".join(lines)


def _docstrings(text: str) -> Iterator[tuple[int, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.end_lineno or node.lineno


def _pattern(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z])(?:{word.lower()})")


def _allowed(phrases: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(phrases)) if phrases else None


def _cells(text: str) -> str:
    """Return what was written into the cells of a notebook; outputs follow from it."""
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
