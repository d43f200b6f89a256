"""`xai calibration` and `xai drift`: what they print and write, and what they refuse."""

import json

import pytest

import xai
from xai.cli import main


def test_calibration(tmp_path, capsys):
    asked = ["calibration", "--model", "example:fashion-robust", "--data", "example:fashion-test", "--count", "300"]
    assert main([*asked, "--out", str(tmp_path / "kept")]) == 0
    text = capsys.readouterr().out
    assert "300 images of example:fashion-test" in text
    assert "brier reliability" in text
    assert "temperature" in text
    assert (tmp_path / "kept" / "calibration.png").stat().st_size > 10_000
    found = xai.results.Calibration.load(tmp_path / "kept")
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["calibration"]["ece"] == found.ece


def test_drift(tmp_path, capsys):
    asked = ["drift", "--model", "example:fashion-robust", "--data", "example:fashion-test"]
    asked += ["--reference", "example:fashion-train", "--count", "200"]
    assert main([*asked, "--out", str(tmp_path / "kept")]) == 0
    text = capsys.readouterr().out
    assert "200 and 200 images" in text
    assert "AUROC of telling apart" in text
    assert (tmp_path / "kept" / "drift.png").stat().st_size > 10_000
    found = xai.results.Drift.load(tmp_path / "kept")
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["drift"]["verdict"] == found.verdict


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["calibration", "--data", "example:fashion-test", "--count", "5"], "at least 20"),
        (["calibration", "--data", "example:fashion-test", "--count", "60", "--bins", "0"], "bins"),
        (["calibration", "--data", "nowhere"], "nowhere"),
        (["drift", "--data", "example:digits", "--reference", "nowhere"], "nowhere"),
        (["drift", "--data", "example:digits", "--reference", "example:digits", "--alpha", "5"], "0.05"),
    ],
)
def test_bad_input_is_one_line(asked, words, capsys):
    assert main([*asked, "--model", "example:fashion"]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
