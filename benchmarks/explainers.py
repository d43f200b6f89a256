"""LIME against lime, Score-CAM against pytorch-grad-cam, integrated gradients in bounded memory."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lime import lime_image
from torch import Tensor, nn

import xai
from benchmarks.occlusion import network
from benchmarks.timing import table
from xai.explanations.methods.lime import fit_masks

SAMPLES = 1000


def seconds(run: Callable[[], object]) -> float:
    """Return how long one call takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def lime_run(classifier: xai.Classifier, image: Tensor, labels: np.ndarray, samples: int) -> tuple[Any, Any, Any]:
    """Run the library lime with its defaults on our regions; return its result, masks and scores."""
    explainer, kept = lime_image.LimeImageExplainer(random_state=0), {}
    inner = explainer.base.explain_instance_with_data

    def ask(pixels: np.ndarray) -> np.ndarray:
        rows = torch.from_numpy(np.asarray(pixels, dtype=np.float32)).permute(0, 3, 1, 2)
        with torch.no_grad():
            return classifier.module(classifier.normalise(rows)).softmax(1).double().numpy()

    def keep(data: np.ndarray, scores: np.ndarray, *rest: Any, **settings: Any) -> Any:
        kept.update(data=data, scores=scores)
        return inner(data, scores, *rest, **settings)

    explainer.base.explain_instance_with_data = keep
    found = explainer.explain_instance(
        image[0].permute(1, 2, 0).double().numpy(),
        ask,
        top_labels=1,
        num_samples=samples,
        segmentation_fn=lambda _pixels: labels,
    )
    return found, kept["data"], kept["scores"]


def lime_rows(classifier: xai.Classifier, image: Tensor) -> list[tuple[str, ...]]:
    """Time LIME with the same regions and as many samples; compare coefficients of the same masks."""
    settings = {"samples": SAMPLES, "stop": False, "like": "lime"}
    first = xai.explain(classifier, image, "lime", **(settings | {"samples": 40}))
    labels = first.details[0]["segments"].numpy()
    settings["segments"] = labels
    rows, times = [], []
    for fast in (False, True):
        ours = [seconds(lambda f=fast: xai.explain(classifier, image, "lime", fast=f, **settings)) for _ in range(3)]
        times.append(sorted(ours)[1])
    kept: list[Any] = []
    theirs = seconds(lambda: kept.append(lime_run(classifier, image, labels, SAMPLES)))
    found, masks, scores = kept[0]
    label = found.top_labels[0]
    fit = fit_masks(torch.from_numpy(masks).bool(), torch.from_numpy(scores[:, [label]]), 0.25, 1.0)
    wanted = dict(found.local_exp[label])
    error = max(abs(float(fit.coefficients[k, 0]) - wanted[k]) for k in wanted)
    rows.append(
        ("xai lime", f"{times[0]:.1f} s", f"{theirs / times[0]:.1f} x faster (bar 1.8)", f"differs by {error:.0e}")
    )
    rows.append(("xai lime fast", f"{times[1]:.1f} s", f"{theirs / times[1]:.1f} x faster (bar 3.5)", ""))
    rows.append(("lime", f"{theirs:.1f} s", "", f"{labels.max() + 1} regions"))
    return rows


def scorecam_rows(classifier: xai.Classifier, image: Tensor, name: str) -> list[tuple[str, ...]]:
    """Time Score-CAM on the same layer; compare after that library's own rescaling, where activations have no sign."""
    from pytorch_grad_cam import ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    warm = xai.explain(classifier, image)
    target, layer = int(warm.targets[0]), str(warm.layer)
    xai.explain(classifier, image, "occlusion", window=112, stride=112)  # prepare once
    kept: list[Any] = []
    ours = seconds(lambda: kept.append(xai.explain(classifier, image, "scorecam")))
    normalised = classifier.normalise(image)

    def theirs() -> None:
        module = classifier.module.eval()
        with ScoreCAM(model=module, target_layers=[module.get_submodule(layer)]) as cam:
            kept.append(cam(input_tensor=normalised, targets=[ClassifierOutputTarget(target)])[0])

    peer = seconds(theirs)
    mine = kept[0].attribution[0, 0]
    mine = (mine - mine.min()) / (mine.max() - mine.min())
    same = "its map is constant before the ReLU"
    if np.ptp(kept[1]) > 0:
        same = f"differs by {float(np.abs(mine.numpy() - kept[1]).max()):.0e} of the largest"
    return [
        (f"xai scorecam, {name}", f"{ours:.1f} s", f"{peer / ours:.1f} x faster (bar 3)", ""),
        ("pytorch-grad-cam", f"{peer:.1f} s", "", same),
    ]


class Rows(nn.Module):
    """Counts the largest number of rows in one forward."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.most = module, 0

    def forward(self, images: Tensor) -> Tensor:
        """Count and go on."""
        self.most = max(self.most, len(images))
        return self.module(images)


def gradients_row() -> list[tuple[str, ...]]:
    """Count the rows of integrated gradients with 200 steps on 32 images."""
    classifier = xai.load("example:fashion")
    classifier.module = counter = Rows(classifier.module)
    data = xai.load_data("example:fashion-test")
    images = [data.images[k] for k in range(32)]
    taken = seconds(lambda: xai.explain(classifier, images, "integrated_gradients", steps=200))
    return [("integrated gradients", f"{taken:.1f} s", f"{counter.most} rows at most in one forward", "captum: 6400")]


def run() -> None:
    """Print the ratios."""
    classifier = xai.load("efficientnet_lite0")
    image = classifier.prepare(xai.sample_photos()[0].path).inputs
    table(f"LIME, {SAMPLES} samples, EfficientNet-Lite0, 224 px, same regions", lime_rows(classifier, image))
    mobile = network("mobilenet_v2", 224)
    rows = scorecam_rows(classifier, image, "EfficientNet-Lite0") + scorecam_rows(mobile, image, "MobileNetV2")
    table("Score-CAM, 224 px, same layer", rows)
    table("Integrated gradients, 200 steps, 32 images", gradients_row())
