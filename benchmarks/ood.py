"""Detectors: what all of them cost beside a plain forward pass, and against the formulas of the peers."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

import xai
from benchmarks.timing import medians, table
from xai.core.model.features import LinearHead
from xai.ood.detectors._gaussian import fit_gaussian, whiten
from xai.ood.detectors.base import DETECTORS
from xai.ood.detectors.knn import distances, most_similar
from xai.ood.detectors.passes import gather, score_images
from xai.ood.detectors.reference import FeatureRows, ModelView, to_unit

BATCHES = {"example:fashion": (64, 128, 256), "efficientnet_lite0": (16, 32)}  # a plain pass counts at the best
PHOTOS = 400
CLASSES, WIDTH, ROWS = 1000, 2048, 64
BANK, FEATURES, ASKED, NEIGHBOUR = 100_000, 512, 500, 50


@dataclass
class Data:
    """Images with labels."""

    images: Tensor
    labels: Tensor


def photos(count: int) -> Tensor:
    """Return crops (count, 3, 224, 224) of the sample photographs."""
    classifier, source = xai.load("efficientnet_lite0"), torch.Generator().manual_seed(0)
    whole = classifier.prepare([photo.path for photo in xai.sample_photos()]).inputs
    made = []
    for number in range(count):
        top, left = (int(k) for k in torch.randint(0, 112, (2,), generator=source))
        crop = whole[number % len(whole), :, top : top + 112, left : left + 112]
        made.append(torch.nn.functional.interpolate(crop[None], (224, 224), mode="bilinear")[0])
    return torch.stack(made)


def plain_pass(classifier: xai.Classifier, images: Tensor, batch: int) -> None:
    """Run a network over images, and nothing else."""
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            classifier.module.eval()(classifier.normalise(images[start : start + batch]))


def all_detectors(classifier: xai.Classifier, fit: Data, images: Tensor) -> None:
    """Fit all detectors that read stored outputs on some images and score others with all of them."""
    wanted = [DETECTORS[name]() for name in DETECTORS if "gradients" not in DETECTORS[name].needs]
    reference, _ = gather(classifier, fit, frozenset().union(*(detector.reads for detector in wanted)))
    score_images(classifier, [detector.fit(reference) for detector in wanted], images)


def passes() -> None:
    """Print the cost of all detectors beside a plain pass over the same images."""
    fashion = [xai.load_data(f"example:{name}") for name in ("fashion-train", "fashion-test")]
    crops = photos(2 * PHOTOS)
    cases: list[tuple[str, Data, Tensor, int]] = [
        ("example:fashion", Data(fashion[0].images[:], fashion[0].labels), fashion[1].images[:], 5),
        ("efficientnet_lite0", Data(crops[:PHOTOS], torch.arange(PHOTOS) % 4), crops[PHOTOS:], 1),
    ]
    rows = []
    for name, fit, images, rounds in cases:
        classifier, every = xai.load(name), torch.cat([fit.images, images])
        runs: dict[str, Callable[[], Any]] = {
            str(batch): lambda batch=batch, c=classifier, e=every: plain_pass(c, e, batch) for batch in BATCHES[name]
        }
        runs["ours"] = lambda c=classifier, f=fit, i=images: all_detectors(c, f, i)
        found = medians(runs, rounds=rounds, warm=0)
        plain, ours = min(found[str(batch)] for batch in BATCHES[name]), found["ours"]
        count = f"{len(fit.images)} + {len(images)}"
        rows.append((name, count, f"{plain:.2f} s", f"{ours:.2f} s", f"{ours / plain:.2f} x (bar 1.15)"))
    table("All detectors but odin, fitted and scored, beside one plain forward pass over the same images", rows)


def mahalanobis() -> None:
    """Print the time of scoring at ImageNet's size against OpenOOD's formula, and how far they are apart."""
    source = torch.Generator().manual_seed(0)
    spread = torch.randn(WIDTH, WIDTH, generator=source, dtype=torch.float64) / WIDTH**0.5
    covariance = spread @ spread.T + torch.eye(WIDTH, dtype=torch.float64)
    means = torch.randn(CLASSES, WIDTH, generator=source, dtype=torch.float64)
    features = torch.randn(ROWS, WIDTH, generator=source)
    made = fit_gaussian(covariance, 10 * WIDTH, 0.0)
    state = {"origin": means.mean(0), "factor": made.factor, "centres": whiten(made.factor, means - means.mean(0))}
    view = ModelView(LinearHead("head", torch.zeros(CLASSES, WIDTH), torch.zeros(CLASSES)))
    rows = FeatureRows(view, torch.zeros(ROWS, CLASSES, dtype=torch.float64), features)
    precision, centres = torch.linalg.inv(covariance).float(), means.float()

    def theirs() -> Tensor:
        """One class after the other, and only the diagonal of the product is used."""
        scores = [((features - centre) @ precision @ (features - centre).T).diag() for centre in centres]
        return torch.stack(scores, 1).amin(1)

    detector = DETECTORS["mahalanobis"]()
    began = time.perf_counter()
    wanted = theirs()
    peer = time.perf_counter() - began
    ours = medians({"ours": lambda: detector._parts(state, rows)}, rounds=9)["ours"]
    apart = float((detector._parts(state, rows)["nearest class"] - wanted).abs().max() / wanted.abs().max())
    ratio = f"{peer / ours:.0f} x faster (bar 20)"
    size = f"{ROWS} rows, {CLASSES} classes, {WIDTH} features"
    table("Mahalanobis scores", [(size, f"{peer:.2f} s", f"{ours:.3f} s", ratio, f"{apart:.0e} apart")])


def neighbours() -> None:
    """Print the time of the k-th neighbour against scikit-learn's brute force, and the memory at once."""
    source = torch.Generator().manual_seed(0)
    bank = to_unit(torch.randn(BANK, FEATURES, generator=source))
    asked = to_unit(torch.randn(ASKED, FEATURES, generator=source))
    peer = NearestNeighbors(n_neighbors=NEIGHBOUR, algorithm="brute").fit(bank.numpy())

    def ours() -> Tensor:
        places = most_similar(asked, bank, NEIGHBOUR)
        return distances(asked, bank, places[:, -1:])[:, 0]

    found = medians({"theirs": lambda: peer.kneighbors(asked.numpy()), "ours": ours}, rounds=5, warm=1)
    apart = float((ours() - torch.from_numpy(peer.kneighbors(asked.numpy())[0][:, -1])).abs().max())
    whole = 4 * BANK * ASKED >> 20
    size = f"{ASKED} rows against {BANK} x {FEATURES}, k = {NEIGHBOUR}"
    ratio = f"{found['theirs'] / found['ours']:.1f} x faster"
    memory = f"64 MB at once (whole matrix {whole} MB)"
    table(
        "Neighbours",
        [(size, f"{found['theirs']:.2f} s", f"{found['ours']:.2f} s", ratio, f"{apart:.0e} apart", memory)],
    )


def run() -> None:
    """Print all tables."""
    passes()
    mahalanobis()
    neighbours()
