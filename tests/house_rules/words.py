"""Words: one for each thing. What is no longer written in code, pages and texts, and how files are searched for it."""

import ast
import re
from collections.abc import Iterator

OLD_WORDS = [  # left out of the package and the pages; the word that is written instead stands beside each
    "picture",  # image
    "foreign",  # out-of-distribution
    "none of its business",  # out-of-distribution
    "what the network sees",  # prediction
    "What the network",  # What the model
    "planted",  # inserted
    "Does the fill matter",  # Does the replacement value matter?
    "Whom does it fail",  # Where does the model fail?
    "How little does it take",  # How small a change fools it?
    "Bring a network",  # Add your model
    "Can it be believed",  # Check this map
    "cries no wolf",  # Holm-adjusted p-values
    "Cannot be told from chance",  # No better than chance
    "nothing speaks against",  # no evidence of
    "does not speak against",  # no evidence of
    "speaks against this evaluation",  # Evaluation checks: no problem found
    "proofs guarantee",  # certified robust accuracy
    "attacks leave",  # empirical robust accuracy
    "turns into",  # flip rate
    "take it along",  # download
    "take it away",  # remove
    "pieces of work left",  # estimated time
    "at their level",  # significance level
    "When must the answer not be used",  # When should you distrust the prediction?
    "whole interval misses",  # clearly below the threshold
    "proven least of",  # certified lower bound of the margin
    "map's mass",  # attribution
    "how sure",  # confidence
    "said aloud",
    "has it for himself",
]
BANNED_LOCALS = frozenset({"found", "one", "held", "said", "kept", "asked", "wanted"})
BANNED_MODULES = frozenset(
    {"asking", "planted", "faulty", "weak", "foreign", "worse", "kept", "keeping", "said", "proven", "judged", "typed"}
)


def word_faults(place: str, text: str) -> Iterator[str]:
    """Yield the old words in a text, with the number of their line."""
    lowered = [(word, re.compile(rf"\b{re.escape(word)}", re.I)) for word in OLD_WORDS]
    for number, line in enumerate(text.splitlines(), 1):
        yield from (f"{place}:{number}: {word!r}" for word, pattern in lowered if pattern.search(line))


def local_faults(place: str, text: str) -> Iterator[str]:
    """Yield the locals and arguments that say nothing of their content."""
    for node in ast.walk(ast.parse(text)):
        names = []
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names = [node.id]
        elif isinstance(node, ast.arg):
            names = [node.arg]
        yield from (f"{place}:{node.lineno}: {name}" for name in names if name in BANNED_LOCALS)


def module_faults(place: str) -> Iterator[str]:
    """Yield the module where its name is no noun of the field."""
    if place.rpartition("/")[2].removesuffix(".py").lstrip("_") in BANNED_MODULES:
        yield f"{place}: a bare participle or adjective"
