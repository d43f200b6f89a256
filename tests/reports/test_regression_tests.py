"""Tests made of findings: red on the audited model, green on one that is right, and never useless."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import xai
from xai.errors import InputError

SIZE = (10, 14)
CODE = """
import torch
from torch import nn

def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 10 * 14, 3))

def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten(),
                         nn.Linear(24, 3))
"""
TOML = """
[model]
source = "weights.safetensors"
arch = "own_nets_{name}:{name}"
input_size = [10, 14]
mean = [0.4, 0.4, 0.4]
std = [0.3, 0.3, 0.3]
resize = "{resize}"
class_names = ["a", "b", "c"]
[data]
source = "images"
[[check]]
metric = "accuracy"
at_least = 0.85
[[check]]
id = "attacked"
metric = "robust_accuracy"
attack = "fgsm"
eps = "16/255"
trust = 0
at_least = 0.85
"""


def folder_of(place: Path, name: str, resize: str = "crop", size: tuple[int, int] = (40, 53), wrong: int = 3) -> Path:
    """Write a model, images of another size than its input, whose labels are mostly its predictions, and an audit."""
    torch.manual_seed(1)
    space: dict = {}
    exec(CODE, space)
    net = space[name]()
    place.mkdir(parents=True)
    (place / f"own_nets_{name}.py").write_text(CODE)
    save_file(net.state_dict(), place / "weights.safetensors")
    (place / "xai.toml").write_text(TOML.format(name=name, resize=resize))
    clf = xai.Classifier(net, list("abc"), SIZE, mean=[0.4] * 3, std=[0.3] * 3, resize=resize)
    draw = np.random.default_rng(0)
    for k in range(24):
        coarse = draw.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BILINEAR)
        label = int(clf.predict(image).index)
        label = (label + 1) % 3 if k % wrong == 0 else label
        (place / "images" / "abc"[label]).mkdir(parents=True, exist_ok=True)
        image.save(place / "images" / "abc"[label] / f"{k}.png")
    return place


def oracle(written: Path) -> str:
    """Return a conftest that makes the model right: frozen images by their pixels, images of the audit by theirs."""
    return f"""
import json
from pathlib import Path
import pytest
import torch
import xai

class Oracle(torch.nn.Module):
    def __init__(self, model, rows):
        super().__init__()
        self.inner, self.rows = model, rows
    def forward(self, images):
        out = torch.zeros(len(images), 3)
        for k, image in enumerate(images):
            near = min(self.rows, key=lambda row: float((row[0] - image).abs().max()))
            out[k, near[1]] = 9
        return out

@pytest.fixture(autouse=True, scope="module")
def right():
    before = xai.load
    def load(*given, **settings):
        clf = before(*given, **settings)
        files = Path("images").glob("*/*")
        rows = [(clf.normalise(clf.prepare(file).inputs)[0], "abc".index(file.parent.name)) for file in files]
        for case in json.loads(Path({str(written / "audit_findings" / "cases.json")!r}).read_text())["images"]:
            file = Path({str(written / "audit_findings")!r}) / case["file"]
            rows.append((clf.normalise(clf.prepare(file).inputs)[0], "abc".index(case["label"])))
        return xai.Classifier(Oracle(clf.module, rows), clf.class_names, clf.input_size, mean=clf.mean, std=clf.std,
                              resize=clf.resize)
    xai.load = load
    yield
    xai.load = before
"""


def outcomes(folder: Path) -> dict[str, dict[str, str]]:
    """Run all tests written below a folder in a process of its own; return the outcome of each by folder."""
    line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "addopts=", "-q", "-rA"]
    line += ["--import-mode=importlib", "-k", "test_image or test_gate", "--rootdir", str(folder), str(folder)]
    places = os.environ | {"PYTHONPATH": str(Path(xai.__file__).parents[1])}
    ran = subprocess.run(line, cwd=folder, env=places, capture_output=True, text=True, timeout=200, check=False)
    words = [text.split(" ")[:2] for text in ran.stdout.splitlines() if "::" in text]
    found: dict[str, dict[str, str]] = {}
    for word, name in (pair for pair in words if pair[0] in {"PASSED", "FAILED", "ERROR"}):
        found.setdefault(name.partition("/")[0], {})[name.rpartition("::")[2]] = word
    assert {word for own in found.values() for word in own.values()} <= {"PASSED", "FAILED"}, ran.stdout + ran.stderr
    return found


def cases_of(written: Path) -> dict:
    return dict(json.loads((written / "audit_findings" / "cases.json").read_text()))


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size[::-1]


def test_written_tests_are_red_now_and_green_for_a_model_that_is_right(tmp_path):
    for name, resize in {"linear": "crop", "network": "pad"}.items():
        place = folder_of(tmp_path / "work" / name, name, resize)
        found = xai.audit(place / "xai.toml")
        written = tmp_path / "tests" / name
        files = found.write_tests(written, root=place)
        assert {size_of(path) for path in files if path.suffix == ".png"} == {SIZE}  # not that of the image files
        assert {case["check"] for case in cases_of(written)["images"]} == {"accuracy", "attacked"}
        assert {gate["check"]["id"] for gate in cases_of(written)["gates"]} == {"attacked", "accuracy"}
        right = shutil.copytree(written, tmp_path / "tests" / f"{name}_right")
        (right / "conftest.py").write_text(oracle(right))
    ran = outcomes(tmp_path / "tests")
    for name in ("linear", "network"):
        images = {f"test_image[{case['name']}]" for case in cases_of(tmp_path / "tests" / name)["images"]}
        assert ran[name].keys() == images | {"test_gate[attacked-0]", "test_gate[accuracy-1]"}
        assert set(ran[name].values()) == {"FAILED"}
        assert {ran[f"{name}_right"][one] for one in images} == {"PASSED"}
        assert ran[f"{name}_right"]["test_gate[accuracy-1]"] == "PASSED"
        assert ran[f"{name}_right"]["test_gate[attacked-0]"] == "FAILED"  # an oracle of images, not of attacks


class Coarse(nn.Module):
    """Class 1 where the middle pixel is brighter than 100.4 of 255: rounding to 8 bits decides."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        middle = 255 * images[:, :1, 5, 7]
        return torch.cat([100.4 - middle, middle - 100.4], 1)


def test_a_test_that_rounding_turns_green_is_left_out_and_told(tmp_path):
    images = np.full((8, *SIZE, 3), 100.45 / 255, dtype=np.float32)  # class 1; as 100 of 255 class 0
    images[4:] = 0.9
    clf = xai.Classifier(Coarse(), ["dark", "light"], SIZE)
    np.savez(tmp_path / "d.npz", images=images, labels=np.zeros(8, dtype=np.int64))
    found = xai.audit(model=clf, data=str(tmp_path / "d.npz"), checks=[{"metric": "accuracy", "at_least": 0.9}])
    found.write_tests(tmp_path / "t", model=clf)
    cases = cases_of(tmp_path / "t")
    assert "model" not in cases["audit"]  # it was an object: the tests take the fixture `xai_model`
    assert len(cases["images"]) >= 1
    assert all(clf.predict(tmp_path / "t" / "audit_findings" / one["file"]).label == "light" for one in cases["images"])
    assert any("8 bits the model is right" in text for text in cases["left_out"])


def test_a_model_that_the_tests_could_not_load_is_refused(tmp_path):
    clf = xai.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 140, 3)), list("abc"), SIZE, name="mine")
    images = np.random.default_rng(0).integers(0, 256, (12, *SIZE, 3), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", images=images, labels=np.arange(12) % 3)
    data = xai.load_data(tmp_path / "d.npz", class_names=list("abc"))
    found = xai.audit(model=clf, data=data.take(np.arange(9)), checks=[{"metric": "accuracy", "at_least": 0.99}])
    with pytest.raises(InputError, match="as `model`"):
        found.write_tests(tmp_path / "t")
    with pytest.raises(InputError, match="another one"):
        found.write_tests(tmp_path / "t", model=xai.Audit.broken_copy(clf))
    found.write_tests(tmp_path / "t", model=clf)
    cases = cases_of(tmp_path / "t")
    assert cases["gates"] == []
    assert any("given as an object" in text for text in cases["left_out"])
