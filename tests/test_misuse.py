"""Ordinary mistakes in every verb: each is refused, noted or handled, and the docs say which."""

import re
from pathlib import Path

import pytest
from misuse_cases import HANDLED, MISTAKES, NOTED, QUICK, REFUSED, VERBS, Mistake, conv, net, right

from xai.errors import XaiError

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "mistakes.md"


def outcome(mistake: Mistake, verb: str, make=net) -> tuple[str, str]:
    """Return what a verb does about a mistake, and what it says."""
    known = VERBS[verb](right(make))
    try:
        notes = [note for note in VERBS[verb](mistake.make(right(make))) if note not in known]
    except XaiError as error:
        return REFUSED, str(error)
    match = mistake.other.get(verb, (mistake.outcome, mistake.match))[1]
    fitting = [note for note in notes if match and re.search(match, note)]
    return (NOTED, fitting[0]) if fitting else (HANDLED, "; ".join(notes))


def check(mistake: Mistake, verb: str, make=net) -> None:
    wanted, match = mistake.other.get(verb, (mistake.outcome, mistake.match))
    got, words = outcome(mistake, verb, make)
    assert got == wanted, words
    assert re.search(match, words), words
    if got == REFUSED:
        assert "\n" not in words


QUICKLY = [(name, verb) for name, one in MISTAKES.items() for verb in [v for v in one.verbs if v in QUICK][:2]]
ALL = [(name, verb) for name, one in MISTAKES.items() for verb in one.verbs]


@pytest.mark.parametrize(("name", "verb"), QUICKLY)
def test_mistakes_are_refused_noted_or_handled(name: str, verb: str):
    check(MISTAKES[name], verb)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "verb"), ALL)
@pytest.mark.parametrize("make", [net, conv])
def test_every_mistake_in_every_verb(name: str, verb: str, make):
    check(MISTAKES[name], verb, make)


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_is_noted_of_a_right_call(verb: str):
    """The words that tell of mistakes stand in no note of a call without one."""
    every = "|".join(one.match for one in MISTAKES.values() if one.outcome == NOTED)
    assert not [note for note in VERBS[verb](right()) if re.search(every, note)]


def test_what_is_handled_changes_no_prediction():
    wanted = right().model().predict(right().images)
    for name, one in MISTAKES.items():
        if one.outcome == HANDLED and name != "grey":  # which leaves no colour to see
            call = one.make(right())
            assert call.model().predict(call.images).index.tolist() == wanted.index.tolist(), name


def row(one: Mistake) -> str:
    """Return the line of the table in the docs."""
    verbs = "every verb" if len(one.verbs) == len(VERBS) else ", ".join(f"`{verb}`" for verb in one.verbs)
    others = "".join(f"; `{verb}`: {what}" for verb, (what, _) in one.other.items())
    return f"| {one.words} | {verbs} | {one.outcome}{others} |"


def test_the_docs_say_what_is_done_about_each():
    text = PAGE.read_text(encoding="utf-8")
    missing = [row(one) for one in MISTAKES.values() if row(one) not in text]
    assert not missing, "\n".join(missing)
    assert text.count("\n| ") == len(MISTAKES) + 1  # and the head
