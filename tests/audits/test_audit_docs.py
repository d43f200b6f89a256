"""docs/audits.md names every check, setting, table and condition there is."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from xai.audits import config
from xai.audits.checks.base import CHECKS
from xai.audits.conditions import NAMES
from xai.stats.gates import detectable_drop

PAGE = (Path(__file__).parents[2] / "docs" / "audits.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("metric", list(CHECKS))
def test_every_check_has_a_row_with_its_settings(metric):
    (row,) = re.findall(rf"^\| `{metric}` \|.*$", PAGE, re.MULTILINE)
    names = {f.name for f in fields(CHECKS[metric])} - {"images"}
    shown = {"settings" if name == "settings_of_attack" else name for name in names}
    assert shown <= set(re.findall(r"`(\w+)`", row.split("|")[3]))


def test_every_key_and_condition_is_named():
    for name in (*config.MODEL, *config.SOURCE, *config.AUDIT, *config.REPORT, *config.TABLES, *NAMES):
        assert re.search(rf"[`\[]{name}[`\]]", PAGE), name


@pytest.mark.parametrize(("points", "n"), [(5, 400), (2, 2000), (1, 7500)])
def test_the_sample_sizes_are_right(points, n):
    assert 100 * detectable_drop(n, 0.9) == pytest.approx(points, rel=0.1)
