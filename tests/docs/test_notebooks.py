"""The notebooks run, in little time, and their executed halves are those of their written halves."""

import resource
import sys

import jupytext
import pytest
from docs.site_pages import DOCS, ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from make_notebooks import executed, sources

SOURCES = sources()
MOST_SECONDS = 180  # of the kernel's CPU time, to which neighbours on the machine add little


@pytest.mark.docs
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_runs_in_three_minutes(source):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    executed(source)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert 0 < took < MOST_SECONDS


def test_there_are_eight():
    assert [source.stem[:2] for source in SOURCES] == [f"{k:02}" for k in range(1, 9)]
    assert {path.stem for path in (DOCS / "notebooks").glob("*.md")} == {source.stem for source in SOURCES}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_executed_half_is_that_of_the_written_half(source):
    path = source.with_suffix(".ipynb")
    written, kept = jupytext.read(source), jupytext.read(path)
    assert [cell.source for cell in kept.cells] == [cell.source for cell in written.cells]
    assert path.stat().st_size < 1_000_000
    code = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert all(cell.execution_count == number for number, cell in enumerate(code, 1))
    assert all(output.output_type != "error" for cell in code for output in cell.outputs)
    assert sum("image/png" in output.get("data", {}) for cell in code for output in cell.outputs) >= 1


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_notebooks_use_the_public_names_alone(source):
    text = source.read_text(encoding="utf-8")
    assert "from xai" not in text
    assert "import xai." not in text
