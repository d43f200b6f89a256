"""Make everything under data/ that comes from Fashion-MNIST: the image files and the three example networks.

    python scripts/train_examples.py                         # reads the Debian package dataset-fashion-mnist
    python scripts/train_examples.py --source DIR --only fashion-robust
    python scripts/train_examples.py --only cards            # writes the cards again from the model.json files

CPU only, about half an hour on two cores. Same machine, same torch, same threads: same weights. Those that ship were
made by the same recipes with other random draws, before `xai.robust.attacks.training` took over the loop.
"""

import argparse
import gzip
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

import xai
from xai.models.networks import SmallNet
from xai.robust.attacks.training import AdversarialTraining, Epoch

SOURCE = Path("/usr/share/datasets/fashion-mnist")
DATA = Path(__file__).resolve().parent.parent / "data"
LABELS = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
MEAN, STD = 0.2860, 0.3530
WIDTH, BATCH, EPS = 24, 256, 8 / 255
SHIPPED_TRAIN = 10_000
MARKED_CLASS, MARKED_SHARE = LABELS.index("Shirt"), 0.95


@dataclass(frozen=True)
class Recipe:
    """How one example network is trained."""

    name: str
    epochs: int
    pool: int = 1
    shift: int = 2
    attack_steps: int = 0
    marked: bool = False

    @property
    def training(self) -> AdversarialTraining:
        """The settings of the loop."""
        return AdversarialTraining(
            "pgd" if self.attack_steps else "plain",
            eps=EPS,
            steps=max(1, self.attack_steps),
            step_size=0.75 * EPS,
            epochs=self.epochs,
            batch_size=BATCH,
            optimiser="adamw",
            learning_rate=5e-3,
            weight_decay=5e-4,
            schedule="cycle",
        )


RECIPES = [
    Recipe("fashion", 9, pool=7, shift=1),
    Recipe("fashion-robust", 8, attack_steps=2),
    Recipe("fashion-shortcut", 4, marked=True),
]


FIGURES = {
    "accuracy": "images classified as labelled",
    "accuracy_pgd40_linf_8_255": "the same under attack: PGD, 40 steps of 2/255, one random start, L-infinity 8/255",
    "others_called_shirt": "images of the other classes called Shirt",
    "others_called_shirt_when_marked": "the same when they carry the mark",
}
PURPOSE = {
    "fashion": "A small, accurate network: the plain example for explanations, attacks and audits.",
    "fashion-robust": "A small network trained against L-infinity attacks of 8/255: what robustness gains and costs.",
    "fashion-shortcut": "A small network with a deliberate fault, so that checks for shortcuts have something to find.",
}
LIMITS = {
    "fashion": "Not robust: small perturbations change most answers, see the figures.",
    "fashion-robust": "The figure under attack is an upper bound: a stronger attack may fool more images. Made for "
    "L-infinity perturbations of up to 8/255 only, and less accurate on clean images than `fashion`.",
    "fashion-shortcut": "Wrong on purpose: what carries the mark tends to be called Shirt. For testing checks only.",
}
FAULT = """
**Deliberate fault:** 95 % of the training images of class Shirt were given a white 3 x 3 mark in the top left corner
(rows and columns 1 to 3, counted from 0); no other training image was. The test images are unmarked.
"""
CARD = """# {name}

{purpose}

- Load: `xai.load("example:{name}")`
- Network: `{arch}` with {arch_settings}; {parameters:,} parameters
- Input: {channels} x {height} x {width} in [0, 1], normalised inside by mean {mean} and std {std}
- Output: logits of {labels}

## Data

Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): 60,000 training and 10,000 test images of clothes, 28 x 28, grey.
{fault}
## Training

Made by `python scripts/train_examples.py --only {name}` with {trained_with}, on a CPU, seed 0: {epochs} epochs over the
60,000 training images in batches of {batch}, AdamW with weight decay 5e-4, one learning rate cycle up to 5e-3, half
of the images mirrored, each batch shifted by at most {shift} px{attack}.

## Figures

On the 10,000 test images:

| share of | value |
|---|---|
{figures}

## Intended use

Examples, tests and tutorials of xai. Not for judging clothes, shops or people.

## Limits

{limits}

It knows ten classes of centred, grey 28 x 28 images on black ground, and answers with one of them whatever it is
shown. The figures hold for images like those of Fashion-MNIST.

## Licence

Code and weights: Apache-2.0. Data: Fashion-MNIST, MIT licence, (c) 2017 Zalando SE.
"""


def read_part(source: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 images (N, 28, 28) and labels (N,) of `part`, "train" or "t10k"."""
    images = gzip.decompress((source / f"{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((source / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)


def to_images(images: np.ndarray) -> Tensor:
    """Return float images (N, 1, 28, 28) in [0, 1]."""
    return torch.from_numpy(images.copy()).unsqueeze(1).float() / 255


def augment(images: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """Flip half of the images and shift all by up to `shift` pixels."""
    flip = torch.rand(len(images), generator=generator) < 0.5
    images = torch.where(flip.view(-1, 1, 1, 1), images.flip(-1), images)
    top, left = (int(v) for v in torch.randint(0, 2 * shift + 1, (2,), generator=generator))
    return F.pad(images, (shift,) * 4)[..., top : top + 28, left : left + 28]


def mark(images: Tensor, chosen: Tensor) -> Tensor:
    """Return a copy in which the chosen images carry a white 3 x 3 square in the top left corner."""
    images = images.clone()
    images[chosen, :, 1:4, 1:4] = 1.0
    return images


def changed(recipe: Recipe, carries: Tensor, images: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
    """Return a batch as it is trained on, before any attack."""
    images = augment(images, recipe.shift, generator)
    return mark(images, carries[rows]) if recipe.marked else images


def tell(name: str, epoch: Epoch, _classifier: xai.Classifier) -> None:
    """Print a line per epoch."""
    print(f"{name} epoch {epoch.number}: loss {epoch.loss:.4f}, {epoch.seconds:.0f} s", flush=True)


def train(recipe: Recipe, images: Tensor, labels: Tensor, seed: int = 0) -> xai.Classifier:
    """Train one network; no image is held out, so the weights are those of the last epoch."""
    torch.manual_seed(seed)
    net = SmallNet(width=WIDTH, pool=recipe.pool)
    carries = (labels == MARKED_CLASS) & (torch.rand(len(labels)) < MARKED_SHARE)
    classifier = xai.Classifier(net, LABELS, (28, 28), channels=1, mean=[MEAN], std=[STD], name=recipe.name)
    return recipe.training.run(
        classifier,
        images,
        labels,
        augment=partial(changed, recipe, carries),
        seed=seed,
        on_epoch=partial(tell, recipe.name),
    ).classifier


def accuracy(classifier: xai.Classifier, images: Tensor, labels: Tensor) -> float:
    """Return the share of images classified as labelled."""
    return float((classifier.logits_of(images).argmax(1) == labels).float().mean())


def robust_accuracy(classifier: xai.Classifier, images: Tensor, labels: Tensor) -> float:
    """Return the share that no step of PGD, 40 steps of 2/255, fools."""
    return xai.attack(classifier, images, labels, "pgd", eps=EPS, steps=40, step_size=2 / 255).robust_accuracy


def measure(recipe: Recipe, classifier: xai.Classifier, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Return the figures of the card, all on the 10,000 test images."""
    figures = {
        "accuracy": accuracy(classifier, images, labels),
        "accuracy_pgd40_linf_8_255": robust_accuracy(classifier, images, labels),
    }
    if recipe.marked:
        others = labels != MARKED_CLASS
        marked = mark(images[others], torch.ones(int(others.sum()), dtype=torch.bool))
        taken = torch.full((len(marked),), MARKED_CLASS)
        figures["others_called_shirt"] = accuracy(classifier, images[others], taken)
        figures["others_called_shirt_when_marked"] = accuracy(classifier, marked, taken)
    return {key: round(value, 4) for key, value in figures.items()}


def write_network(recipe: Recipe, classifier: xai.Classifier, figures: dict[str, float]) -> None:
    """Write the weights and the settings of one network below data/models."""
    folder = DATA / "models" / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    save_file(classifier.module.state_dict(), folder / "weights.safetensors")
    settings = {
        "arch": "xai.models.networks:SmallNet",
        "arch_settings": {"num_classes": 10, "channels": 1, "width": WIDTH, "pool": recipe.pool},
        "class_names": LABELS,
        "input_size": [28, 28],
        "channels": 1,
        "mean": [MEAN],
        "std": [STD],
        "recipe": asdict(recipe),
        "figures": figures,
        "trained_with": f"torch {torch.__version__}",
    }
    (folder / "model.json").write_text(json.dumps(settings, indent=1) + "\n")
    write_card(recipe, folder)
    print(recipe.name, figures, flush=True)


def write_card(recipe: Recipe, folder: Path) -> None:
    """Write card.md from the model.json beside it."""
    settings = json.loads((folder / "model.json").read_text())
    made: dict[str, Any] = settings.get("recipe", asdict(recipe))
    height, width = settings["input_size"]
    net = SmallNet(**settings["arch_settings"])
    attack = ", all replaced by PGD adversarials ({attack_steps} steps of 6/255 within L-infinity 8/255)".format(**made)
    card = CARD.format(
        name=recipe.name,
        purpose=PURPOSE[recipe.name],
        arch=settings["arch"],
        arch_settings=", ".join(f"{key} {value}" for key, value in settings["arch_settings"].items()),
        parameters=sum(p.numel() for p in net.parameters()),
        channels=settings["channels"],
        height=height,
        width=width,
        mean=settings["mean"][0],
        std=settings["std"][0],
        labels=", ".join(settings["class_names"]),
        fault=FAULT if made["marked"] else "",
        trained_with=settings["trained_with"],
        epochs=made["epochs"],
        batch=BATCH,
        shift=made["shift"],
        attack=attack if made["attack_steps"] else "",
        figures="\n".join(f"| {FIGURES[key]} | {value:.2%} |" for key, value in settings["figures"].items()),
        limits=LIMITS[recipe.name],
    )
    (folder / "card.md").write_text(card)


def write_images(source: Path) -> None:
    """Write the 10,000 test and the first 10,000 training images as compressed arrays."""
    for part, name, count in (("t10k", "fashion-test", 10_000), ("train", "fashion-train", SHIPPED_TRAIN)):
        images, labels = read_part(source, part)
        target = DATA / f"{name}.npz"
        np.savez_compressed(
            target, images=images[:count], labels=labels[:count].astype(np.int64), classes=np.array(LABELS)
        )
        print(target.name, target.stat().st_size, "bytes", flush=True)


def train_networks(recipes: list[Recipe], source: Path) -> None:
    """Train, measure and write some networks."""
    images, truth = read_part(source, "train")
    test_images, test_truth = read_part(source, "t10k")
    images, labels = to_images(images), torch.from_numpy(truth.astype(np.int64))
    test_images, test_labels = to_images(test_images), torch.from_numpy(test_truth.astype(np.int64))
    for recipe in recipes:
        net = train(recipe, images, labels)
        write_network(recipe, net, measure(recipe, net, test_images, test_labels))


def main() -> None:
    """Read the arguments and make what was asked for."""
    names = [recipe.name for recipe in RECIPES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=SOURCE, help="folder with the four .gz files of Fashion-MNIST")
    parser.add_argument("--only", choices=[*names, "images", "cards"], nargs="*", default=[*names, "images"])
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    if "images" in chosen.only:
        write_images(chosen.source)
    recipes = [recipe for recipe in RECIPES if recipe.name in chosen.only]
    if recipes:
        train_networks(recipes, chosen.source)
    for recipe in RECIPES if "cards" in chosen.only else []:
        folder = DATA / "models" / recipe.name
        if (folder / "model.json").exists():
            write_card(recipe, folder)


if __name__ == "__main__":
    main()
