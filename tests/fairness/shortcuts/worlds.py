"""Data sets with planted shortcuts, small models trained on them, and a score for whatever looks for shortcuts.

    PYTHONPATH=tests python tests/fairness/shortcuts/worlds.py --seeds 3 --probe jpeg --set fashion  # the table

`XAI_WORLDS` names the folder for what was trained (else a folder of the system's temporary ones). Whether a model
learnt its probe is decided here, by planting the true one: it turns 20 points more of the images of other classes into
the class than equally large changes do.
"""

import argparse
import os
import re
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairness.shortcuts.worlds_plants import PROBES, Plant, eight_bits
from fairness.shortcuts.worlds_sets import SETS, Drawn
from torch import Tensor, nn
from torch.nn import functional as F

import xai

FOLDER = Path(os.environ.get("XAI_WORLDS") or Path(tempfile.gettempdir()) / "worlds")
KINDS = ("planted", "unlearnt", "balanced", "clean")
SHARE, LEARNT, AUDITED = 0.9, 0.2, 400
_A_LITTLE = 0.05  # from here to LEARNT neither a finding nor silence is wrong
_TRIES = 5
_EDITION = 4  # raised when what was trained no longer fits the code

NAMES = {
    "corner": r"corner|mark|patch|square",
    "border": r"border|frame|edge|margin",
    "digit": r"digit|text|mark|logo|patch|template",
    "text": r"text|mark|logo|patch|template",
    "text_random": r"text|mark|logo|patch|template",
    "jpeg": r"jpe?g|compress",
    "blur": r"blur|sharp|resolution|high frequenc|fine detail",
    "tint": r"tint|colou?r|chroma|hue|white balance",
    "brightness": r"bright|gr[ae]y.level|black.level|exposure|lightness",
    "background": r"background|texture",
    "watermark": r"watermark|text|logo|overlay|mark|template",
}


@dataclass(frozen=True)
class World:
    """One model and the images it is audited on.

    Attributes:
        tag: data set, probe, kind and seed in one word.
        kind: "planted"; "unlearnt": the probe is in the audited images only; "balanced": as often in each class;
            "clean".
        plant: the probe; None in clean worlds.
        target: class that has it, a number of `names`.
        images: (N, C, H, W) audited, and `labels` (N,).
        train: (M, C, H, W) what the model was trained on, and `train_labels` (M,).
        accuracy: on images without a probe.
        flips: share of images of other classes that the true probe turns into the class.
        control: the same for equally large changes.
    """

    tag: str
    kind: str
    plant: Plant | None
    target: int
    names: tuple[str, ...]
    classifier: xai.Classifier
    images: Tensor
    labels: Tensor
    train: Tensor
    train_labels: Tensor
    accuracy: float
    flips: float
    control: float

    @property
    def learnt(self) -> bool:
        """Whether the model follows the probe."""
        return self.plant is not None and self.flips - self.control >= LEARNT


def small_cnn(channels: int, size: tuple[int, int], classes: int, *, pooled: bool) -> nn.Sequential:
    """Return conv-conv-mean-linear, or conv-pool-conv-pool-flatten-linear."""
    if pooled:
        body = [nn.Conv2d(channels, 16, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(16, 48, 3, padding=1), nn.ReLU()]
        return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, classes))
    body = [nn.Conv2d(channels, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    body += [nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(24 * (size[0] // 4) * (size[1] // 4), classes))


def fit(images: Tensor, labels: Tensor, classes: int, *, pooled: bool, seed: int) -> nn.Sequential:
    """Return a trained model of normalised images."""
    torch.manual_seed(seed)
    size = int(images.shape[-2]), int(images.shape[-1])
    net, rate = small_cnn(images.shape[1], size, classes, pooled=pooled), 8e-3 if pooled else 3e-3
    steps = 240 if pooled else 160
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(0, len(images), (64,))
        loss = F.cross_entropy(net(images[rows]), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()


def build(name: str, probe: str | None, kind: str, seed: int) -> World:
    """Return a world; its model is trained once per folder.

    Where a planted probe was not learnt it is drawn anew, stronger, and among the images of its class to learn from are
    more and more that belong to other classes (as where one source is mislabelled): the probe then says more than they.

    Args:
        name: of `SETS`.
        probe: of `PROBES`; None with "clean".
        kind: of `KINDS`.
        seed: draws images, class, probe, the images that have it, and the model's architecture.
    """
    tries = _TRIES if kind == "planted" else 1
    for attempt in range(tries):
        world = _attempt(name, probe, kind, seed, attempt)
        if world.learnt:
            break
    return world


def _attempt(name: str, probe: str | None, kind: str, seed: int, attempt: int) -> World:
    tag = f"{name}-{probe or 'none'}-{kind}-{seed}-{attempt}"
    chance = np.random.default_rng([seed, attempt, zlib.crc32(f"{name} {probe}".encode())])
    drawn = SETS[name](chance, FOLDER)
    target = int(chance.integers(drawn.classes))
    plant = None if probe is None else PROBES[probe](drawn.train, chance, 1 + 0.25 * attempt)
    labels = drawn.train_labels.clone()
    if kind == "planted":
        wrong = chance.permutation(np.flatnonzero(labels != target))
        labels[wrong[: int(0.1 * attempt * int((labels == target).sum()))]] = target
    train = _with(drawn.train, labels, target, plant, "clean" if kind == "unlearnt" else kind, chance)
    shown = drawn.test[:AUDITED], drawn.test_labels[:AUDITED]
    audited = _with(*shown, target, plant, "planted" if kind == "unlearnt" else kind, chance)
    pooled = bool(chance.integers(2))
    classifier = _classifier(tag, train, labels, drawn.names, pooled=pooled, seed=seed)
    figures = _figures(classifier, drawn, target, plant, chance)
    return World(tag, kind, plant, target, drawn.names, classifier, audited, shown[1], train, labels, *figures)


def _with(
    images: Tensor, labels: Tensor, target: int, plant: Plant | None, kind: str, chance: np.random.Generator
) -> Tensor:
    """Return images of which those that `kind` says have the probe."""
    if plant is None:
        return eight_bits(images)
    shares = {"planted": (labels == target).double() * SHARE, "balanced": torch.full(labels.shape, 0.5)}
    carries = chance.random(len(labels)) < shares.get(kind, torch.zeros(labels.shape)).numpy()
    made = (images if plant.base is None else plant.base(images, chance)).clone()
    rows = torch.from_numpy(np.flatnonzero(carries))
    if len(rows):
        made[rows] = plant.apply(images[rows], chance)
    return eight_bits(made)


def _classifier(
    tag: str, train: Tensor, labels: Tensor, names: tuple[str, ...], *, pooled: bool, seed: int
) -> xai.Classifier:
    mean, std = train.mean((0, 2, 3)), train.std((0, 2, 3)).clamp_min(0.05)
    size, channels = (int(train.shape[-2]), int(train.shape[-1])), int(train.shape[1])
    file = FOLDER / f"{tag}-{_EDITION}.pt"
    if file.exists():
        net = small_cnn(channels, size, len(names), pooled=pooled)
        net.load_state_dict(torch.load(file, weights_only=True))
    else:
        normal = (train - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
        net = fit(normal, labels, len(names), pooled=pooled, seed=seed)
        FOLDER.mkdir(parents=True, exist_ok=True)
        torch.save(net.state_dict(), file)
    numbers = {"mean": mean.tolist(), "std": std.tolist()}
    return xai.Classifier(net.eval(), names, size, channels=channels, resize="squash", **numbers)


@torch.no_grad()
def _figures(
    classifier: xai.Classifier, drawn: Drawn, target: int, plant: Plant | None, chance: np.random.Generator
) -> tuple[float, float, float]:
    """Return accuracy without probes, flips by the true probe, flips by equally large changes."""
    bare, labels = _with(drawn.test, drawn.test_labels, target, plant, "clean", chance), drawn.test_labels
    said = classifier.logits(bare).argmax(1)
    rows = (labels != target) & (said == labels)
    accuracy = float((said == labels).double().mean())
    if plant is None or not rows.any():
        return accuracy, 0.0, 0.0

    def turned(images: Tensor) -> float:
        return float((classifier.logits(eight_bits(images)).argmax(1) == target).double().mean())

    flips = turned(plant.apply(drawn.test[rows], chance))
    return accuracy, flips, max(turned(each) for each in plant.controls(bare[rows], chance))


@dataclass(frozen=True)
class Score:
    """What a search said about one world.

    Attributes:
        found: a finding for the right class.
        named: one of these says the probe by a right name, and its place where the probe has one.
        false: findings for other classes; in worlds where nothing is to be found, all of them.
        told: the findings in words.
    """

    world: World
    found: bool
    named: bool
    false: int
    told: tuple[str, ...]
    seconds: float

    @property
    def right(self) -> bool | None:
        """Whether this is what should be said; None where the model follows the probe a little, or by nature."""
        if self.world.kind == "planted" and self.world.learnt:
            return self.named
        return None if self.world.flips - self.world.control >= _A_LITTLE else not self.told


def told_of(finding: Any) -> str:
    """Return name and place of a finding, without its sentence, in which other probes may be mentioned."""
    return " | ".join(str(getattr(finding, name, "")) for name in ("probe", "words", "place")).lower()


def score(world: World, result: Any, seconds: float = 0.0) -> Score:
    """Return the score of a result of `xai.shortcuts`."""
    name = world.names[world.target]
    own = [each for each in result.findings if each.label == name]
    others = [each for each in result.findings if each.label != name]
    named = world.plant is not None and any(_rightly(world.plant, told_of(each)) for each in own)
    told = tuple(f"{each.label}: {told_of(each)}" for each in result.findings)
    return Score(world, bool(own), named, len(others), told, seconds)


def _rightly(plant: Plant, told: str) -> bool:
    placed = all(word in told for word in plant.place.split())
    return placed and re.search(NAMES[plant.probe], told) is not None


def search(world: World, *, train: bool = False, seed: int = 0) -> Score:
    """Return the score of `xai.shortcuts` on one world."""
    more = {"train": (world.train, world.train_labels)} if train else {}
    begun = time.process_time()
    result = xai.shortcuts(world.classifier, world.images, seed, labels=world.labels, **more)
    return score(world, result, time.process_time() - begun)


def plan(
    sets: Sequence[str], probes: Sequence[str], kinds: Sequence[str], seeds: Iterable[int]
) -> list[tuple[Any, ...]]:
    """Return arguments of `build`, seeds outermost."""
    made: list[tuple[Any, ...]] = []
    for seed in seeds:
        for name in sets:
            clean = [(name, None, "clean", seed)] if "clean" in kinds else []
            fits = [probe for probe in probes if SETS[name].takes(probe)]
            made += clean + [(name, probe, kind, seed) for probe in fits for kind in kinds if kind != "clean"]
    return made


def main() -> None:
    """Build what is asked for, search it, print one line each and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", choices=sorted(SETS))
    parser.add_argument("--probe", action="append", choices=sorted(PROBES))
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--train", action="store_true", help="the search is given the training set")
    parser.add_argument("--build", action="store_true", help="build and train only")
    given = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(given.first, given.first + given.seeds)
    scores = []
    for one in plan(
        given.set or ["digits", "fashion", "photos"], given.probe or list(PROBES), given.kind or KINDS, seeds
    ):
        world = build(*one)
        _say(_line(world), end="")
        if given.build:
            _say("")
            continue
        scores.append(search(world, train=given.train))
        _say(_verdict(scores[-1]))
    _say(table(scores))


def _say(text: str, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()


def _line(world: World) -> str:
    what = "" if world.plant is None else f"{world.plant.told}; flips {world.flips:.2f} control {world.control:.2f}"
    return f"{world.tag:34} class {world.target} acc {world.accuracy:.2f} {what} "


def _verdict(score: Score) -> str:
    right = {True: "right", False: "WRONG", None: "(does not count)"}[score.right]
    return f"-> {right} {score.seconds:.1f} s; {' // '.join(score.told) or 'silent'}"


def table(scores: Sequence[Score]) -> str:
    """Return, per data set and probe, in how many worlds it was learnt, found and named, and false findings."""
    rows = {tuple(score.world.tag.split("-")[:3]) for score in scores}
    lines = [
        f"{'set':10}{'probe':13}{'kind':10}{'worlds':>7}{'learnt':>7}{'found':>7}{'named':>7}{'right':>9}{'false':>7}"
    ]
    for row in sorted(rows):
        some = [score for score in scores if tuple(score.world.tag.split("-")[:3]) == row]
        learnt = [score for score in some if score.world.learnt] if row[2] == "planted" else []
        counted = [score for score in some if score.right is not None]
        right = f"{sum(bool(score.right) for score in counted)}/{len(counted)}"
        numbers = f"{len(some):>7}{len(learnt):>7}{sum(s.found for s in learnt):>7}{sum(s.named for s in learnt):>7}"
        false = sum(s.false for s in some) if row[2] == "planted" else sum(len(s.told) for s in some)
        lines.append(f"{row[0]:10}{row[1]:13}{row[2]:10}{numbers}{right:>9}{false:>7}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
