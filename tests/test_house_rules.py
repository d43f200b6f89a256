"""The rules themselves can fail: each is given text that breaks it, and text that comes close and does not."""

from pathlib import Path

import pytest
from house_rules import (
    MOST_LINES,
    MOST_LINES_OF_FUNCTION,
    banned_faults,
    dashboard_faults,
    import_faults,
    method_faults,
    outside_faults,
    public_names,
    size_faults,
    sources,
)

PUBLIC = ("Classifier", "explain")


@pytest.mark.parametrize(
    ("place", "text", "fault"),
    [
        ("text/words.py", "from xai.dashboard.session import Job", "'text' may not import 'session'"),
        ("session/models.py", "from xai.dashboard import widgets as ui", "'session' may not import 'widgets'"),
        ("charts/scores.py", "def f():\n    import xai.dashboard.widgets", "'charts' may not import 'widgets'"),
        ("widgets/inputs.py", "from xai.dashboard.pages.explain import result", "'widgets' may not import 'pages'"),
        ("pages/dream.py", "from xai.dashboard.server.router import run", "'pages' may not import 'server'"),
        ("pages/stress/page.py", "from xai.dashboard.pages.robustness.curve import pick", "may not import the page"),
        ("pages/dream.py", "from xai.dashboard.pages.explain.result import compare", "may not import the page"),
        ("pages/dream.py", "from xai.dashboard.widgets.inputs import choose_one", "import 'widgets', not a file of it"),
        ("pages/dream.py", "from xai.dashboard import pages", "import a file of 'pages'"),
        ("pages/dream.py", "from xai.dashboard.pages import explain as other", "may not import the page 'explain'"),
        ("pages/dream.py", "from xai.dashboard.helpers import this", "'helpers' has no place in DASHBOARD"),
    ],
)
def test_layers_of_the_dashboard_can_be_broken(place, text, fault):
    (found,) = dashboard_faults(f"dashboard/{place}", text)
    assert fault in found


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("text/code.py", "from xai.dashboard.text.words import m"),
        ("pages/stress/page.py", "from xai.dashboard.pages.stress.certification import certify_prediction\nimport xai"),
        ("pages/dream.py", "from xai.dashboard import charts\nfrom xai.dashboard import widgets as ui"),
        ("pages/dream.py", "from xai.dashboard.text import m, t"),
        ("server/router.py", "from xai.dashboard import widgets as ui"),
        ("__main__.py", "from xai.dashboard.server.launch import launch"),
    ],
)
def test_layers_of_the_dashboard_allow(place, text):
    assert dashboard_faults(f"dashboard/{place}", text) == []


@pytest.mark.parametrize(
    ("place", "text", "fault"),
    [
        ("errors.py", "from xai.core.runtime.batching import Progress", "'errors' may not import 'core'"),
        ("core/runtime/batching.py", "from xai.engine.prepare import prepare", "'core' may not import 'engine'"),
        ("core/runtime/batching.py", "import xai.explanations.methods", "'core' may not import 'explanations'"),
        ("core/runtime/batching.py", "from xai import explanations", "'core' may not import 'explanations'"),
        ("core/runtime/batching.py", "import xai", "'core' may not import '__init__'"),
        ("core/runtime/batching.py", "import xai as toolkit", "'core' may not import '__init__'"),
        ("core/runtime/batching.py", "from xai import explain", "'core' may not import '__init__'"),
        ("core/runtime/batching.py", "from xai import *", "'core' may not import '__init__'"),
        ("core/registry.py", "from xai.plots import robust", "'core' may not import 'plots'"),
        ("core/registry.py", "from xai.datasets.loading import load_data", "'core' may not import 'datasets'"),
        ("core/registry.py", "def f():\n    from xai.models.loading import load", "'core' may not import 'models'"),
        (
            "core/runtime/batching.py",
            "if TYPE_CHECKING:\n    from xai.models import load",
            "'core' may not import 'models'",
        ),
        ("core/registry.py", "import_module('xai.models')", "'core' may not import 'models'"),
        ("core/registry.py", "__import__('xai.models')", "'core' may not import 'models'"),
        (
            "engine/prepare.py",
            "from xai.explanations.methods.base import Work",
            "'engine' may not import 'explanations'",
        ),
        ("explanations/methods/lime.py", "from xai.ood import fit", "'explanations' may not import 'ood'"),
        ("robust/attacks/pgd.py", "from xai.uncertainty import drift", "'robust' may not import 'uncertainty'"),
        ("stats/intervals.py", "from xai.core.labels import labels_of", "'stats' may not import 'core'"),
        ("plots/robust.py", "from xai.audits.audit import audit", "'plots' may not import 'audits'"),
        ("audits/execution/run.py", "from xai.reports import html", "'audits' may not import 'reports'"),
        ("reports/html.py", "from xai import explain", "'reports' may not import '__init__'"),
        ("__init__.py", "from xai.dashboard.server import router", "'__init__' may not import 'dashboard'"),
        ("cli.py", "from xai.errors import XaiError", "'cli' may not import 'errors'"),
        ("cli.py", "from xai import core", "'cli' may not import 'core'"),
        ("cli.py", "import xai\nxai.core.rows", "xai.core is no public name"),
        ("cli.py", "import xai as x\nx.stats.wilson()", "xai.stats is no public name"),
        (
            "dashboard/session/models.py",
            "from xai.core.runtime.batching import Progress",
            "'dashboard' may not import 'core'",
        ),
        ("dashboard/session/models.py", "import xai.stats", "'dashboard' may not import 'stats'"),
        ("dashboard/session/models.py", "from xai.cli import main", "'dashboard' may not import 'cli'"),
        ("pytest_plugin.py", "from xai.audits import run", "'pytest_plugin' may not import 'audits'"),
        ("core/runtime/batching.py", "from . import hooks", "write absolute imports"),
        ("core/runtime/batching.py", "from .hooks import borrowed", "write absolute imports"),
        ("core/runtime/batching.py", "from ..errors import XaiError", "write absolute imports"),
        ("core/runtime/batching.py", "import_module('.hooks', 'xai.core')", "write absolute imports"),
        ("core/runtime/batching.py", "from xai.helpers import this", "'core' may not import 'helpers'"),
        ("helpers.py", "", "no rule for the room 'helpers'"),
        ("helpers/this.py", "import os", "no rule for the room 'helpers'"),
    ],
)
def test_forbidden_imports_are_found(place, text, fault):
    assert any(fault in found for found in import_faults(place, text, PUBLIC))


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (
            "core/runtime/batching.py",
            "from xai.core.model.hooks import tensors_in\nfrom xai.errors import Stopped\nimport torch",
        ),
        (
            "explanations/methods/lime.py",
            "from xai.engine import prepare\nfrom xai.explanations.methods.base import Explainer",
        ),
        (
            "audits/execution/run.py",
            "from xai.explanations.methods.base import EXPLAINERS\nfrom xai.stats import intervals",
        ),
        ("reports/html.py", "from xai.plots import explanation\nfrom xai.audits.execution.store import Audit"),
        ("__init__.py", "from xai.reports.write import write_report\nimport_module(name)"),
        ("robust/curves/result.py", "def f():\n    from xai.plots.robust import curve_figure"),
        ("cli.py", "import xai\nxai.explain\nxai.__version__\nfrom xai import Classifier, __version__"),
        ("dashboard/session/models.py", "import xai\nfrom xai.dashboard.widgets.viewer import Panel\nxai.Classifier"),
        ("models/loading.py", "import_module(place)\nimport xaitk\nfrom xaitk.api import this"),
    ],
)
def test_allowed_imports_pass(place, text):
    assert import_faults(place, text, PUBLIC) == []


@pytest.mark.parametrize(
    ("place", "text", "fault"),
    [
        ("core/results/codec.py", "from matplotlib import pyplot", "only 'plots' may import matplotlib"),
        (
            "explanations/methods/lime.py",
            "def f():\n    import matplotlib.pyplot as plt",
            "only 'plots' may import matplotlib",
        ),
        ("plots/explanations.py", "import streamlit", "only 'dashboard' may import streamlit"),
        ("audits/execution/run.py", "import jinja2", "only 'reports' may import jinja2"),
        ("models/sources.py", "from torchvision import models", "torchvision is optional"),
        ("explanations/rating/checks.py", "from captum.metrics import sensitivity_max", "captum is slow to import"),
        ("engine/prepare.py", "def f():\n    import timm", "timm is optional"),
    ],
)
def test_packages_outside_their_room_are_found(place, text, fault):
    assert any(fault in found for found in outside_faults(place, text))


def test_packages_inside_their_room_pass():
    assert outside_faults("plots/curves.py", "from matplotlib import cm") == []
    assert outside_faults("models/hubs/libraries.py", "def build():\n    from torchvision import models") == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("import pickle", "imports pickle"),
        ("from pickle import loads", "imports pickle.loads"),
        ("def f():\n    import dill", "imports dill"),
        ("import_module('cloudpickle')", "imports cloudpickle"),
        ("eval('1')", "eval runs text"),
        ("list(map(eval, texts))", "eval runs text"),
        ("exec(text)", "exec runs text"),
        ("import builtins as b\nb.eval(text)", "builtins.eval runs text"),
        ("import torch\ntorch.load(path, weights_only=True)", "torch.load belongs into"),
        ("from torch import load\nload(path, weights_only=True)", "torch.load belongs into"),
        ("import torch as t\nread = t.load", "torch.load belongs into"),
        ("import torch\ntorch.jit.load(path)", "torch.jit.load runs code"),
        ("from torch import export\nexport.load(path)", "torch.export.load runs code"),
        ("import torch\ntorch.hub.load('a', 'b')", "torch.hub.load runs code"),
        ("read(path, weights_only=False)", "weights_only may only be True"),
        ("read(path, weights_only=trusted)", "weights_only may only be True"),
        ("import numpy as np\nnp.load(path)", "allow_pickle=False"),
        ("import numpy as np\nnp.load(path, allow_pickle=True)", "allow_pickle may only be False"),
        ("import numpy\nread = numpy.load", "allow_pickle=False"),
        ("from numpy import load as read\nread(path, allow_pickle=flag)", "allow_pickle=False"),
        ("import pandas as pd\npd.read_pickle(path)", "pandas.read_pickle unpickles"),
        ("archive.extractall(folder)", "extractall"),
        ("import shutil\nshutil.unpack_archive(path)", "shutil.unpack_archive may write"),
        ("AutoModel.from_pretrained(name, trust_remote_code=True)", "trust_remote_code"),
        ("st.markdown(text, unsafe_allow_html=True)", "unsafe_allow_html"),
        ("import yaml\nyaml.load(text)", "yaml.load builds"),
        ("from yaml import load\nload(text)", "yaml.load builds"),
        ("subprocess.run(text, shell=True)", "shell may only be False"),
        ("import os\nos.system(text)", "os.system runs a shell"),
        ("try:\n    f()\nexcept:\n    pass", "bare except"),
        ("from torch.hub import load_state_dict_from_url\nload_state_dict_from_url(url)", "unpickles a download"),
        ("from PIL import ImageFile\nImageFile.LOAD_TRUNCATED_IMAGES = True", "makes up the missing half"),
        ("import keras\nkeras.saving.load_model(path, safe_mode=True)", "is for the loader of Keras"),
        ("read(path, safe_mode=False)", "safe_mode may only be True"),
        ("requests.get(url, verify=False)", "verify may only be True"),
        ("Environment(autoescape=False)", "autoescape may only be True"),
        ("render('<b>{{ name | safe }}</b>')", "|safe lets"),
    ],
)
def test_what_is_never_called_is_found(text, fault):
    assert any(fault in found for found in banned_faults("core/runtime/batching.py", text))


@pytest.mark.parametrize(
    "text",
    [
        "from pickle import UnpicklingError\nimport pickletools",
        "module.eval()\nmodel.load(path)\nxai.load(name)",
        "import json, yaml\njson.load(file)\nyaml.safe_load(text)",
        "import numpy as np\nnp.load(path, allow_pickle=False)",
        "archive.extract(name)\nsubprocess.run([name], shell=False)",
        "try:\n    f()\nexcept OSError:\n    pass",
        "'eval(text)'  # exec(text)",
    ],
)
def test_what_only_looks_like_it_passes(text):
    assert banned_faults("core/runtime/batching.py", text) == []


def test_only_the_dashboard_is_kept_from_trusting():
    assert banned_faults("dashboard/session/models.py", "import xai\nxai.load(path, trust=flag)") != []
    assert banned_faults("pytest_plugin.py", "import xai\nxai.load(path, trust=True)") != []
    assert banned_faults("cli/common.py", "import xai\nxai.load(path, trust=options.trust)") == []


def test_only_one_file_runs_what_a_file_holds():
    for call in ("torch.load(path, weights_only=False)", "torch.jit.load(path)", "torch.export.load(path)"):
        assert banned_faults("models/trusted.py", f"import torch\n{call}") == []
        assert banned_faults("models/sandbox/weights.py", f"import torch\n{call}") != []
    assert banned_faults("models/trusted.py", "import torch\ntorch.hub.load('a', 'b')") != []
    assert banned_faults("models/keras_trial.py", "import keras\nkeras.saving.load_model(path, safe_mode=True)") == []
    assert banned_faults("models/keras_trial.py", "import keras\nkeras.saving.load_model(path)") != []


def test_only_the_guard_may_call_torch_load_and_only_with_weights():
    assert banned_faults("models/sandbox/weights.py", "import torch\ntorch.load(path, weights_only=True)") == []
    assert banned_faults("models/sandbox/weights.py", "import torch\ntorch.load(path)") != []
    assert banned_faults("models/sandbox/weights.py", "import torch\ntorch.load(path, weights_only=False)") != []
    assert banned_faults("models/sandbox/weights.py", "import torch\nreader = torch.load") != []


def test_long_files_and_functions_are_found():
    assert size_faults("core/runtime/batching.py", "x = 1\n" * MOST_LINES) == []
    assert "401 lines" in size_faults("core/runtime/batching.py", "x = 1\n" * (MOST_LINES + 1))[0]
    body = "    x = 1\n" * (MOST_LINES_OF_FUNCTION - 1)
    assert size_faults("core/runtime/batching.py", f"def f():\n{body}") == []
    assert "f has 71 lines" in size_faults("core/runtime/batching.py", f"def f():\n{body}    x = 1\n")[0]
    assert (
        "f has 71 lines" in size_faults("core/runtime/batching.py", f"class A:\n  async def f():\n{body}    x = 1\n")[0]
    )


def test_folders_that_differ_from_their_registry_are_found():
    assert method_faults(["gradcam", "lime"], ["lime", "gradcam"]) == []
    assert method_faults(["gradcam", "lime"], ["gradcam"]) == ["lime: no method is registered in it"]
    assert method_faults(["lime"], ["lime", "_base"]) == ["_base: registers a method, but is no method file"]
    assert method_faults(["lime"], ["lime", "lime"]) == ["lime: registers more than one method"]


def test_public_names_are_read_from_the_block_for_type_checkers():
    text = "import os\nif TYPE_CHECKING:\n    from xai.core import load as load\n    from xai.errors import A as E\n"
    assert public_names(text) == ["load", "E"]


def test_sources_are_found_in_every_folder(tmp_path: Path):
    (tmp_path / "core").mkdir()
    for name in ("errors.py", "core/registry.py", "core/note.txt"):
        (tmp_path / name).write_text("x = 1\n")
    assert list(sources(tmp_path)) == [("core/registry.py", "x = 1\n"), ("errors.py", "x = 1\n")]
