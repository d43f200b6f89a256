"""The command that repeats a finding, as reports give it: of the same folder, model, data and seed; it is tried."""

import json
import re
import shlex
from pathlib import Path

import pytest

import xai
from xai.cli import main

TOML = """
[model]
source = "example:fashion"
[data]
source = "example:fashion-test"
n = 60
[[check]]
metric = "accuracy"
at_least = 0.999
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "xai.toml").write_text(TOML)
    return "xai.toml"


def command_in(folder: Path, name: str) -> str:
    """Return the one command in a report."""
    (found,) = set(re.findall(r"xai audit [^<\n`]*", (folder / name).read_text()))
    return str(found).replace("&#39;", "'")


@pytest.mark.parametrize("out", ["a folder/run", "run"])
def test_it_names_the_folder_and_what_stood_in_place_of_the_file_and_runs(file, capsys, out):
    asked = ["--model", "example:fashion-robust", "--resize", "pad", "--data", "example:fashion-test@calibration"]
    asked += ["--seed", "3"]
    assert main(["audit", file, "--out", out, "--format", "html,md,junit", *asked]) in {1, 4}
    before = json.loads((Path(out) / "audit.json").read_text())
    assert "--out" not in before["checks"][0]["reproduce"]["command"]  # the same bytes in any folder
    capsys.readouterr()
    for name in ("report.html", "summary.md", "junit.xml"):
        line = shlex.split(command_in(Path(out), name))
        assert line[-2:] == ["--out", out]
        assert main([*line[1:], "--json"]) in {1, 4}
        again = json.loads(capsys.readouterr().out)["audit"]
        assert again["checks"][0]["measured"]["value"] == before["checks"][0]["measured"]["value"]
        assert again["model"]["fingerprint"] == before["model"]["fingerprint"]
        assert again["checks"][0]["work"]["keys"] == before["checks"][0]["work"]["keys"]  # nothing is computed anew


def test_the_usual_folder_is_not_named(file):
    found = xai.audit(file)
    path = found.report("summary.md")
    assert command_in(path.parent, "summary.md") == "xai audit xai.toml --only accuracy"
    part = xai.audit(file, out="run", only=["accuracy"])
    assert command_in(part.report("summary.md").parent, "summary.md").endswith("--only accuracy --out run")
