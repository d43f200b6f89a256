"""Make the image of every method for its page: `python scripts/make_method_figures.py [KIND ...]`.

Explanations look at a photograph, attacks and proofs at Fashion-MNIST, detectors at clothes and digits. About five
minutes on two cores.
"""

import sys
from typing import Any

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from make_figures import IMAGES, shrink

import xai

METHODS = IMAGES / "methods"
FEW = {
    "lime": {"samples": 400, "regions": 30},
    "kernelshap": {"samples": 400, "regions": 30},
    "rise": {"samples": 600},
    "gradient_shap": {"samples": 24},
    "integrated_gradients": {"steps": 25},
    "smoothgrad": {"samples": 15},
    "scorecam": {"layer": "_blocks.10"},
    "square": {"queries": 1000},
}
NO_IMAGE = ("attention_rollout",)  # it needs a transformer, and none ships with xai
RADII = np.array([0.03125, 0.0625, 0.125, 0.25, 0.5, 1, 2, 4]) / 255


def main(kinds: list[str]) -> None:
    """Make the images of all kinds, or of those named."""
    METHODS.mkdir(parents=True, exist_ok=True)
    makers = {
        "explanation": explanations,
        "attack": attacks,
        "bound": bounds,
        "detector": detectors,
        "corruption": corruptions,
    }
    for kind, make in makers.items():
        if not kinds or kind in kinds:
            make()


def keep(figure: Any, name: str) -> None:
    """Write a figure, small."""
    kind, dash, rest = name.partition("-")
    path = METHODS / f"{kind}{dash}{rest.replace('++', '_plus_plus').replace('-', '_')}.png"
    figure.savefig(path, dpi=80)
    plt.close(figure)
    shrink(path)
    print(path, flush=True)


def explanations() -> None:
    """Explain the cup of coffee by each method."""
    classifier = xai.load("efficientnet_lite0")
    photo = next(photo.path for photo in xai.sample_photos() if photo.name == "coffee")
    for method in xai.methods():
        if method.name not in NO_IMAGE:
            found = xai.explain(classifier, photo, method.name, **FEW.get(method.name, {}))
            keep(found.plot(), f"explanation-{method.name}")


def attacks() -> None:
    """Attack four images of clothes by each method."""
    classifier = xai.load("example:fashion")
    data = xai.load_data("example:fashion-test").part("test").subset(12, seed=1)
    for method in xai.methods(kind="attack"):
        norm = "linf" if "linf" in method.norms or not method.norms else method.norms[0]
        norm = "l2" if method.name in {"cw", "ddn"} else norm
        found = xai.attack(classifier, data.images[:], data.labels, method.name, norm=norm, **FEW.get(method.name, {}))
        keep(_attacked(found, data.class_names), f"attack-{method.name}")


def _attacked(found: Any, classes: Any) -> Any:
    order = np.argsort(~found.success.numpy(), kind="stable")[:5]
    figure, axes = plt.subplots(3, len(order), figsize=(8.4, 5), layout="constrained")
    for column, k in enumerate(order):
        clean, changed = found.clean[k, 0].numpy(), found.adversarial[k, 0].numpy()
        _image(axes[0, column], clean, classes[found.clean_predictions[k]])
        fooled = "fooled: " if found.success[k] else "not fooled: "
        _image(axes[1, column], changed, fooled + classes[found.predictions[k]])
        reach = max(float(np.abs(changed - clean).max()), 1e-9)
        axes[2, column].imshow(changed - clean, cmap="RdBu_r", vmin=-reach, vmax=reach)
        axes[2, column].set_title(f"{found.norm} {found.distance[k] * 255:.1f}/255", fontsize=8)
        axes[2, column].axis("off")
    return figure


def _image(axis: Any, pixels: Any, title: str) -> None:
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=1)
    axis.set_title(title, fontsize=8)
    axis.axis("off")


def bounds() -> None:
    """Draw what each way of proving verifies of twenty images, over the radius."""
    robust = xai.load("example:fashion-robust")
    data = xai.load_data("example:fashion-test").part("test").subset(20, seed=0)
    shares = {
        method: [
            xai.certify(robust, data.images[:], data.labels, eps=eps, method=method).certified_accuracy for eps in RADII
        ]
        for method in ("ibp", "crown_ibp", "crown")
    }
    for method in shares:
        figure, axis = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
        for other, share in shares.items():
            strong = other == method
            axis.plot(RADII * 255, share, "o-", lw=2.5 if strong else 1, alpha=1 if strong else 0.4, label=other)
        axis.set(xlabel="radius, l-inf, of 255", ylabel="verified", ylim=(-0.02, 1.02), xscale="log")
        axis.set_xticks(RADII * 255, [f"{radius * 255:.3g}" for radius in RADII])
        axis.minorticks_off()
        axis.set_title(f"{method}: example:fashion-robust, 20 images", fontsize=9)
        axis.legend(fontsize=8)
        keep(figure, f"bound-{method}")
    keep(_smoothed(robust, data), "bound-smoothing")


def _smoothed(robust: Any, data: Any) -> Any:
    figure, axis = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    for sigma in (0.12, 0.25):
        settings = {"norm": "l2", "method": "smoothing", "sigma": sigma, "samples": 400}
        margins = xai.certify(robust, data.images[:], data.labels, eps=0.0, **settings).margin.numpy()
        radii = np.linspace(0, 0.6, 61)
        axis.plot(radii, [(margins >= radius).mean() for radius in radii], label=f"sigma {sigma}")
    axis.set(xlabel="radius, l2, pixels in [0, 1]", ylabel="certified", ylim=(-0.02, 1.02))
    axis.set_title("smoothing: example:fashion-robust, 20 images, 400 samples each", fontsize=9)
    axis.legend(fontsize=8)
    return figure


def detectors() -> None:
    """Draw the scores of clothes and of digits by each method."""
    classifier = xai.load("example:fashion")
    held = xai.load_data("example:fashion-test")
    inside, outside = held.part("test").subset(600, seed=0), xai.load_data("example:digits").subset(600, seed=0)
    fit, calibration = (
        xai.load_data("example:fashion-train").subset(3000, seed=0),
        held.part("calibration").subset(1000),
    )
    for method in xai.methods(kind="detector"):
        detector = xai.fit_ood(classifier, fit, calibration, method=method.name)
        scores = [detector.score(data.images[:]).numpy() for data in (inside, outside)]
        low, high = np.quantile(np.concatenate(scores), [0.005, 0.995])
        figure, axis = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
        bins = np.linspace(low, high, 50)
        axis.hist(scores[0].clip(low, high), bins, alpha=0.6, label="clothes, 600")
        axis.hist(scores[1].clip(low, high), bins, alpha=0.6, hatch="///", label="digits, 600")
        axis.axvline(float(detector.threshold(0.05)), color="black", lw=1, label="rejects 5 of 100 ordinary ones")
        axis.set(xlabel=f"{method.name}: score, higher is more out of distribution", ylabel="images")
        axis.legend(fontsize=8)
        keep(figure, f"detector-{method.name}")


def corruptions() -> None:
    """Show every corruption of one photograph."""
    photo = next(photo.path for photo in xai.sample_photos() if photo.name == "chelsea")
    names = [method.name for method in xai.methods(kind="corruption")]
    rows = -(-len(names) // 6)
    figure, axes = plt.subplots(rows, 6, figsize=(11, 1.75 * rows), layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis, name in zip(axes.flat, names, strict=False):
        changed = xai.corrupt(str(photo), name, severity=3, seed=0)
        pixels = np.asarray(changed).squeeze()
        axis.imshow(np.moveaxis(pixels, 0, -1) if pixels.shape[0] == 3 else pixels)
        axis.set_title(name.replace("_", " "), fontsize=8)
    keep(figure, "corruptions")


if __name__ == "__main__":
    main(sys.argv[1:])
