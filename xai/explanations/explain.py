"""`xai.explain` and `xai.layers`: maps of one method, and the layers that CAM methods can use."""

from dataclasses import fields
from typing import Any

import torch
from torch import nn

from xai.core.images.inputs import ImageLike, read_images
from xai.core.layers.selection import spatial_layers, spread_layers
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.objective import Target
from xai.core.runtime.batching import Progress, ShouldStop
from xai.core.validation import check_whole
from xai.errors import NameLookupError
from xai.explanations.explanation import Explanation
from xai.explanations.methods.base import EXPLAINERS


def explain(
    model: Classifier | nn.Module,
    image: ImageLike,
    method: str = "gradcam",
    target: Target = None,
    seed: int = 0,
    *,
    versus: Target = None,
    score: str = "logit",
    bits: int | None = None,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
    **settings: Any,
) -> Explanation:
    """Say why a classifier answers as it does.

    Args:
        model: from `xai.load`, an `xai.Classifier`, or a bare `nn.Module` that takes pixels in [0, 1].
        image: a path, PIL.Image, array (H, W), (H, W, C) or (N, H, W, C) in uint8 or in [0, 1], tensor (C, H, W) or
            (N, C, H, W) in [0, 1], or a list of single ones. Never normalised. C is the number of bands.
        method: a name from `xai.methods()`.
        target: class index or name, or None for the predicted class. A list means one per image, or, for one image,
            several maps from one sweep where the method can.
        versus: a class, or one per map: why `target` rather than this one. What is explained is the difference.
        score: "logit", "probability" (saturates where the confidence is high) or "margin" (against the best other
            class).
        seed: fixes everything random, per image.
        bits: how many bits of 16-bit samples are used, such as 12; None takes what the file says, or all 16.
        progress: None, True for a bar, or a callable `(done, total)`, in images or in hundredths of them.
        should_stop: asked between chunks; True ends the work with `xai.errors.Stopped`.
        settings: of the method; a wrong name suggests near ones.

    Returns:
        Explanation; `.heatmap` is (H, W) in the original image's pixels, raw and signed.

    Raises:
        InputError: an image, target or setting that cannot be used.
        NameLookupError: no such method, setting or layer.
        UnsupportedModelError: the model cannot be explained this way.
        NonFiniteError: the model answered NaN or infinity.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(1)
        >>> xai.explain(clf, data.images[0], "occlusion", target="Shirt", versus="Coat").heatmap.shape
        (28, 28)
    """
    explainer = EXPLAINERS[method]
    known = [f.name for f in fields(explainer)]  # type: ignore[arg-type]  # every method is a dataclass
    for name in settings:
        if name not in known:
            raise NameLookupError(f"setting of {method}", name, known)
    image = image if bits is None else read_images(image, bits)
    return explainer(**settings).explain(
        model, image, target, versus=versus, score=score, seed=seed, progress=progress, should_stop=should_stop
    )


def layers(model: Classifier | nn.Module, size: tuple[int, int] | None = None, *, most: int | None = None) -> list[str]:
    """Return the names of the layers that CAM methods can look at, first to last.

    Args:
        model: a classifier or a bare module.
        size: (height, width) of the input; None takes the classifier's `input_size`, or 224 x 224.
        most: only so many, spread over the network: the last of each size of map, then some between. None for all.

    Raises:
        RangeError: `most` below 1.
        UnsupportedModelError: the model is no classifier of images.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> len(xai.layers(clf)) > 1
        True
    """
    classifier = as_classifier(model)
    blank = torch.full((1, classifier.channels, *(size or classifier.input_size or (224, 224))), 0.5)
    if most is None:
        return spatial_layers(classifier, blank)
    check_whole("most", most, cure="None takes all layers.")
    return spread_layers(classifier, blank, most)
