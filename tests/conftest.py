"""What every test gets: one thread, no window system, and a reason for each skipped test."""

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator

import matplotlib as mpl
import pytest
import torch

mpl.use("Agg")
torch.set_num_threads(1)  # tests run side by side: more threads than cores wait for each other
os.environ["XAI_CACHE"] = tempfile.mkdtemp(
    prefix="xai-tests-"
)  # nothing is left in the user's own; see pytest_unconfigure
collect_ignore_glob = [
    "models/converted/make_*.py",
    "fuzzing/*.py",
    "hostile_run.py",
]  # scripts with needs of their own
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """Return the path of a Chromium: XAI_CHROMIUM, or one on the PATH."""
    found = os.environ.get("XAI_CHROMIUM")
    return found or next((path for path in map(shutil.which, _BROWSERS) if path), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, and say so."""
    reasons = {}
    if find_browser() is None:
        reasons["browser"] = "no Chromium found; set XAI_CHROMIUM to its path, or install it"
    if not torch.cuda.is_available():
        reasons["gpu"] = "no CUDA device"
    for item in items:
        for mark, reason in reasons.items():
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage while tests are collected, nor ever in what was collected, which stays until the end."""
    gc.disable()
    yield
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Remove what was cached."""
    shutil.rmtree(os.environ["XAI_CACHE"], ignore_errors=True)


@pytest.fixture(autouse=True)
def no_figures_left() -> Iterator[None]:
    """Close what a test has drawn: more than twenty open figures are a warning, in whichever test comes then."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def browser_path() -> str:
    """Return the path of a Chromium."""
    return find_browser() or ""
