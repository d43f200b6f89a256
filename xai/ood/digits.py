"""Published figures reproduced on digits. Small networks trained on 0 to 4 are tried on 5 to 9, noise and negatives."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xai.core.model.classifier import Classifier
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.errors import Stopped
from xai.ood.compare import compare_ood
from xai.ood.detectors.base import DETECTORS, Detector

if TYPE_CHECKING:
    import pandas as pd

SETS = ("digits 5-9", "noise", "inverted")
SEEDS = 5
TOLERANCE = 0.01
_KNOWN = 5  # classes
_EPOCHS, _RATE, _DECAY, _TESTED = 250, 2e-3, 1e-4, 0.4
# AUROC on each set, mean of the five networks; pytorch-ood's detectors give the same on them (tests/ood).
EXPECTED: Mapping[str, tuple[float, ...]] = {
    "msp": (0.9391, 0.9188, 0.6174),
    "energy": (0.9530, 0.9263, 0.5520),
    "gen": (0.9511, 0.9315, 0.6035),
    "odin": (0.9528, 0.9324, 0.5525),
    "mahalanobis": (0.9231, 0.9939, 0.9989),
    "mahalanobis++": (0.9568, 0.9962, 0.9939),
    "rmd": (0.9678, 0.9716, 0.9303),
    "knn (k=10)": (0.9769, 0.9825, 0.8879),
    "knn (k=50)": (0.9525, 0.9516, 0.8294),
    "vim (dim=32)": (0.9538, 0.9956, 0.9913),
    "react": (0.9481, 0.9217, 0.5987),
    "scale (65)": (0.8601, 0.8777, 0.5755),
    "ash (65)": (0.7983, 0.7859, 0.5640),
    "fdbd": (0.6842, 0.8285, 0.7409),
}
# What pytorch-ood gave on five networks of this kind whose training is not known: networks differ by 0.01 to 0.12.
REFERENCE: Mapping[str, tuple[float, ...]] = {
    "msp": (0.934, 0.901, 0.603),
    "energy": (0.954, 0.923, 0.518),
    "gen": (0.950, 0.920, 0.564),
    "odin": (0.954, 0.924, 0.514),
    "mahalanobis": (0.934, 0.996, 1.000),
    "mahalanobis++": (0.964, 0.998, 0.996),
    "rmd": (0.958, 0.969, 0.939),
    "knn (k=10)": (0.974, 0.985, 0.906),
    "knn (k=50)": (0.948, 0.960, 0.857),
    "vim (dim=32)": (0.960, 0.993, 0.989),
    "react": (0.951, 0.915, 0.587),
    "scale (65)": (0.939, 0.878, 0.510),
    "ash (65)": (0.840, 0.772, 0.455),
    "fdbd": (0.728, 0.840, 0.770),
}


@dataclass(frozen=True)
class DigitsTest:
    """The figures, beside those they should be.

    Attributes:
        areas: by method, mean AUROC over the networks on each of `SETS`.
        spreads: their standard deviations.
        accuracy: mean share of right answers on ordinary test digits.
        seeds: number of networks.
        seconds: that it took.
    """

    areas: Mapping[str, tuple[float, ...]]
    spreads: Mapping[str, tuple[float, ...]]
    accuracy: float
    seeds: int
    seconds: float

    @property
    def table(self) -> "pd.DataFrame":
        """One row per method and set: AUROC, its spread over networks, what it should be, and pytorch-ood's figure."""
        import pandas as pd

        rows = [
            {
                "method": name,
                "set": where,
                "auroc": self.areas[name][k],
                "sd": self.spreads[name][k],
                "expected": EXPECTED[name][k],
                "pytorch-ood": REFERENCE[name][k],
            }
            for name in self.areas
            for k, where in enumerate(SETS)
        ]
        return pd.DataFrame(rows)

    @property
    def largest_gap(self) -> float:
        """Largest distance of a figure from what it should be."""
        table = self.table
        return float((table["auroc"] - table["expected"]).abs().max())

    @property
    def passed(self) -> bool:
        """Every figure is within 0.01 of what it should be."""
        return self.largest_gap <= TOLERANCE

    def __str__(self) -> str:
        """The table in lines, with the verdict."""
        lines = [f"digits 0-4 known, {self.seeds} networks, {self.accuracy:.1%} right: AUROC (expected; pytorch-ood)"]
        lines += [f"{'':14}" + "".join(f"{where:>26}" for where in SETS)]
        for name, areas in self.areas.items():
            cells = zip(areas, EXPECTED[name], REFERENCE[name], strict=True)
            lines.append(f"{name:14}" + "".join(f"{a:11.3f} ({b:.3f}; {c:.3f})" for a, b, c in cells))
        word = "passed" if self.passed else "FAILED"
        return "\n".join([*lines, f"self-test {word}: largest gap {self.largest_gap:.4f}, {self.seconds:.0f} s"])

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        table = self.table.to_dict(orient="records")
        names = ("accuracy", "seeds", "seconds", "largest_gap", "passed")
        return {"table": table} | {name: getattr(self, name) for name in names}


def digits_test(*, progress: bool | Progress | None = None, should_stop: ShouldStop | None = None) -> DigitsTest:
    """Train five small networks and compare all detectors with known figures.

    Training and detection run in float64, so that figures do not depend on the processor. ViM, KNN, ASH, SCALE and the
    covariances have the settings of the reference: no shrinkage, k of 10 and 50, 32 dimensions, the 65th percentile.

    Args:
        progress: None, True for a bar, or a callable `(done, total)` in networks.
        should_stop: asked before each; True ends the work with `xai.errors.Stopped`.

    Cost: under half a minute on one core.
    """
    began = time.perf_counter()
    areas_by_seed, right = [], []
    with reporting(progress, "self-test") as report:
        for seed in range(SEEDS):
            if should_stop is not None and should_stop():
                raise Stopped(f"Stopped after {seed} of {SEEDS} networks, as asked.")
            areas, accuracy = _one(seed)
            areas_by_seed.append(areas)
            right.append(accuracy)
            if report is not None:
                report(seed + 1, SEEDS)
    every, names = np.stack(areas_by_seed), list(REFERENCE)
    means, spreads = every.mean(0), every.std(0)
    return DigitsTest(
        {name: tuple(row.tolist()) for name, row in zip(names, means, strict=True)},
        {name: tuple(row.tolist()) for name, row in zip(names, spreads, strict=True)},
        float(np.mean(right)),
        SEEDS,
        time.perf_counter() - began,
    )


@dataclass(frozen=True, eq=False)
class _Digits:
    """Images (n, 1, 8, 8) with labels."""

    images: Tensor
    labels: Tensor


def _one(seed: int) -> tuple[np.ndarray, float]:
    """Return the AUROC of each method on each set (methods, sets) for one network, and its accuracy."""
    fit, inside, outside = _load(seed)
    network = train(fit.images, fit.labels, seed)
    classifier = Classifier(network, input_size=(8, 8), channels=1)
    with torch.no_grad():
        accuracy = float((network(inside.images).argmax(1) == inside.labels).double().mean())
    sets = dict(zip(SETS, (outside, noise_like(inside.images, seed), 1 - inside.images), strict=True))
    methods = _methods()
    made = compare_ood(classifier, fit, inside.images, inside.images, sets, methods)
    return made.areas.loc[[method.label for method in methods], list(SETS)].to_numpy(), accuracy


def _load(seed: int) -> tuple[_Digits, _Digits, Tensor]:
    """Return digits 0 to 4 to train on and to test with, and the digits 5 to 9."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images, labels = torch.from_numpy(data.images / 16)[:, None], torch.from_numpy(data.target.astype(np.int64))
    known = (labels < _KNOWN).nonzero()[:, 0]
    fit, test = train_test_split(known.numpy(), test_size=_TESTED, random_state=seed, stratify=labels[known].numpy())
    return _Digits(images[fit], labels[fit]), _Digits(images[test], labels[test]), images[labels >= _KNOWN]


def noise_like(images: Tensor, seed: int) -> Tensor:
    """Return as many images of uniform noise."""
    return torch.rand(images.shape, generator=torch.Generator().manual_seed(seed), dtype=images.dtype)


def train(images: Tensor, labels: Tensor, seed: int) -> nn.Module:
    """Return a network 64-128-64-5 trained on digits, in float64 and in evaluation mode; no random state is touched."""
    source = torch.Generator().manual_seed(seed)
    network = nn.Sequential(
        nn.Flatten(), _layer(64, 128, source), nn.ReLU(), _layer(128, 64, source), nn.ReLU(), _layer(64, 5, source)
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=_RATE, weight_decay=_DECAY)
    with torch.inference_mode(False), torch.enable_grad():
        for _ in range(_EPOCHS):
            optimiser.zero_grad()
            torch.autograd.backward(F.cross_entropy(network(images), labels))
            optimiser.step()
    return network.requires_grad_(False).eval()


def _layer(inside: int, outside: int, source: torch.Generator) -> nn.Linear:
    """Return a linear layer with torch's usual weights, drawn from a source of its own."""
    layer = nn.Linear(inside, outside, device="meta", dtype=torch.float64).to_empty(device="cpu")
    with torch.no_grad():
        for part in layer.parameters():
            part.copy_((2 * torch.rand(part.shape, generator=source, dtype=torch.float64) - 1) / inside**0.5)
    return layer


def _methods() -> list[Detector]:
    """Return the detectors of `REFERENCE`, in its order, with the settings of pytorch-ood."""
    plain = {"shrinkage": 0.0}
    settings_of_methods: list[tuple[str, dict[str, Any]]] = [
        ("msp", {}),
        ("energy", {}),
        ("gen", {"floor": 1e-7}),
        ("odin", {}),
        ("mahalanobis", plain),
        ("mahalanobis++", plain),
        ("rmd", plain),
        ("knn", {"k": 10}),
        ("knn", {"k": 50}),
        ("vim", {"dim": 32}),
        ("react", {}),
        ("scale", {"percentile": 65.0}),
        ("ash", {"percentile": 65.0}),
        ("fdbd", {}),
    ]
    return [DETECTORS[name](**settings) for name, settings in settings_of_methods]
