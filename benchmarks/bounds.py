"""Proofs: milliseconds per digit with nine margins, seconds per image of a convolutional network with 28 pixels."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

import xai
from benchmarks.timing import table
from xai.robust.certification.linear import METHODS
from xai.robust.certification.prover import Prover

REFERENCE = Path(__file__).resolve().parent.parent / "tests" / "bounds" / "reference_bounds.npz"
REPEATS, IMAGES = 5, 4
BAR = 10.0


def run() -> None:
    """Print times on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        table("Bounds of digits with nine margins (CROWN: at most 10 ms)", _digits())
        table("Bounds of example:fashion-robust, 28 x 28 pixels", _fashion())
    finally:
        torch.set_num_threads(threads)


def _digits() -> list[tuple[str, ...]]:
    with np.load(REFERENCE, allow_pickle=False) as stored:
        state = {k.removeprefix("conv/state/"): torch.tensor(stored[k]) for k in stored if k.startswith("conv/state/")}
        images, labels = torch.tensor(stored["conv/x"]).view(-1, 1, 8, 8), torch.tensor(stored["conv/y"]).long()
        wanted = {m: torch.tensor(stored[f"conv/{m}/0.03/margin"]) for m in METHODS}
    net = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)),
    ).double()
    net.load_state_dict(state)
    prover = Prover.of(xai.Classifier(net.eval(), channels=1), images, clip=False)
    rows = []
    for method in METHODS:
        seconds, margins = _best(lambda m=method: prover.margins(images, labels, 0.03, "linf", m))
        others = margins[~margins.isnan()].view(len(images), -1)
        apart = float((others - wanted[method]).abs().max())
        rows.append((method, f"{1000 * seconds / len(images):.2f} ms", f"auto_LiRPA's margins to {apart:.0e}"))
    return rows


def _fashion() -> list[tuple[str, ...]]:
    classifier, data = xai.load("example:fashion-robust"), xai.load_data("example:fashion-test")
    images = torch.stack([data.images[k] for k in range(IMAGES)])
    labels, prover = torch.as_tensor(data.labels[:IMAGES]), Prover.of(classifier, images)
    rows = []
    for method in METHODS:
        for eps in (1, 4):
            began = time.process_time()
            margins = prover.margins(images, labels, eps / 255, "linf", method)
            seconds = (time.process_time() - began) / IMAGES
            proven = int(prover.verified(images, margins, eps / 255).sum())
            rows.append((f"{method} at {eps}/255", f"{seconds:.3f} s", f"{proven} of {IMAGES} proven"))
    return rows


def _best(work: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        found = work()
        times.append(time.process_time() - began)
    return min(times), found
