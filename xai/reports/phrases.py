"""Sentences of the library in another language: patterns with places, tried part by part and then on the whole."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

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
