"""`xai attack`: what it prints and writes, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import xai
from xai.cli import main


def test_attacks_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "attack"
    asked = ["attack", "--model", "example:fashion", "--data", "example:fashion-test", "--count", "8", "--eps", "8/255"]
    assert main([*asked, "--set", "steps=5", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "pgd in linf at 8/255" in text
    assert "misclassified after pgd" in text
    found = xai.results.AttackResult.load(out)
    assert len(found) == 8
    assert found.settings["steps"] == 5
    assert main([*asked, "--set", "steps=5", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["attack"]
    assert printed["robust_accuracy"] == found.robust_accuracy
    assert printed["count"] == 8


def test_attacks_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "one.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (28, 28), dtype=np.uint8)).save(path)
    start = ["attack", str(path), "--model", "example:fashion", "--norm", "l2", "--eps", "1.5", "--method", "fgsm"]
    assert main(start) == 0
    assert "fgsm in l2 at 1.5: 100.0% right before" in capsys.readouterr().out
    assert main([*start, "--label", "Sandal"]) == 0


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--data", "example:fashion-test", "--eps", "eight"], "such as 0.03 or 8/255"),
        (["--data", "example:fashion-test", "--eps", "1/0"], "such as 0.03 or 8/255"),
        ([], "images or --data"),
        (["--data", "example:fashion-test", "--count", "2", "--method", "pgdd"], "Near: pgd"),
        (["--data", "example:fashion-test", "--count", "2", "--set", "seed=3"], "'seed' is none"),
        (["--data", "example:fashion-test", "--count", "2", "--norm", "l7"], "norm"),
    ],
)
def test_bad_input_is_one_line(extra: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attack", "--model", "example:fashion", *extra]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
