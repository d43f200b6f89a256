"""The order of the package, as `scripts/house_figures.py` measures it: names, imports, sizes, words."""

import ast
import sys
from pathlib import Path

import pytest
from house_rules.words import OLD_WORDS, local_faults, module_faults, word_faults

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from house_imports import circles, import_pairs, private_imports  # noqa: E402
from house_source import files_out_of_bounds, full_folders, read_package, repeated_classes  # noqa: E402

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


@pytest.mark.parametrize("word", OLD_WORDS)
def test_an_old_word_is_found(word):
    assert list(word_faults("a.py", f"x = 1\n# {word.upper()}s\n"))
    assert list(word_faults("a.py", "an image, a model, a prediction")) == []


def test_no_old_word_is_left(sources):
    texts = [
        *ROOT.glob("xai/**/*.py"),
        *ROOT.glob("xai/**/*.html"),
        *ROOT.glob("xai/**/*.toml"),
        *ROOT.glob("xai/**/*.txt"),
    ]
    texts += [
        *ROOT.glob("xai/**/en.json"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("notebooks/*.py"),
        ROOT / "README.md",
    ]
    assert len(texts) > len(sources)
    faults = [fault for path in texts for fault in word_faults(str(path.relative_to(ROOT)), path.read_text("utf-8"))]
    assert faults == []


def test_locals_say_what_they_hold():
    faults = [fault for path in ROOT.glob("xai/**/*.py") for fault in local_faults(path.name, path.read_text("utf-8"))]
    assert faults == []


def test_locals_that_say_nothing_are_found():
    text = "def f(said):\n    found = said\n    logits = found\n    return [one for one in logits]\n"
    assert list(local_faults("a.py", text)) == ["a.py:1: said", "a.py:2: found", "a.py:4: one"]
    assert list(module_faults("dashboard/asking.py"))
    assert list(module_faults("dashboard/form.py")) == []


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
