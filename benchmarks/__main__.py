"""Run the benchmarks: `python -m benchmarks`, or some of them by name."""

import importlib
import platform
import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))  # for torchvision beside a CPU build of torch

NAMES = ("startup", "gradcam", "occlusion", "explainers", "attacks", "bounds", "curves", "corruptions", "ood", "bias")


def main() -> None:
    """Print the machine and every table asked for."""
    importlib.import_module("torchvision_cpu").import_torchvision()
    torch.set_num_threads(2)
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}, 2 threads")
    for name in sys.argv[1:] or NAMES:
        importlib.import_module(f"benchmarks.{name}").run()


if __name__ == "__main__":
    main()
