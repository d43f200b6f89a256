"""`--arch` names modules of the working directory, also where Python itself does not look there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bad_files import photo
from safetensors.torch import save_file

import xai
from xai.cli import main
from xai.models.networks import SmallNet

SCRIPT = "import sys; from xai.cli import main; sys.exit(main())"  # what the installed script `xai` does
OWN = "from xai.models.networks import SmallNet\n\n\nclass MyNet(SmallNet):\n    pass\n"
ARGUMENTS = ("explain", "photo.png", "--model", "net.safetensors", "--channels", "1", "--input-size", "28", "28")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a picture, weights, and the code of their network."""
    photo(tmp_path / "photo.png")
    save_file(SmallNet().state_dict(), tmp_path / "net.safetensors")
    (tmp_path / "my_own_net.py").write_text(OWN)
    return tmp_path


def test_the_installed_script_finds_it(folder: Path) -> None:
    places = os.environ | {"PYTHONPATH": str(Path(xai.__file__).parents[1])}
    line = [
        sys.executable,
        "-P",
        "-c",
        SCRIPT,
        *ARGUMENTS,
        "--arch",
        "my_own_net:MyNet",
    ]  # -P: not the working directory
    done = subprocess.run(line, cwd=folder, env=places, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert "photo.png" in done.stdout


def test_only_when_it_is_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    before = [*sys.path]
    assert main(["explain", "photo.png", "--model", "example:fashion"]) == 0
    assert main([*ARGUMENTS]) == 2
    assert "Name the one they belong to" in capsys.readouterr().err
    assert sys.path == before
    for _ in range(2):
        assert main([*ARGUMENTS, "--arch", "my_own_nets:MyNet"]) == 2
        assert "no Python module 'my_own_nets' for `arch`" in capsys.readouterr().err
    assert sys.path == ["", *before]
