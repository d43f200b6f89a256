"""The messages of reports: one catalogue per language."""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from importlib.resources import files as resources
from typing import Any

from xai.core.results.message import Message
from xai.errors import NameLookupError

_LONGEST, _LOOKS, _DEEPEST = 2000, 500, 12  # characters, tries, phrases within phrases: names can be anything
_SENTENCES = re.compile(r"(?<=[.!?])\s+(?=[^a-z\s])")
_PARTS = re.compile(r";\s+")
_NUMBER = re.compile(r"(?<![\w/.-])[-+]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?(?![\w/])")
_FIGURE = re.compile(r"[-+\N{MINUS SIGN}]?\d[\d,.]*(?:e-?\d+)?(?:\s?%)?")
_PLACE = re.compile(r"<(\d)>|\{(\d)\}")


@dataclass(frozen=True)
class Phrases:
    """What checks say in English, in another language.

    Attributes:
        constants: whole sentences.
        patterns: pairs of an English pattern with places {0}, {1} and its translation, in which {0} takes a name or a
            number as it is, and <0> a phrase that is itself translated.
        number: writes the digits of a number as the language does.
    """

    constants: Mapping[str, str]
    patterns: Sequence[tuple[str, str]]
    number: Callable[[str], str]

    @cached_property
    def cut(self) -> list[tuple[list[str], str]]:
        """Patterns in pieces, those that say most first."""
        found = [(re.split(r"\{\d\}", english), other) for english, other in self.patterns]
        return sorted(found, key=lambda pair: -sum(map(len, pair[0])))

    def told(self, text: str) -> str | None:
        """Return a text in the other language; None where one of its sentences is not known."""
        return None if len(text) > _LONGEST else _Telling(self).told(text)

    def numbers(self, text: str) -> str:
        """Return a text with its numbers written as the language does."""
        return _NUMBER.sub(lambda found: self.number(found[0]), text)


class _Telling:
    """One text being told; it gives up after so many looks, for phrases within phrases could go on for ever."""

    def __init__(self, phrases: Phrases) -> None:
        self._phrases, self._looks = phrases, _LOOKS
        self._known: dict[str, str | None] = {}  # many patterns have the same phrase in a place

    def told(self, text: str, depth: int = 0) -> str | None:
        """Return each sentence by itself, or else each clause, or else the whole, in the other language.

        Clauses come before the whole: a place of a pattern for one clause would take in the clauses in front of it.
        """
        if depth > _DEEPEST:
            return None
        if text not in self._known:
            self._known[text] = self._parts(text, depth) or self._whole(text, depth)
        return self._known[text]

    def _parts(self, text: str, depth: int) -> str | None:
        for cut, joint in ((_SENTENCES, " "), (_PARTS, "; ")):
            if len(parts := cut.split(text)) > 1:
                known = [found for part in parts if (found := self.told(part, depth + 1)) is not None]
                if len(known) == len(parts):
                    return joint.join(known)
        return None

    def _whole(self, text: str, depth: int) -> str | None:
        """Return one known sentence; with or without its stop, and with a small or a large first letter."""
        bare = text.removesuffix(".")
        for form in dict.fromkeys((bare, bare[:1].lower() + bare[1:], bare + ".")):
            found = self._same(form, depth)
            if found is not None:
                said = found.removesuffix(".") + text[len(bare) :]
                return said[:1].upper() + said[1:] if text[:1].isupper() else said
        return None

    def _same(self, text: str, depth: int) -> str | None:
        self._looks -= 1
        if self._looks < 0:
            return None
        if _FIGURE.fullmatch(text):
            return self._phrases.numbers(text)
        if text in self._phrases.constants:
            return self._phrases.constants[text]
        for pieces, other in self._phrases.cut:
            places = fitted(pieces, text)
            found = None if places is None else self._filled(other, places, depth)
            if found is not None:
                return found
        return None

    def _filled(self, other: str, places: Sequence[str], depth: int) -> str | None:
        """Put the places in; None where a phrase among them is not known."""
        known = {k: self.told(value, depth + 1) for k, value in enumerate(places) if f"<{k}>" in other}
        if None in known.values():
            return None

        def put(place: re.Match[str]) -> str:
            if place[2]:
                return self._phrases.numbers(places[int(place[2])])
            phrase = str(known[int(place[1])])
            return phrase if place.start() == 0 else phrase[:1].lower() + phrase[1:]

        return _PLACE.sub(put, other)


def fitted(pieces: Sequence[str], text: str) -> list[str] | None:
    """Return what stands between the pieces of a pattern, each at its first place; in time linear in the text."""
    first, last = pieces[0], pieces[-1]
    if not text.startswith(first) or not text.endswith(last):
        return None
    places, at, end = [], len(first), len(text) - len(last)
    for piece in pieces[1:-1]:
        found = text.find(piece, at + 1, end)
        if found < 0:
            return None
        places.append(text[at:found])
        at = found + len(piece)
    return [*places, text[at:end]] if len(pieces) > 1 and at < end else None


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
    """

    language: str
    messages: Mapping[str, str]

    def __call__(self, key: str, **values: Any) -> str:
        """Return a message with its places filled."""
        return self.messages[key].format(**values)

    def sentence(self, text: str) -> str:
        """Return a constant text of a check in this language, or as it is where the catalogue lacks it."""
        return text if self.language == "en" else _templates(self.language).get(text, text)

    def told(self, text: str, *, plain: bool = False) -> Text:
        """Return what the library says in this language; as it is where the catalogue lacks one of its sentences.

        Args:
            text: in English.
            plain: whether numbers stay as they are written.
        """
        if self.language == "en":
            return Text(text, "en")
        phrases = _phrases(self.language, plain=plain)
        told = None
        if isinstance(text, Message):
            template = partial(_template, _templates(self.language), phrases)
            told = text.told(template, str if plain else partial(_digits, self.language))
        told = told or _templates(self.language).get(text) or phrases.told(text)
        return Text(text, "en") if told is None else Text(told, self.language)

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
def _phrases(language: str, *, plain: bool) -> Phrases:
    held = json.loads(_locale(f"{language}.phrases.json"))
    number = str if plain else partial(_digits, language)
    return Phrases(_templates(language), [tuple(pair) for pair in held["patterns"]], number)


@cache
def _templates(language: str) -> dict[str, str]:
    """Return the templates of messages in a language by the English ones; one file per room."""
    folder = resources("xai.reports") / "locale" / language
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    constants: dict[str, str] = json.loads(_locale(f"{language}.phrases.json"))["constants"]
    return constants | {
        key: text for file in files for key, text in json.loads(file.read_text(encoding="utf-8")).items()
    }


def _template(templates: Mapping[str, str], phrases: Phrases, key: str) -> str | None:
    """Return the template of a message in another language; of a text without values also what its phrases make."""
    return templates.get(key) or (None if "{" in key else phrases.told(key))


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


def translate(text: str, language: str, *, sentence: bool = False, **values: Any) -> str:
    """Return a message of reports, or what the library says in English, in a language.

    Args:
        text: key of a message, such as "verdict.fail", or English sentences: a note, a reason, a title. Numbers in them
            stay as they are written.
        language: "en" or "es".
        sentence: whether the text is what the library says, even where a message has a key like it ("check", "class").
        values: for the places of a message.

    Returns:
        The text in that language; as it is where the catalogue has neither.

    Raises:
        NameLookupError: no such language.

    Example:
        >>> import xai
        >>> xai.translate("verdict.fail", "es")
        'no superado'
    """
    words = words_of(language)
    if text in words.messages and not sentence:
        return words(text, **values)
    return words.told(text, plain=True).text
