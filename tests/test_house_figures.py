"""The figures of the tree on made-up packages, each of which holds one fault of each kind."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import house_calls  # noqa: E402
import house_figures  # noqa: E402
import house_startup  # noqa: E402
from house_imports import circles, dashboard_pairs, import_pairs, private_imports, upward_imports  # noqa: E402
from house_repeats import repeats  # noqa: E402
from house_source import (  # noqa: E402
    files_out_of_bounds,
    full_folders,
    function_median,
    line_numbers,
    read_package,
    repeated_classes,
)


@pytest.fixture
def write(tmp_path):
    """Return a function that writes files of xai/ by name and reads the package."""

    def _write(**texts):
        for name, text in texts.items():
            path = tmp_path / "xai" / f"{name.replace('__', '/') if name != '__init__' else name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return read_package(tmp_path / "xai")

    return _write


def files(*names, text=""):
    return {name.replace("/", "__"): text for name in names}


def test_docstrings_comments_blank_lines_and_imports_are_no_code(write):
    text = '''"""Of the
module."""

import os  # one
from sys import (
    argv,
)

# a comment
X = """two
lines"""


def f():
    """Return it."""
    import json

    return [
        X,
    ]
'''
    (source,) = write(a=text)
    assert sorted(line_numbers(source).code) == [10, 11, 14, 18, 19, 20]
    assert sorted(line_numbers(source).imports) == [4, 5, 6, 7, 16]


def test_classes_defined_twice_are_named_with_their_files(write):
    sources = write(a="class Plan:\n    class Task: ...\n", b__c="class Plan: ...\nclass Run: ...\n")
    assert repeated_classes(sources) == ["Plan: xai.a, xai.b.c"]


def test_private_modules_stay_in_their_folder_and_below(write):
    sources = write(
        **files("a/_inner", "a/_deep/b"),
        a__c="from xai.a import _inner",
        a__d__e="def f():\n    import xai.a._inner",
        b="from xai.a._inner import x\nfrom xai.a._inner import y",
        c="from xai.a._deep.b import x",
        ab="from xai.a import _inner",
        d="from xai.a import _no_module",
    )
    assert private_imports(import_pairs(sources), sources) == [
        "xai.ab -> xai.a._inner",
        "xai.b -> xai.a._inner",
        "xai.c -> xai.a._deep.b",
    ]


def test_circles_are_found_through_late_and_relative_imports(write):
    sources = write(
        a="import xai.b",
        b="def f():\n    from xai import c",
        c="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from xai.a import X",
        d="import xai.a",
        e__f="from .g import x",
        e__g="from . import f",
        h="import xai.h",
    )
    assert circles(import_pairs(sources)) == [["xai.a", "xai.b", "xai.c"], ["xai.e.f", "xai.e.g"]]


def test_imports_of_the_dashboard_go_down_only(write):
    pages = {"pages__bias__form": "import xai.dashboard.pages.bias.view\nfrom xai.dashboard.pages import audit"}
    files_of_dashboard = {
        "text__words": "import xai.dashboard.widgets.slider, xai.dashboard.session.queue",
        "session__queue": "import xai.core",
        "charts__bars": "import xai.dashboard.text.words",
        "widgets__slider": "import xai.dashboard.charts.bars, xai.dashboard.pages.audit",
        "pages__audit": "import xai.dashboard.widgets.slider",
        "pages__bias__view": "",
        "router": "import xai.dashboard.pages.audit",
        **pages,
    }
    sources = write(core="", **{f"dashboard__{name}": text for name, text in files_of_dashboard.items()})
    pairs = dashboard_pairs(import_pairs(sources))
    assert len(pairs) == 9
    assert upward_imports(pairs) == [
        "pages.bias.form -> pages.audit",
        "text.words -> widgets.slider",
        "widgets.slider -> pages.audit",
    ]
    assert upward_imports([("xai.dashboard.a", "xai.dashboard.b")]) is None


def test_runs_of_six_lines_are_found_whatever_stands_around_them(write):
    run = [f"x{k} = {k}" for k in range(6)]
    inside = "def f():\n" + "".join(f"    {line}\n\n    # why\n" for line in run)
    sources = write(
        a="y = 1\n" + "\n".join(run),
        b=inside,
        c="\n".join(run[:5]),
        d="\n".join(f"import m{k}" for k in range(8)),
        e="\n".join(f"import m{k}" for k in range(8)),
        f="z = [\n    1,\n]\n" * 3,
    )
    assert repeats(sources) == ["xai.a:2-7 = xai.b:2-17"]


def test_a_run_in_one_file_does_not_overlap_itself(write):
    run = "\n".join(f"x{k} = {k}" for k in range(7))
    assert repeats(write(a=f"{run}\ny = 1\n{run}")) == ["xai.a:1-7 = xai.a:9-15"]
    assert repeats(write(a="x = 1\n" * 11)) == []


def test_files_have_forty_to_four_hundred_lines(write):
    method = '@METHODS.register("rise")\nclass Rise: ...\n'
    sources = write(**files("a", "__init__"), b="x = 1\n" * 40, c="x = 1\n" * 400, d="x = 1\n" * 401, e=method)
    assert files_out_of_bounds(sources) == (["xai.a: 0"], ["xai.d: 401"])


def test_folders_hold_fifteen_files_unless_they_hold_methods(write):
    method = '@METHODS.register("rise")\nclass Rise: ...\n'
    names = [f"full/f{k}" for k in range(16)] + [f"right/f{k}" for k in range(15)]
    sources = write(**files(*names), **files(*(f"methods/f{k}" for k in range(20)), text=method))
    assert full_folders(sources) == ["xai.full: 16"]


def test_the_docstring_does_not_lengthen_a_function(write):
    documented = 'def f():\n    """Return\n    1."""\n    return 1\n'
    assert function_median(write(a=documented, b="async def g():\n    a = 1\n    b = 2\n    return a + b\n")) == 3.0


def test_old_words_are_read_from_the_rules_where_they_are_listed(write, tmp_path):
    write(a="x = 'image'")
    assert house_figures.old_words(tmp_path) is None
    rules = tmp_path / "tests" / "house_rules" / "words.py"
    rules.parent.mkdir(parents=True)
    rules.write_text("OLD_WORDS: tuple[str, ...] = ('image', 'foreign')\n")
    assert house_figures.old_words(tmp_path) == ["image"]


def test_the_table_and_the_document_hold_the_same_figures(write, tmp_path, capsys):
    write(a="import os\nx = 1\n")
    house_figures.main(["--checkout", str(tmp_path), "--static"])
    printed = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")] for line in printed]
    assert rows[0] == ["figure", "now", "bar"]
    assert ["import share", "50.00 %", "<= 9 %"] in rows
    assert ["old words that occur", "-", "0"] in rows
    house_figures.main(["--checkout", str(tmp_path), "--static", "--json"])
    figures = {figure["name"]: figure for figure in json.loads(capsys.readouterr().out)}
    assert len(figures) == len(rows) - 1
    assert figures["files under 40 lines"]["places"] == ["xai.a: 2"]


def test_calls_are_counted_and_imports_are_not(write, tmp_path, monkeypatch):
    write(
        __init__="def verb():\n    from counted_tree import b\n\n    b.first()\n    b.second()\n",
        a="def note():\n    return 1\n\n\ndef end():\n    return sorted([2, 1], key=lambda x: x)\n",
        b="from counted_tree import a\n\na.note()\n\n\nclass C:\n    x = a.note()\n"
        "\n\ndef first(): ...\ndef second():\n    a.end()\n    first()\n",
    )
    (tmp_path / "xai").rename(tmp_path / "counted_tree")
    monkeypatch.syspath_prepend(str(tmp_path))
    from counted_tree import verb

    counter = house_calls.CallCounter(str(Path(verb.__code__.co_filename).parent))
    counter.run(verb)
    assert sorted(counter.files) == ["__init__.py", "a.py", "b.py"]
    assert counter.hops == 4  # verb, first and second, end, first again
    assert sys.getprofile() is None


def test_processes_that_fail_are_not_timed(tmp_path):
    assert house_startup._seconds(["-c", "pass"], tmp_path, str(tmp_path)) > 0
    assert house_startup._seconds(["-c", "1 / 0"], tmp_path, str(tmp_path)) is None
    seconds = {"whole": 3.0, "part": 2.0, "failed": None}
    assert house_startup.beyond(seconds, "whole", "part") == 1.0
    assert house_startup.ratio(seconds, "whole", "part") == 1.5
    assert house_startup.beyond(seconds, "whole", "failed") is None
    assert house_startup.ratio(seconds, "failed", "part") is None
