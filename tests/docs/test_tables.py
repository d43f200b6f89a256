"""Tables that are computed when the pages are built say what the code says."""

import sys

import pytest
from docs.site_pages import DOCS

sys.path.insert(0, str(DOCS / "_ext"))
from scipy import stats  # beside the next
from tables import TABLES, _first  # found by the line above

from xai.stats.gates import judge_share


@pytest.mark.parametrize("name", list(TABLES))
def test_a_table_is_a_table(name):
    lines = TABLES[name]()
    assert len(lines) > 4
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_intervals_are_exact():
    row = next(line for line in TABLES["intervals"]() if line.startswith("| 200 |"))
    low, high = stats.binomtest(180, 200).proportion_ci(0.95, "exact")
    assert f"{100 * low:.1f} to {100 * high:.1f}" in row


def test_so_many_pictures_find_the_drop_four_times_in_five():
    size, truth = _first(0.9, 0.05), 0.85
    failing = [hits for hits in range(size + 1) if judge_share(hits, size, 0.9).verdict == "fail"]
    power = stats.binom.pmf(failing, size, truth).sum()
    assert 0.79 < power < 0.86


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_no_page_says_that_something_is_compliant(page):
    text = page.read_text(encoding="utf-8").lower()
    assert "compliant" not in text
    assert "certified by" not in text
