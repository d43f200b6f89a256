"""`xai bias --shortcuts` and `--slices`: what they print and write, and what they refuse."""

import json

import pytest

import xai
from xai.cli import main

DATA = ["--data", "example:fashion-test", "--count", "300"]
SHORTCUT = ["bias", "--model", "example:fashion-shortcut", *DATA, "--shortcuts"]
SLICES = ["bias", "--model", "example:fashion-shortcut", *DATA[:-1], "1000", "--slices"]


@pytest.mark.slow
def test_shortcuts(tmp_path, capsys):
    assert main([*SHORTCUT, "--out", str(tmp_path / "kept")]) == 0
    text = capsys.readouterr().out
    found = xai.results.ShortcutResult.load(tmp_path / "kept")
    assert [(one.probe, one.label) for one in found.findings] == [("corner_mark", "Shirt")]
    assert text.startswith(found.findings[0].reason)
    fragile = [one.reason for one in found.responses if one.verdict == "fragile"]
    assert fragile
    assert all(f"[fragile] {reason}" in text for reason in fragile)
    few = sum(one.verdict == "too small to tell" for one in found.responses)
    assert (f"{few} of the {len(found)} tested: too small to tell" in text) == (few > 0)
    assert (tmp_path / "kept" / "shortcuts.png").stat().st_size > 10_000
    assert (tmp_path / "kept" / "table.csv").read_text().count("\n") >= 1 + len(found)
    assert (tmp_path / "kept" / "doses.csv").read_text().count("\n") == 1 + len(found.doses)
    assert main([*SHORTCUT, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["shortcuts"]
    assert printed["findings"][0]["label"] == "Shirt"
    assert printed["saved"] is None


def test_slices(tmp_path, capsys):
    assert main([*SLICES, "--out", str(tmp_path / "kept")]) == 0
    text = capsys.readouterr().out
    found = xai.results.SliceResult.load(tmp_path / "kept")
    assert "images of class 'Shirt'" in [one.words for one in found.findings]  # none is right without the mark
    assert all(one.reason in text for one in found.findings)
    assert "features: " in text
    assert (tmp_path / "kept" / "slices.png").stat().st_size > 10_000
    assert (tmp_path / "kept" / "table.csv").read_text().count("\n") == 1 + len(found)
    assert main([*SLICES, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["slices"]["findings"] == found.to_dict()["findings"]


def test_the_settings_arrive(tmp_path, capsys):
    assert main([*SLICES, "--seed", "3", "--alpha", "0.2", "--out", str(tmp_path)]) == 0
    found = xai.results.SliceResult.load(tmp_path)
    assert (found.seed, found.settings["alpha"]) == (3, 0.2)
    assert capsys.readouterr().out.rstrip().endswith(f"saved in {tmp_path}")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ([*SHORTCUT, "--groups", "part"], "--groups without --shortcuts"),
        ([*SLICES, "--metrics", "accuracy"], "--metrics without --slices"),
        ([*SLICES, "--train", "example:fashion-train"], "--faults"),
        ([*SLICES, "--alpha", "7"], "alpha"),
        ([*SLICES, "--count", "30"], "80"),
        ([*SHORTCUT, "--count", "20"], "40"),
    ],
)
def test_bad_input_is_one_line(asked, words, capsys):
    assert main(asked) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_one_kind_at_a_time(capsys):
    with pytest.raises(SystemExit) as ended:
        main([*SLICES, "--faults"])
    assert ended.value.code == 2
    assert "not allowed with" in capsys.readouterr().err
