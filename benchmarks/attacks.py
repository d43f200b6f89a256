"""Attacks against foolbox, ART, torchattacks, adv-lib and the official AutoAttack, at equal settings on equal images.

All are judged alike: by what the module answers, in float64, to the images that they return. Time is CPU time on one
thread, so neighbours on the machine count little. The number of images is `IMAGES` (environment), the costly parts
take fewer.
"""

import copy
import os
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import xai
from benchmarks.attack_peers import MINIMAL, PGD, Plain, Run, in_parts, official_autoattack
from benchmarks.timing import table
from xai.robust.attacks.base import ATTACKS
from xai.stats.intervals import wilson

IMAGES = int(os.environ.get("IMAGES", "200"))
FEW, SOME = max(4, IMAGES // 8), max(10, IMAGES // 4)
STEPS = 40
TIE = 1e-5  # logits: the smallest distances end on the boundary, where rounding decides
NETWORKS = ("example:fashion", "example:fashion-robust", "example:fashion-shortcut")
SPEED_EPS, BARS = (8, 12, 16), {"torchattacks PGD": 5, "ART": 8}
QUICK = [("deepfool", "linf"), ("fmn", "linf"), ("deepfool", "l2"), ("ddn", "l2"), ("fmn", "l2"), ("fmn", "l1")]
COSTLY = [("fab-t", "linf"), ("fab-t", "l2"), ("cw", "l2"), ("fab-t", "l1")]
REFERENCE = Path(__file__).resolve().parent.parent / "tests" / "attacks" / "reference_autoattack.npz"
Row = tuple[str, ...]


def fashion(name: str, count: int) -> tuple[xai.Classifier, Tensor, Tensor]:
    """Return an example network and the first test images."""
    data = xai.load_data("example:fashion-test")
    return xai.load(name), torch.stack([data.images[k] for k in range(count)]), data.labels[:count]


def digits(count: int) -> tuple[xai.Classifier, Tensor, Tensor]:
    """Return the reference network of the tests and its first images."""
    with np.load(REFERENCE, allow_pickle=False) as stored:
        state = {key.removeprefix("conv/state/"): torch.tensor(stored[key]) for key in stored if "/state/" in key}
    net = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)),
    )
    net.load_state_dict(state)
    data = load_digits()
    images = torch.tensor(data.images / 16, dtype=torch.float32)[::3][:count, None]
    return xai.Classifier(net.eval(), channels=1, name="digits"), images, torch.tensor(data.target)[::3][:count]


def lead(net: Plain, images: Tensor, labels: Tensor) -> Tensor:
    """Return the true logit less the best other one (N,), in float64."""
    with torch.no_grad():
        logits = copy.deepcopy(net).double()(images.double())
    true = logits.gather(1, labels[:, None])
    return true[:, 0] - logits.scatter(1, labels[:, None], -torch.inf).amax(1)


def right(net: Plain, images: Tensor, labels: Tensor) -> Tensor:
    """Return which images are answered as labelled (N,) bool."""
    return lead(net, images, labels) > 0


def taken(runs: Mapping[str, Run], rounds: int = 1) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Return what each run returns, and its shortest CPU time; in each round every one runs once."""
    found, times = {}, {name: float("inf") for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.process_time()
            found[name] = run()
            times[name] = min(times[name], time.process_time() - began)
    return found, times


def pgd_runs(classifier: xai.Classifier, net: Plain, images: Tensor, labels: Tensor, eps: float) -> dict[str, Run]:
    """Return runs of PGD by library: equal steps, step size and random start."""
    step = 2.5 * eps / STEPS
    attack = ATTACKS["pgd"](steps=STEPS, step_size=step)
    runs: dict[str, Run | None] = {"xai": lambda: attack.run(classifier, images, labels, eps=eps).adversarial}
    runs |= {name: make(net, images, labels, eps, STEPS, step) for name, make in PGD.items()}
    return {name: run for name, run in runs.items() if run is not None}


def absent(names: Collection[str], known: Mapping[str, object], width: int) -> list[Row]:
    """Return a row for each library that is not installed."""
    return [(name, "not installed", *[""] * (width - 2)) for name in known if name not in names]


def speed_rows(eps: int) -> list[Row]:
    """Compare the time of PGD on the ordinary network."""
    classifier, images, labels = fashion("example:fashion", IMAGES)
    net = Plain(classifier)
    found, times = taken(pgd_runs(classifier, net, images, labels, eps / 255), rounds=2)
    rows = []
    for name, adversarial in found.items():
        hits = right(net, images, labels) & right(net, adversarial, labels)
        bar = f" (bar {BARS[name]})" if name in BARS else ""
        ratio = "" if name == "xai" else f"xai {times[name] / times['xai']:.1f} x faster{bar}"
        rows.append((name, f"{float(hits.double().mean()):.1%} robust", f"{times[name]:.2f} s CPU", ratio))
    return rows + absent(found, PGD, 4)


def agreement_rows() -> list[Row]:
    """Compare the robust accuracies of PGD on the networks that ship, in points of a hundred."""
    rows = []
    for name in NETWORKS:
        classifier, images, labels = fashion(name, IMAGES)
        net = Plain(classifier)
        for eps in (2, 4, 8):
            runs = pgd_runs(classifier, net, images, labels, eps / 255)
            runs.pop("ART", None)  # the slowest, and the same algorithm
            found, _ = taken(runs)
            hits = {key: int((right(net, images, labels) & right(net, x, labels)).sum()) for key, x in found.items()}
            low, high = wilson(hits["xai"], len(images))
            gaps = [f"{key.split()[0]} {100 * (n - hits['xai']) / len(images):+.2f}" for key, n in hits.items()][1:]
            share = hits["xai"] / len(images)
            rows.append((name, f"{eps}/255", f"xai {share:.1%} [{low:.1%}, {high:.1%}]", ", ".join(gaps) or "no peer"))
    return rows


def median_distance(net: Plain, clean: Tensor, found: Tensor, labels: Tensor, norm: str) -> tuple[float, float]:
    """Return the median distance, unlimited for what is not fooled, and the share fooled; a tie counts as fooled."""
    delta = (found.clamp(0, 1).double() - clean.double()).flatten(1)
    size = torch.linalg.vector_norm(delta, {"linf": torch.inf, "l2": 2, "l1": 1}[norm], dim=1)
    fooled = lead(net, found.clamp(0, 1), labels) < TIE
    return statistics.median(torch.where(fooled, size, torch.inf).tolist()), float(fooled.double().mean())


def minimal_runs(
    name: str, norm: str, classifier: xai.Classifier, net: Plain, images: Tensor, labels: Tensor
) -> dict[str, Run]:
    """Return runs of an attack for the smallest distance by library."""

    def ours() -> Tensor:
        return ATTACKS[name]().run(classifier, images, labels, norm=norm).adversarial

    made = {library: make(name, norm, net) for library, make in MINIMAL.items()}
    peers = {library: _bound(run, images, labels) for library, run in made.items() if run is not None}
    return {"xai": ours, **peers}


def _bound(run: Callable[[Tensor, Tensor], Tensor], images: Tensor, labels: Tensor) -> Run:
    return lambda: in_parts(run, images, labels)


def minimal_rows(
    pairs: Sequence[tuple[str, str]], classifier: xai.Classifier, images: Tensor, labels: Tensor
) -> list[Row]:
    """Compare the median distances of the attacks that look for the smallest one, method by method and over all."""
    net = Plain(classifier)
    chosen = right(net, images, labels)
    images, labels = images[chosen], labels[chosen]
    rows, best = [], {}
    for name, norm in pairs:
        found, times = taken(minimal_runs(name, norm, classifier, net, images, labels))
        medians = {key: median_distance(net, images, x, labels, norm) for key, x in found.items()}
        shown = [f"{key} {value:.5f} ({share:.0%}, {times[key]:.1f} s)" for key, (value, share) in medians.items()]
        for key, (value, _) in medians.items():
            best[norm, key] = min(best.get((norm, key), (float("inf"), "")), (value, name))
        rows.append((f"{name} {norm}", _share({key: value for key, (value, _) in medians.items()}), ", ".join(shown)))
    for norm in dict.fromkeys(norm for _, norm in pairs):
        medians = {key: value for (other, key), value in best.items() if other == norm}
        shown = [f"{key} {value:.5f} ({name})" for key, (value, name) in medians.items()]
        share = _share({key: value for key, (value, _) in medians.items()})
        rows.append((f"best of all {norm}", share, ", ".join(shown)))
    return rows + absent({key for _, key in best}, MINIMAL, 3)


def _share(medians: Mapping[str, float]) -> str:
    peers = [value for key, value in medians.items() if key != "xai"]
    return f"{medians['xai'] / min(peers):.3f} of the best other (bar 1.05)" if peers else "no peer"


def autoattack_row(name: str, eps: float, count: int, bar: float) -> Row:
    """Compare AutoAttack with the official one: robust images and time."""
    classifier, images, labels = fashion(name, count)
    net = Plain(classifier)
    runs: dict[str, Run] = {
        "xai": lambda: xai.attack(classifier, images, labels, "autoattack", eps=eps).adversarial,
    }
    official = official_autoattack(net, images, labels, eps)
    found, times = taken(runs | ({} if official is None else {"official": official}))
    hits = {key: right(net, images, labels) & right(net, x, labels) for key, x in found.items()}
    told = ", ".join(f"{key} {int(h.sum())} robust in {times[key]:.1f} s" for key, h in hits.items())
    label = f"{name}, {eps * 255:.0f}/255, {count} images"
    if official is None:
        return label, told, "pyautoattack not installed"
    differ = int((hits["xai"] != hits["official"]).sum())
    ratio = f"{times['official'] / times['xai']:.1f} x faster (bar {bar})"
    return label, told, f"{ratio}, {differ} images differ"


def stored_rows() -> list[Row]:
    """Compare AutoAttack with the images that the official one left robust, as stored with the tests."""
    classifier, images, labels = digits(200)
    rows = []
    with np.load(REFERENCE, allow_pickle=False) as stored:
        for key in sorted(k.removesuffix("/robust") for k in stored if k.endswith("/robust")):
            norm, eps = key.split("/")
            wanted = torch.tensor(stored[f"{key}/robust"]).bool()
            began = time.process_time()
            found = xai.attack(classifier, images, labels, "autoattack", eps=float(eps), norm=norm.lower())
            seconds = time.process_time() - began
            told = f"xai {int(found.robust.sum())} robust in {seconds:.1f} s, official {int(wanted.sum())} (stored)"
            rows.append((f"digits, {key}, 200 images", told, f"{int((found.robust != wanted).sum())} images differ"))
    return rows


def run() -> None:
    """Print the tables."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for eps in SPEED_EPS:
            table(f"PGD-{STEPS}, example:fashion, l-inf {eps}/255, {IMAGES} images, one thread", speed_rows(eps))
        table(
            f"PGD-{STEPS}, {IMAGES} images, one random start: points by which the others are above (bar -0.3)",
            agreement_rows(),
        )
        for pairs, given in ((QUICK + COSTLY, digits(SOME)), (QUICK, fashion(NETWORKS[0], SOME))):
            title = f"Smallest distances, {given[0].name}, {SOME} images: medians (share fooled, CPU time)"
            table(title, minimal_rows(pairs, *given))
        cases = [(NETWORKS[0], 16, SOME, 3.0), (NETWORKS[0], 8, SOME, 3.0), (NETWORKS[1], 8, FEW, 1.5)]
        rows = [autoattack_row(name, eps / 255, count, bar) for name, eps, count, bar in cases]
        table("AutoAttack against the official one", rows + stored_rows())
    finally:
        torch.set_num_threads(threads)
