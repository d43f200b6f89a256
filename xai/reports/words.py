"""The words of reports: one catalogue per language, numbers as that language writes them, and names made harmless."""

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files as resources
from typing import Any

from xai.errors import NameLookupError
from xai.reports.phrases import Phrases

LANGUAGES = ("en", "es")
SHARES = ("share", "points", "ece")
_DECIMAL = {"en": ".", "es": ","}
_THOUSANDS = {"en": ",", "es": "\u202f"}
_FORMULA = ("=", "+", "-", "@")
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # control, direction, lone surrogates, line separators


@dataclass(frozen=True)
class Text:
    """A sentence and the language that it is in."""

    text: str
    language: str


@dataclass(frozen=True)
class Words:
    """One language.

    Attributes:
        language: "en" or "es".
        messages: of reports, by key; with {places} to fill.
        sentences: what checks say in English, in this language.
    """

    language: str
    messages: Mapping[str, str]
    sentences: Mapping[str, str]

    def __call__(self, key: str, **values: Any) -> str:
        """Return a message with its places filled."""
        return self.messages[key].format(**values)

    def sentence(self, text: str) -> str:
        """Return a constant sentence of a check in this language, or as it is where the catalogue lacks it."""
        return self.sentences.get(text, text)

    def told(self, text: str, *, plain: bool = False) -> Text:
        """Return what the library says in this language; as it is where the catalogue lacks one of its sentences.

        Args:
            text: in English.
            plain: whether numbers stay as they are written.
        """
        if self.language == "en":
            return Text(text, "en")
        found = self.sentences.get(text) or _phrases(self.language, plain=plain).told(text)
        return Text(text, "en") if found is None else Text(found, self.language)

    def limit(self, text: str) -> str:
        """Return a limit in this language; those of one check begin with its title."""
        if text in self.sentences:
            return self.sentences[text]
        title, colon, rest = text.partition(": ")
        plain = rest.removesuffix(".")
        said = self.sentences.get(plain) or self.told(plain).text
        return f"{self.sentence(title)}{colon}{said}." if said != plain else text

    def number(self, value: float | None, digits: int = 4) -> str:
        """Return a number with so many significant digits."""
        if value is None:
            return self("none")
        whole = float(value).is_integer() and abs(value) < 1e15
        text = f"{int(value):,}" if whole else f"{value:,.{digits}g}"
        return self._written(text)

    def percent(self, share: float) -> str:
        """Return a share as people write it."""
        return self._written(f"{100 * share:.1f}") + "\u202f%"

    def value(self, value: float | None, unit: str | None) -> str:
        """Return a figure in its unit."""
        if value is None:
            return self("none")
        if unit == "share":
            return self.percent(value)
        if unit == "points":
            return self("points", n=self._written(f"{100 * value:.1f}"))
        return self("per_second", n=self.number(value)) if unit == "pictures/s" else self.number(value, 3)

    def span(self, low: float | None, high: float | None, unit: str | None) -> str:
        """Return an interval; "" where there is none."""
        if low is None or high is None:
            return ""
        return self("span", low=self.value(low, unit), high=self.value(high, unit))

    def _written(self, text: str) -> str:
        return _digits(self.language, text)


def _digits(language: str, text: str) -> str:
    """Return a number, written with point and comma, as a language writes it."""
    table = {",": _THOUSANDS[language], ".": _DECIMAL[language], "-": "\u2212"}
    return "".join(table.get(c, c) for c in text)


@cache
def _phrases(language: str, *, plain: bool) -> Phrases:
    held = json.loads(_locale(f"{language}.phrases.json"))
    known = dict(words_of(language).sentences) | held["constants"]
    number = str if plain else partial(_digits, language)
    return Phrases(known, [tuple(pair) for pair in held["patterns"]], number)


def _locale(name: str) -> str:
    return (resources("xai.reports") / "locale" / name).read_text(encoding="utf-8")


@cache
def words_of(language: str) -> Words:
    """Return a language.

    Raises:
        NameLookupError: there is no such one.
    """
    if language not in LANGUAGES:
        raise NameLookupError("language", language, LANGUAGES)
    held = json.loads(_locale(f"{language}.json"))
    return Words(language, held["messages"], held["sentences"])


def harmless(text: str) -> str:
    """Return text that shows what it is: no control or direction characters, and nothing that a sheet would compute.

    Characters that cannot be seen are written as their code; what a spreadsheet would take for a formula gets the
    apostrophe that such programs use to mark text.
    """
    seen = "".join(_visible(c) for c in text)
    return f"'{seen}" if seen.lstrip().startswith(_FORMULA) else seen


def _visible(c: str) -> str:
    if unicodedata.category(c) not in _HIDDEN:
        return c
    return {"\n": " ", "\t": " "}.get(c) or f"\\u{ord(c):04x}"
