"""`xai ood` and `xai doctor`: what they print and write, and what they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import xai
from xai.cli import main

START = ["ood", "--model", "example:fashion", "--fit", "example:fashion-train"]
START += ["--calibration", "example:fashion-test@calibration", "--count", "120"]


@pytest.fixture
def odd(tmp_path: Path) -> str:
    path = tmp_path / "odd.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (28, 28), dtype=np.uint8)).save(path)
    return str(path)


def test_judges_pictures_and_keeps_the_detector(odd: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main([*START, odd, "--method", "knn", "--set", "k=3", "--explain", "occlusion", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "odd.png: out-of-distribution (p 0.00826); predicted: " in text
    assert "of 100 in-distribution images to be rejected" in text
    assert "k-th neighbour higher than that of 100.0 % of in-distribution images" in text
    assert (out / "calibration.png").stat().st_size > 1000
    assert (out / "explanation-0" / "manifest.json").is_file()
    assert xai.results.Judgement.load(out / "judgement").verdicts == ("out-of-distribution",)
    again = ["ood", odd, "--model", "example:fashion", "--detector", str(out / "detector"), "--json"]
    assert main(again) == 0
    found = json.loads(capsys.readouterr().out)["ood"]
    assert found["detector"]["settings"]["k"] == 3
    assert found["judgement"]["verdicts"] == ["out-of-distribution"]


def test_judges_a_data_set_and_chooses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*START, "--data", "example:fashion-test@test"]) == 0
    text = capsys.readouterr().out
    assert "on shifts of your own images" in text
    assert "of 120 images are out-of-distribution at alpha 0.05" in text


def test_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    asked = [*START, "--data", "example:fashion-test@test", "--against", "digits=example:digits", "--method", "msp,vim"]
    assert main([*asked, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "fpr_ood_accepted@95id" in text
    assert xai.results.OODComparison.load(out).labels == ("msp", "vim")
    assert (out / "scores.png").is_file()
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["comparison"]["labels"] == ["msp", "vim"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["ood", "--model", "example:fashion"], "--fit and --calibration, or --detector"),
        ([*START, "--method", "knnn"], "Near: knn"),
        ([*START, "--set", "k"], "--set NAME=VALUE"),
        ([*START, "--explain", "occlusion"], "images with --explain"),
        ([*START, "--data", "example:fashion-test@tests"], "part of"),
        ([*START, "--against", "a=example:digits"], "in-distribution test images"),
        ([*START, "--data", "example:fashion-test@test", "--against", "a"], "NAME=DATA"),
        ([*START, "x.png", "--alpha", "2"], "x.png"),
        (["ood", "--model", "example:fashion", "--fit", "a", "--calibration", "b"], "a: no such file"),
        (
            ["ood", "--model", "example:fashion", "--fit", "example:digits", "--calibration", "example:digits"],
            "among the fit images",
        ),
    ],
)
def test_bad_input_is_one_line(asked: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(asked) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_doctor_says_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for words in ("Python 3.", "torch 2.", "device cpu: ", "model example:fashion: there", "optional onnx: "):
        assert words in text
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["diagnosis"]
    assert found["ok"] is True
    assert found["self_test"] is None
