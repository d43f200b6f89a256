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
    """Return a folder with an image, weights, and the code of their network."""
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


TOML = """
[model]
source = "net.safetensors"
arch = "my_own_net:MyNet"
channels = 1
input_size = [28, 28]
[data]
source = "data"
[[check]]
metric = "accuracy"
at_least = 0.0
"""


def audited(folder: Path, name: str, width: int) -> str:
    """Write an audit beside code of its own, weights and images, and return the model that it names."""
    place = folder / name
    place.mkdir()
    (place / "my_own_net.py").write_text(OWN.replace("pass", f"name = {name!r}\n    width = {width}"))
    save_file(SmallNet().state_dict(), place / "net.safetensors")
    for k in range(4):
        (place / "data" / "01"[k % 2]).mkdir(parents=True, exist_ok=True)
        photo(place / "data" / "01"[k % 2] / f"{k}.png")
    (place / "xai.toml").write_text(TOML)
    return str(place / "xai.toml")


def test_an_audit_finds_it_beside_its_file_and_not_that_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    monkeypatch.chdir(tmp_path)
    before, seen = [*sys.path], []
    for name in ("one", "two"):
        file = audited(tmp_path, name, 3)
        real = xai.core.model.classifier.Classifier.__init__

        def noted(self, module, *given, real=real, **settings):
            seen.append(getattr(module, "name", None))
            real(self, module, *given, **settings)

        monkeypatch.setattr(xai.core.model.classifier.Classifier, "__init__", noted)
        assert main(["audit", file, "--class-names", ",".join("0123456789"), "--resize", "squash"]) == 0
        monkeypatch.setattr(xai.core.model.classifier.Classifier, "__init__", real)
        held = xai.Audit.load(tmp_path / name / ".xai" / "xai").document["model"]
        assert (held["preprocessing"]["resize"], len(held["classes"])) == ("squash", 10)  # added to the file's model
    assert list(dict.fromkeys(name for name in seen if name)) == ["one", "two"]
    assert sys.path == before
    sys.modules.pop("my_own_net")


def test_what_is_missing_is_said_before_any_image_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(audited(tmp_path, "one", 3))
    monkeypatch.setattr("xai.audits.execution.plan.open_role", lambda *_: pytest.fail("an image was read"))
    for wrong, words in (("my_own_net:MyNet", "my_own_nets:MyNet"), ('source = "data"', 'source = "dat"')):
        file.write_text(TOML.replace(wrong, words))
        assert main(["audit", str(file)]) == 2
        assert "no Python module 'my_own_nets'" in (said := capsys.readouterr().err) or "dat: no such file" in said
    file.write_text(TOML + '[calibration]\nsource = "none"\n')
    assert main(["audit", str(file)]) == 2
    assert "none: no such file" in capsys.readouterr().err
