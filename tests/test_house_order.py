"""The order of the package, as `scripts/house_figures.py` measures it: names, imports, sizes, words."""

import ast
import re
import sys
from pathlib import Path

import pytest
from house_rules.words import OLD_NAMES, OLD_WORDS, OLD_WORDS_ES, local_faults, module_faults, word_faults

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from house_imports import circles, import_pairs, private_imports  # noqa: E402
from house_source import files_out_of_bounds, full_folders, read_package, repeated_classes  # noqa: E402
from house_words import files_to_search  # noqa: E402

import xai  # noqa: E402

STAGES = "xai.audits.execution.stages."  # one file each: keys of finished work follow the code of a stage
MOST_PARAMETERS = 8  # beside the settings of a verb


@pytest.fixture(scope="module")
def sources():
    return read_package(ROOT / "xai")


def test_a_class_name_is_defined_once(sources):
    assert repeated_classes(sources) == []


def test_no_file_imports_itself_by_way_of_others(sources):
    assert circles(import_pairs(sources)) == []


def test_private_modules_stay_in_their_package(sources):
    assert private_imports(import_pairs(sources), sources) == []


def test_folders_and_files_have_a_size_to_read(sources):
    assert full_folders(sources) == []
    short, long = files_out_of_bounds(sources)
    assert [file for file in short if not file.startswith(STAGES)] == []
    assert long == []


def test_modules_are_nouns_of_the_field(sources):
    assert [fault for source in sources for fault in module_faults(source.name.replace(".", "/"))] == []


def _example(word):
    """Return what a pattern finds: options left out, of alternatives the first."""
    word = re.sub(r"\(\?!.*?\)|\(\?:[^()]*\)\?", "", word)
    word = re.sub(r"\(\?:([^|()]*)[^()]*\)|\[(.).*?\]", r"\1\2", word)
    return re.sub(r".\?", "", word)


@pytest.mark.parametrize("word", OLD_WORDS)
def test_an_old_word_is_found(word):
    example = _example(word)
    assert list(word_faults("a.py", f"x = 1\n# {example.upper()}\n"))
    assert list(word_faults("a.md", f"so {example}, so"))
    assert list(word_faults("a.md", "an image, a model, a prediction")) == []


@pytest.mark.parametrize("word", OLD_NAMES)
def test_an_old_word_is_found_in_names_and_strings_and_not_in_prose(word):
    name = _example(word).replace(" ", "_")
    assert list(word_faults("a.py", f"_{name}_of = 1\n"))
    assert list(word_faults("a.py", f"x = '{_example(word)}'\n"))
    assert list(word_faults("a.json", f'{{"key": "{_example(word)}"}}'))
    assert list(word_faults(f"{name}.py", "x = 1"))
    assert list(word_faults("a.py", f'"""Text: {_example(word)}."""\nx = 1  # {_example(word)}\n')) == []


@pytest.mark.parametrize("word", OLD_WORDS_ES)
def test_an_old_spanish_word_is_found_on_spanish_pages(word):
    assert list(word_faults("docs/es/a.md", f"lo {_example(word)}"))
    assert list(word_faults("xai/reports/locale/es/ood.json", f'{{"x": "{_example(word)}"}}'))
    assert list(word_faults("a.md", f"lo {_example(word)}")) == []


@pytest.mark.parametrize("word", [*OLD_WORDS, *OLD_NAMES])
def test_phrases_in_which_a_word_is_right_are_let_through(word):
    for phrase in {**OLD_WORDS, **OLD_NAMES}[word][1:]:
        assert [fault for fault in word_faults("a.md", f"so {phrase.replace('?', '')}") if repr(word) in fault] == []


def test_names_are_read_as_words():
    text = "class PlantedImages:\n    _planted = 1\n    A_PLANTED_CUE = 2\n"
    assert [fault.split(":")[1] for fault in word_faults("a.py", text)] == ["1", "2", "3", "3"]


def test_no_old_word_is_left():
    texts = files_to_search(ROOT)
    assert {"README.md", "README.es.md", "app.py", "docs/index.md", "xai/reports/locale/en.json"} <= texts.keys()
    assert [fault for place, text in texts.items() for fault in word_faults(place, text)] == []


def test_locals_say_what_they_hold():
    faults = [fault for path in ROOT.glob("xai/**/*.py") for fault in local_faults(path.name, path.read_text("utf-8"))]
    assert faults == []


def test_locals_that_say_nothing_are_found():
    text = "def f(said):\n    found = said\n    logits = found\n    return [one for one in logits]\n"
    assert list(local_faults("a.py", text)) == ["a.py:1: said", "a.py:2: found", "a.py:4: one"]
    assert list(module_faults("dashboard/asking.py"))
    assert list(module_faults("dashboard/form.py")) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("try:\n    f()\nexcept E as one:\n    pass\n", 3),
        ("import json as said\n", 1),
        ("from json import loads as said\n", 1),
        ("def found():\n    pass\n", 1),
        ("class kept:\n    pass\n", 1),
        ("match x:\n    case one:\n        pass\n", 2),
        ("match x:\n    case [1, *held]:\n        pass\n", 2),
        ("match x:\n    case {1: 2, **held}:\n        pass\n", 2),
        ("for one in x:\n    pass\n", 1),
        ("with f() as one:\n    pass\n", 1),
        ("f(one := 1)\n", 1),
        ("x = {one for one in y}\n", 1),
        ("class A:\n    wanted: int = 1\n", 2),
    ],
)
def test_names_that_say_nothing_are_found_wherever_they_are_made(text, line):
    assert [fault.split(":")[1] for fault in local_faults("a.py", text)] == [str(line)]


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return len([name for name in (*node.args.posonlyargs, *node.args.args) if name.arg not in {"self", "cls"}])


def test_functions_take_few_positional_parameters(sources):
    """Verbs and public classes may take more: their settings are the contract."""
    faults = [
        f"{source.name}.{node.name}: {_parameters(node)}"
        for source in sources
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _parameters(node) > MOST_PARAMETERS
        if node.name not in {*xai.__all__, "__init__"}
    ]
    assert faults == []
