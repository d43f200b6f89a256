"""The wheel holds all that the package needs, and works where there is no checkout."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import xai

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return a folder with the wheel's content."""
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("dist")), versions=["standard"])
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(built) as wheel:
        for name in wheel.namelist():
            wheel.extract(name, folder)
    return folder


def files_under(folder):
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in paths}


def test_every_file_of_the_package_is_in_the_wheel(installed):
    wanted = files_under(ROOT / "xai") | {f"_data/{name}" for name in files_under(ROOT / "data")}
    assert {"py.typed", "_data/photos/coffee.jpg", "dashboard/viewer/viewer.js"} <= wanted
    assert files_under(installed / "xai") == wanted


def test_nothing_else_is_in_the_wheel(installed):
    assert {path.name.partition("-")[0] for path in installed.iterdir()} == {"xai", "xai_toolkit"}


def test_the_wheel_declares_its_command_and_its_licence(installed):
    (info,) = installed.glob("*.dist-info")
    assert "xai = xai.cli:main" in (info / "entry_points.txt").read_text()
    assert (info / "licenses" / "LICENSE").is_file()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    metadata = (info / "METADATA").read_text()
    assert [name for name in extras if f"Provides-Extra: {name}\n" not in metadata] == []


def test_the_wheel_works_without_a_checkout(installed, tmp_path):
    script = "import xai; print(xai.__file__); print(xai.load('example:fashion-robust').num_classes)"
    environment = os.environ | {"PYTHONPATH": str(installed)}
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
    )
    assert ran.stdout.split() == [str(installed / "xai" / "__init__.py"), "10"]


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert (xai.__version__, cited and cited[1]) == (project, project)
