"""Grad-CAM of one image against a plain forward, captum and pytorch-grad-cam."""

import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import Tensor, nn

import xai
from benchmarks.timing import medians, table


def captum_map(module: nn.Module, layer: str, images: Tensor, target: int) -> Tensor:
    """Return captum's map (1, 1, H, W) with ReLU, bilinear."""
    found = LayerGradCam(module, module.get_submodule(layer)).attribute(images, target=target, relu_attributions=True)
    return LayerAttribution.interpolate(found, tuple(images.shape[2:]), "bilinear").detach()


def gradcam_library_map(module: nn.Module, layer: str, images: Tensor, target: int) -> np.ndarray:
    """Return pytorch-grad-cam's map (1, H, W), rescaled to [0, 1] by that library."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(model=module, target_layers=[module.get_submodule(layer)]) as cam:
        return cam(input_tensor=images, targets=[ClassifierOutputTarget(target)])


def run() -> None:
    """Print the ratios and the equality error."""
    classifier = xai.load("efficientnet_lite0")
    image = classifier.prepare(xai.sample_photos()[0].path).inputs
    normalised, module = classifier.normalise(image), classifier.module
    module.eval()
    ours = xai.explain(classifier, image)
    layer, target = str(ours.layer), int(ours.targets[0])
    error = float((captum_map(module, layer, normalised, target) - ours.attribution).abs().max())

    def plain() -> None:
        with torch.no_grad():
            module(normalised)

    times = medians(
        {
            "plain forward": plain,
            "xai": lambda: xai.explain(classifier, image),
            "captum": lambda: captum_map(module, layer, normalised, target),
            "pytorch-grad-cam": lambda: gradcam_library_map(module, layer, normalised, target),
        }
    )
    rows = [
        (name, f"{seconds * 1000:7.1f} ms", f"{seconds / times['plain forward']:.2f} x")
        for name, seconds in times.items()
    ]
    table("Grad-CAM of one 224 px image, EfficientNet-Lite0 (at most 1.40 x a plain forward)", rows)
    print(f"  largest difference to captum: {error:.1e} (map up to {float(ours.attribution.max()):.3f})")
