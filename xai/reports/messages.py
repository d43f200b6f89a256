"""The messages of reports: one catalogue per language."""

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files as resources
from typing import Any

from xai.core.results.message import Message
from xai.errors import NameLookupError

LANGUAGES = ("en", "es")
SHARES = ("share", "points", "ece")
_DECIMAL = {"en": ".", "es": ","}
_THOUSANDS = {"en": ",", "es": "."}
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
    """

    language: str
    messages: Mapping[str, str]

    def __call__(self, key: str, **values: Any) -> str:
        """Return a message with its places filled."""
        return self.filled(self.messages[key], **values)

    def filled(self, template: str, /, **values: Any) -> str:
        """Return a template of this language with its places filled, numbers written as the language does."""
        if self.language == "en":
            return template.format(**values)
        text = Message.restored(template, template, values).told(
            lambda key: _templates(self.language).get(key, key), partial(_digits, self.language)
        )
        return template.format(**values) if text is None else text

    def sentence(self, text: str) -> str:
        """Return a constant text of a check in this language, or as it is where the catalogue lacks it."""
        return text if self.language == "en" else _templates(self.language).get(text, text)

    def told(self, text: str) -> Text:
        """Return an English text of the library in this language; as it is where the catalogue lacks its template."""
        if self.language == "en":
            return Text(text, "en")
        templates, translation = _templates(self.language), None
        if isinstance(text, Message):
            translation = text.told(templates.get, partial(_digits, self.language))
        translation = translation or templates.get(text)
        return Text(text, "en") if translation is None else Text(translation, self.language)

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
        return self("per_second", n=self.number(value)) if unit == "images/s" else self.number(value, 3)

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
def _templates(language: str) -> dict[str, str]:
    """Return the templates of messages in a language by the English ones; one file per room."""
    folder = resources("xai.reports") / "locale" / language
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    return {key: text for file in files for key, text in json.loads(file.read_text(encoding="utf-8")).items()}


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
    return Words(language, json.loads(_locale(f"{language}.json")))


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


def translate(text: str, language: str, /, *, sentence: bool = False, **values: Any) -> str:
    """Return a message of reports, or what the library says in English, in a language.

    Args:
        text: key of a message, such as "verdict.fail", or what a result says: a note, a reason, a title, as the result
            holds it (a copy by `str` has lost its template). Its numbers are written as the language does.
        language: "en" or "es".
        sentence: whether the text is what the library says, even where a message has a key like it ("check", "class").
        values: for the places of a message, or of a template in that language.

    Returns:
        The text in that language; as it is where the catalogue has neither.

    Raises:
        NameLookupError: no such language.

    Example:
        >>> import xai
        >>> xai.translate("verdict.fail", "es")
        'no superado'
        >>> xai.translate("{n:,}", "es", n=4652008)
        '4.652.008'
    """
    words = words_of(language)
    if text in words.messages and not sentence:
        return words(text, **values)
    return words.filled(text, **values) if values else words.told(text).text
