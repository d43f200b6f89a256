"""Words: one for each thing; what is no longer written in code, pages and texts."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from house_words import old_words_of

# A pattern of the words that are not written, then what is written instead, then phrases in which they are right.
# Letters have no case and names are read as words: `_planted`, `plantedImages` and "planted image" hold "planted".
OLD_WORDS = {  # not in code, comments, pages, catalogues or notebooks
    # one word per thing
    "picture": ("image",),
    "what the network": ("what the model",),
    "networks? (?:sees|finds|predicts|says|answers|is sure|are sure)": ("model", "a network sees as alike"),
    "(?:your|on this|audited) network": ("model",),
    "foreign": ("out-of-distribution",),
    "none of its business": ("out-of-distribution",),
    "what it is called": ("class, target", "what it is called with"),
    "what the network sees": ("prediction",),
    "how sure": ("confidence",),
    "(?:is|are|less|more|very|too|as) sure(?![a-z])": ("confident",),
    "cues?(?![a-z])": ("shortcut; probe",),
    "planted": ("inserted",),
    "(?:hidden|secret|painted) marks?(?![a-z])": ("probe",),
    "map's mass": ("attribution",),
    "mass (?:of the map|inside)": ("attribution",),
    "turns into": ("flip rate",),
    "pulls (?:images|into|towards|to)": ("attracts",),
    "fool": ("misclassify; adversarial example", "deep ?fool", "foolbox", "how small a change fools it"),
    "proofs?(?![a-z])": ("certificate",),
    "prove[nd](?![a-z])": ("certified",),
    "proofs guarantee": ("certified robust accuracy",),
    "attacks leave": ("empirical robust accuracy",),
    "speaks? (?:against|for)(?![a-z])": ("evidence against, evidence for",),
    "(?:cannot|can not|could not) be told": ("no evidence of; inconclusive; unknown",),
    "less (?:the|its|one|other|neutral|accuracy|all classes)(?![a-z])": ("minus",),
    "take it along": ("download",),
    "take it away": ("remove",),
    "bring (?:a|your) (?:network|model|image)": ("add",),
    "pieces of work left": ("estimated time",),
    "at their level": ("significance level",),
    # names that tripped a reader
    "scene": ("context",),
    "yardstick": ("baseline",),
    "ledger": ("bounds of each image",),
    "sabotage": ("fault injection",),
    "album": ("artifacts",),
    # strings before and after
    "what fools it, whom does it fail": ("explain, stress-test and audit an image classifier",),
    "how little does it take": ("how small a change fools it?",),
    "network of your own": ("add your model",),
    "cut out of the middle": ("centre-cropped",),
    "cannot be judged on them": ("usable only as out-of-distribution images",),
    '"(?:rather than|no other class)"': ("compared with class / none",),
    "can it be believed": ("check this map",),
    "the last layer with the shape of a map of": ("layer, chosen automatically and verified",),
    "not the same everywhere": ("the map is not uniform",),
    "does the fill matter": ("does the replacement value matter?",),
    "the truth lies between": ("robust accuracy is between",),
    "when must the answer": ("when should you distrust the prediction?",),
    "ordinary images": ("in-distribution images",),
    "whom does it fail": ("where does the model fail?",),
    "the whole interval misses": ("clearly below the threshold",),
    "at least one gate does not hold": ("2 of 5 checks failed",),
    "cries no wolf": ("Holm-adjusted p-values",),
    "said aloud": ("printed, noted",),
    "has it for himself": ("itself",),
}
OLD_NAMES = {  # prose may hold them; not in names, settings, strings, pages, catalogues or notebooks
    "answer": ("prediction, output",),
    "truths?(?![a-z])": ("ground truth, label", "ground truth"),
    "sure(?![a-z])": ("confidence",),
    "(?:un)?said(?![a-z])": ("predicted; ground truth", "is said to"),
    "believ": ("reliable, rated",),
    "odd(?![a-z])": ("out-of-distribution", "an odd number"),
    "pull(?:s|ed)?(?![a-z])": ("attraction", "pull request", "lfs pull"),
}
OLD_WORDS_ES = {  # not in Spanish pages and catalogues
    "ajen[ao]s?(?![a-z])": ("fuera de distribución",),
    "habla(?:n)? (?:en )?contra": ("cuestiona",),
    "fuera de la distribuci": ("fuera de distribución",),
    "normales (?:rechaz|acept)": ("dentro de la distribución",),
    "garantizad[ao]s?(?![a-z])": ("certificada", "tasa de rechazo garantizada"),
    "demostrad[ao]s?(?![a-z])": ("certificada",),
}
BANNED_LOCALS = frozenset({"found", "one", "held", "said", "kept", "asked", "wanted"})
BANNED_MODULES = frozenset(
    {"asking", "planted", "faulty", "weak", "foreign", "worse", "kept", "keeping", "said", "proven", "judged", "typed"}
)


def word_faults(place: str, text: str) -> Iterator[str]:
    """Yield the old words in a text or its name, with the number of their line."""
    found = old_words_of(place, text, OLD_WORDS, OLD_NAMES, OLD_WORDS_ES)
    yield from (f"{place}:{number}: {word!r}" for number, word in found)


def local_faults(place: str, text: str) -> Iterator[str]:
    """Yield the names made in a file that say nothing of their content: locals, arguments, captures, functions."""
    for node in ast.walk(ast.parse(text)):
        name = _name_made(node)
        if name in BANNED_LOCALS:
            yield f"{place}:{getattr(node, 'lineno', 0)}: {name}"


def _name_made(node: ast.AST) -> str | None:
    """Return the name that a node gives to something, None where it gives none."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
            return name
        case ast.alias(asname=name) | ast.MatchMapping(rest=name):
            return name
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.ExceptHandler():
            return node.name
        case ast.MatchAs() | ast.MatchStar():
            return node.name
    return None


def module_faults(place: str) -> Iterator[str]:
    """Yield the module where its name is no noun of the field."""
    if place.rpartition("/")[2].removesuffix(".py").lstrip("_") in BANNED_MODULES:
        yield f"{place}: a bare participle or adjective"
