"""Corruptions against imagecorruptions 1.1.2, at 224 pixels: time per image and agreement.

The peer is not among the requirements (it wants a second OpenCV and an old setuptools):
`pip install --no-deps imagecorruptions` beside opencv-python-headless is enough here. What it lacks on numpy 2 and a
new scikit-image is put in its place; none of its definitions changes.
"""

import importlib
import importlib.util
import sys
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import skimage.filters
import torch
from PIL import Image
from torch import Tensor

import xai
from benchmarks.timing import table
from xai.robust.corruptions.base import CORRUPTIONS, corrupt
from xai.robust.corruptions.result import IMAGENET_C, IMAGENET_C_EXTRA

SIDE, BATCH, ROUNDS, DRAWS = 224, 16, 7, 60
SEVERITIES = (1, 3, 5)
BARS = {"glass_blur": 100}
BAR = 10
SLOW = "glass_blur"


def peer() -> Any:
    """Return the peer's module of functions, mended; None where it is not installed."""
    if importlib.util.find_spec("imagecorruptions") is None:
        return None
    if importlib.util.find_spec("pkg_resources") is None:  # gone from new versions of setuptools
        stand_in = types.ModuleType("pkg_resources")
        place = Path(importlib.util.find_spec("imagecorruptions").origin).parent
        vars(stand_in)["resource_filename"] = lambda _package, name: str(place / name)
        sys.modules["pkg_resources"] = stand_in
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("imagecorruptions.corruptions")

    def gaussian(image: np.ndarray, sigma: float = 1, multichannel: bool = False, **settings: Any) -> np.ndarray:
        return skimage.filters.gaussian(image, sigma=sigma, channel_axis=-1 if multichannel else None, **settings)

    module.gaussian = gaussian
    vars(np).setdefault("float_", np.float64)
    return module


def photo() -> np.ndarray:
    """Return a sample photo (224, 224, 3) uint8."""
    image = Image.open(xai.sample_photos()[1].path).convert("RGB")
    side = min(image.size)
    return np.asarray(image.crop((0, 0, side, side)).resize((SIDE, SIDE)))


def best(run: Callable[[], object], rounds: int) -> float:
    """Return the shortest of some runs, in milliseconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return 1e3 * min(times)


def batch_of(pixels: np.ndarray) -> Tensor:
    """Return the photo (BATCH, 3, H, W), each moved a little further."""
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
    return torch.stack([image.roll(k, 2) for k in range(BATCH)])


def ours(name: str, images: Tensor) -> list[float]:
    """Return milliseconds per image at each severity; keys are given, as in a sweep over many corruptions."""
    keys = [bytes([k]) for k in range(BATCH)]
    corrupt(images, name, 3, keys=keys)
    return [best(lambda s=s: corrupt(images, name, s, keys=keys), ROUNDS) / BATCH for s in SEVERITIES]


def theirs(module: Any, name: str, pixels: np.ndarray) -> list[float]:
    """Return milliseconds per image at each severity, from 8 bits to 8 bits."""
    run, image = getattr(module, name), Image.fromarray(pixels)
    rounds = 1 if name == SLOW else ROUNDS
    return [best(lambda s=s: np.uint8(run(image, s)), rounds) for s in SEVERITIES]


def agreement(module: Any, name: str, pixels: np.ndarray) -> str:
    """Say how far the two differ: the largest pixel, or the mean square distance to the clean image."""
    clean, draws = pixels / 255, 1 if not CORRUPTIONS[name].stochastic else 3 if name == SLOW else DRAWS
    rows, keys = batch_of(pixels)[:1].expand(draws, -1, -1, -1), [bytes([k]) for k in range(draws)]
    worst = 0.0
    for severity in SEVERITIES:
        np.random.seed(severity)  # noqa: NPY002 (what the peer draws from)
        made = [np.asarray(getattr(module, name)(Image.fromarray(pixels), severity)) / 255 for _ in range(draws)]
        found = corrupt(rows, name, severity, keys=keys).permute(0, 2, 3, 1).double().numpy()
        if draws == 1:
            worst = max(worst, float(np.abs(found[0] - made[0]).max()))
        else:
            worst = max(worst, abs(float(np.mean((found - clean) ** 2) / np.mean((np.stack(made) - clean) ** 2)) - 1))
    return f"largest difference {worst:.4f}" if draws == 1 else f"distance to clean within {worst:.1%}"


def run() -> None:
    """Print time per image, ratio and agreement of each corruption, on one thread as the peer works."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        compare()
    finally:
        torch.set_num_threads(threads)


def compare() -> None:
    """Print the table."""
    module, pixels = peer(), photo()
    images = batch_of(pixels)
    rows, sums = [], np.zeros(2)
    for name in (*IMAGENET_C, *IMAGENET_C_EXTRA):
        mine = sum(ours(name, images)) / len(SEVERITIES)
        if module is None:
            rows.append((name, f"{mine:.2f} ms", "", "", ""))
            continue
        other = sum(theirs(module, name, pixels)) / len(SEVERITIES)
        if name != SLOW:
            sums += (mine, other)
        bar = BARS.get(name, BAR)
        ratio = f"{other / mine:.1f} x faster (bar {bar})"
        rows.append((name, f"{mine:.2f} ms", f"{other:.2f} ms", ratio, agreement(module, name, pixels)))
    if module is not None:
        ratio = f"{sums[1] / sums[0]:.1f} x faster (bar {BAR})"
        rows.append((f"all but {SLOW}", f"{sums[0]:.2f} ms", f"{sums[1]:.2f} ms", ratio, ""))
    note = "" if module is not None else "; no peer: pip install --no-deps imagecorruptions"
    table(f"Corruptions, {SIDE} px, per image in batches of {BATCH}, severities {SEVERITIES}, one thread{note}", rows)
