"""Run the benchmarks: `python -m benchmarks`, or some of them by name."""

import importlib
import platform
import sys

import torch

NAMES = ("startup", "gradcam")


def main() -> None:
    """Print the machine and every table asked for."""
    torch.set_num_threads(2)
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}, 2 threads")
    for name in sys.argv[1:] or NAMES:
        importlib.import_module(f"benchmarks.{name}").run()


if __name__ == "__main__":
    main()
