"""The command line: what it prints, what it writes, and that bad input is one line and exit code 2."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

import xai
from xai.cli import main
from xai.models.networks import SmallNet

ARCH = "xai.models.networks:SmallNet"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Return a small colour image."""
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def run(*arguments: object) -> int:
    """Run the command line in this process and return its exit code."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse's own errors
        return int(stop.code or 0)


def test_explain_writes_picture_values_and_manifest(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("explain", photo, "--model", "example:fashion", "--out", out) == 0
    assert {path.name for path in out.iterdir()} == {"overlay.png", "values.npz", "manifest.json"}
    loaded = xai.Explanation.load(out)
    assert loaded.heatmap.shape == (40, 60)
    with Image.open(out / "overlay.png") as drawn:
        assert min(drawn.size) > 100
    printed = capsys.readouterr().out
    assert "photo.png" in printed
    assert "gradcam" in printed


def test_json_is_one_document(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", photo, "--model", "example:fashion", "--target", "Bag", "--json") == 0
    found = json.loads(capsys.readouterr().out)["explanations"]
    assert found[0]["target_names"] == ["Bag"]
    assert found[0]["model"]["fingerprint"]


def test_several_pictures_get_a_folder_each(photo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    other.write_bytes(photo.read_bytes())
    assert run("explain", photo, other, "--model", "example:fashion", "--out", tmp_path / "out") == 0
    assert (tmp_path / "out" / "photo" / "gradcam" / "manifest.json").exists()
    assert (tmp_path / "out" / "other" / "gradcam" / "manifest.json").exists()


def test_settings_and_layer(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (
        "explain",
        photo,
        "--model",
        "example:fashion",
        "--set",
        "layer=features.5",
        "--set",
        "relu=false",
        "--json",
    )
    assert run(*arguments) == 0
    found = json.loads(capsys.readouterr().out)["explanations"][0]
    assert found["layer"] == "features.5"
    assert found["settings"] == {"layer": "features.5", "relu": False}


def test_methods(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("methods") == 0
    assert "gradcam" in capsys.readouterr().out
    assert run("methods", "--model", "example:fashion", "--json") == 0
    assert json.loads(capsys.readouterr().out)["methods"][0]["advised"] in {True, False}


def test_weights_with_arch(photo: Path, tmp_path: Path) -> None:
    weights = tmp_path / "net.safetensors"
    save_file(SmallNet().state_dict(), weights)
    assert run("explain", photo, "--model", weights, "--arch", ARCH, "--channels", 1, "--input-size", 28, 28) == 0


BAD_ARGUMENTS: dict[str, tuple[tuple[object, ...], str]] = {
    "class name": (("--model", "example:fashion", "--target", "Trousers"), "Trouser"),
    "class index": (("--model", "example:fashion", "--target", "10"), "0 to 9"),
    "method": (("--model", "example:fashion", "--method", "gradcma"), "gradcam"),
    "setting": (("--model", "example:fashion", "--set", "layre=x"), "layer"),
    "layer": (("--model", "example:fashion", "--set", "layer=feature.5"), "features.5"),
    "model": (("--model", "example:fasion"), "fashion"),
    "set": (("--model", "example:fashion", "--set", "layer"), "NAME=VALUE"),
}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_bad_arguments(case: str, photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments, cure = BAD_ARGUMENTS[case]
    assert run("explain", photo, *arguments, "--out", tmp_path / "out") == 2
    assert_one_line(capfd, cure)
    assert not (tmp_path / "out").exists()


def test_an_unwritable_place(photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert run("explain", photo, "--model", "example:fashion", "--out", blocked / "out") == 2
    assert_one_line(capfd, "cannot be written")


def test_our_own_mistakes_are_exit_code_3(
    photo: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(xai, "explain", lambda *_a, **_k: 1 / 0)
    assert run("explain", photo, "--model", "example:fashion") == 3
    assert_one_line(capfd, "internal error")


def test_interrupted_is_130(photo: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_a: object, **_k: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(xai, "explain", interrupt)
    assert run("explain", photo, "--model", "example:fashion") == 130
    assert_one_line(capfd, "interrupted")


def test_usage_errors_are_exit_code_2(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("explain") == 2
    assert run("explian") == 2
    assert run() == 2
    assert "Traceback" not in capfd.readouterr().err


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, xai.cli\ntry: xai.cli.main(['--help'])\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert "explain" in done.stdout


def assert_one_line(capfd: pytest.CaptureFixture[str], part: str) -> None:
    """Expect one line on stderr that holds `part`, and nothing that looks like a traceback."""
    lines = [line for line in capfd.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    assert lines[0].startswith("xai: ")
    assert part in lines[0]
    assert "Traceback" not in lines[0]


SETTINGS = {
    "--resize",
    "--mean",
    "--std",
    "--input-size",
    "--channels",
    "--task",
    "--class-names",
    "--output-key",
    "--arch",
}


def test_every_command_that_takes_a_model_takes_what_is_to_be_known_of_it() -> None:
    from xai.cli import _parser

    groups = [action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction)]
    taken = {
        name: {option for action in one._actions for option in action.option_strings}
        for name, one in groups[0].choices.items()
    }
    asked = {name for name, options in taken.items() if "--model" in options}
    assert {
        "explain",
        "dream",
        "attack",
        "robustness",
        "ood",
        "calibration",
        "drift",
        "bias",
        "audit",
        "methods",
        "init",
        "doctor",
        "dashboard",
    } <= asked
    assert {name: SETTINGS - taken[name] for name in asked if SETTINGS - taken[name]} == {}


@pytest.mark.parametrize("resize", ["squash", "pad"])
def test_preprocessing_of_the_command_line_is_that_of_the_classifier(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], resize: str
) -> None:
    weights, net = tmp_path / "net.safetensors", SmallNet(3).eval()
    save_file(net.state_dict(), weights)
    names = [f"c{k}" for k in range(10)]
    given = ("--arch", "xai.models.networks:SmallNet", "--channels", 1, "--input-size", 28, 28, "--resize", resize)
    given += ("--mean", 0.3, "--std", 0.2, "--class-names", ",".join(names))
    save_file(SmallNet().state_dict(), weights)
    clf = xai.load(
        weights, ARCH, class_names=names, channels=1, input_size=(28, 28), resize=resize, mean=[0.3], std=[0.2]
    )
    assert run("explain", photo, "--model", weights, *given, "--method", "saliency", "--json") == 0
    found = json.loads(capsys.readouterr().out)["explanations"][0]
    assert found["model"]["fingerprint"] == clf.fingerprint
    assert found["target_names"] == [clf.predict(photo).label]
