"""`xai dashboard --model`: its settings reach the model that is loaded, and no other."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import save_file

from xai.cli import main
from xai.dashboard.__main__ import main as started
from xai.dashboard.environment import SETTINGS_VARIABLE
from xai.dashboard.session.models import open_model
from xai.models.networks import SmallNet

ARCH = "xai.models.networks:SmallNet"


class Server:
    """Notes the environment that the server is started with."""

    environment: dict[str, str]

    def __init__(self, _line, env):
        type(self).environment = env

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def wait(self):
        return 0

    def terminate(self):
        return None


@pytest.mark.parametrize("arch", [ARCH, None])
def test_settings_of_the_command_line_reach_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arch):
    file = tmp_path / "net.safetensors"
    save_file(SmallNet().state_dict(), file)
    name = str(file) if arch else "example:fashion"
    asked = ["dashboard", "--model", name, "--resize", "pad", "--channels", "1", "--input-size", "28", "28"]
    asked += ["--mean", "0.4", "--std", "0.3", "--class-names", ",".join("abcdefghij"), "--task", "multiclass"]
    asked += ["--arch", arch, "--arch", "other.module:net"] if arch else []
    lines = []
    monkeypatch.setattr(
        "xai.cli.installation.subprocess.run", lambda line, **_: lines.append(line) or SimpleNamespace(returncode=0)
    )
    assert main(asked) == 0
    (line,) = lines
    monkeypatch.setattr(sys, "argv", line[2:])
    monkeypatch.setattr("xai.dashboard.server.launch.subprocess.Popen", Server)
    assert started() == 0
    for variable, value in Server.environment.items():
        if variable.startswith("XAI_DASHBOARD"):
            monkeypatch.setenv(variable, value)
    assert json.loads(os.environ[SETTINGS_VARIABLE]).get("arch") == arch
    found = open_model(name)
    assert (found.resize, found.input_size, found.class_names) == ("pad", (28, 28), tuple("abcdefghij"))
    assert found.mean == pytest.approx((0.4,))
    assert open_model("example:fashion-robust").class_names[0] == "T-shirt/top"  # settings are of the model named alone
