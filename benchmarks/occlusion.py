"""Occlusion sensitivity (16 px windows, stride 8) against captum's best of 1, 16 and 64 windows per forward."""

import time
from typing import Any

import torch
from captum.attr import Occlusion
from torch import Tensor, nn
from torchvision import models

import xai

WINDOW, STRIDE = 16, 8
CASES = (
    ("efficientnet_lite0", 224, 5.0),
    ("mobilenet_v2", 224, 5.0),
    ("vgg16", 224, 4.0),
    ("resnet50", 224, 2.5),
    ("resnet50", 448, 4.0),
)


def network(name: str, side: int) -> xai.Classifier:
    """Return a network with its weights, or with random ones that keep the size of the signal."""
    if name == "efficientnet_lite0":
        return xai.load(name)
    torch.manual_seed(0)
    module = getattr(models, name)().eval()
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_in", nonlinearity="relu")
    return xai.Classifier(module, input_size=(side, side), mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


def share_of_captum(classifier: xai.Classifier, image: Tensor, per_forward: int, target: int) -> float:
    """Return the seconds captum needs for all windows, measured on a strip of the image and scaled to all."""
    side = image.shape[2]
    down = (side - WINDOW) // STRIDE + 1
    rows = -(-2 * per_forward // down)  # at least two full forwards
    strip = torch.zeros_like(image[:, :, : WINDOW + (rows - 1) * STRIDE])

    class Strip(nn.Module):
        """The network on the whole image, of which captum sees a strip: the same forwards, fewer of them."""

        def forward(self, strips: Tensor) -> Tensor:
            full = image.expand(len(strips), -1, -1, -1).clone()
            full[:, :, : strip.shape[2]] = strips
            return classifier.module(full)

    began = time.perf_counter()
    with torch.no_grad():
        Occlusion(Strip()).attribute(
            image[:, :, : strip.shape[2]],
            (3, WINDOW, WINDOW),
            strides=(3, STRIDE, STRIDE),
            target=target,
            perturbations_per_eval=per_forward,
        )
    return (time.perf_counter() - began) * down / rows


def difference(classifier: xai.Classifier, image: Tensor, found: xai.Explanation) -> float:
    """Return the largest difference of 12 windows to the plain, unprepared computation, as a share of the largest."""
    grid = found.coarse[0]
    places = torch.linspace(0, grid.numel() - 1, 12).long()
    copies = image.repeat(12, 1, 1, 1)
    for k, place in enumerate(places.tolist()):
        row, column = place // grid.shape[1] * STRIDE, place % grid.shape[1] * STRIDE
        copies[k, :, row : row + WINDOW, column : column + WINDOW] = 0
    logits = classifier.logits(torch.cat([image, copies]))[:, int(found.targets[0])].detach()
    return float((logits[0] - logits[1:] - grid.flatten()[places]).abs().max() / grid.abs().max())


def fast_row(classifier: xai.Classifier, image: Tensor, exact: xai.Explanation, ours: float, settings: Any) -> str:
    """Say how much faster `fast=True` is than the exact sweep, and how alike the maps are."""
    began = time.perf_counter()
    found = xai.explain(classifier, image, "occlusion", fast=True, **settings)
    gain = ours / (time.perf_counter() - began)
    alike = float(torch.corrcoef(torch.stack([found.coarse.flatten(), exact.coarse.flatten()]))[0, 1])
    said = "; ".join(note.removeprefix("fast: ") for note in found.notes if note.startswith("fast"))
    return f"{gain:.1f} x more with fast (bar 1.5), correlation {alike:.3f} ({said})"


def run() -> None:
    """Print the ratios and the equality errors."""
    print("\nOcclusion, 16 px windows, stride 8, fp32; captum is timed on part of the windows and scaled")
    for name, side, bar in CASES:
        classifier = network(name, side)
        photo = xai.sample_photos()[0].path
        image = xai.Classifier(nn.Identity(), input_size=(side, side)).prepare(photo).inputs
        target = classifier.predict(image).index
        target = int(target if isinstance(target, int) else target[0])
        settings = {"window": WINDOW, "stride": STRIDE, "baseline": "zero", "target": target}
        xai.explain(classifier, image, "occlusion", **(settings | {"window": 112, "stride": 112}))  # prepare once
        began = time.perf_counter()
        found = xai.explain(classifier, image, "occlusion", **settings)
        ours = time.perf_counter() - began
        normalised = classifier.normalise(image)
        theirs = {n: share_of_captum(classifier, normalised, n, target) for n in (1, 16, 64)}
        best = min(theirs, key=lambda n: theirs[n])
        print(
            f"  {name:18} {side} px  xai {ours:6.1f} s  captum {theirs[best]:6.1f} s ({best:2} per forward)  "
            f"{theirs[best] / ours:5.1f} x (bar {bar})  differs by {difference(classifier, image, found):.0e}",
            flush=True,
        )
        print(f"  {'':18} {'':6}  {fast_row(classifier, image, found, ours, settings)}", flush=True)
