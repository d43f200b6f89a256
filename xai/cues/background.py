"""Backgrounds of one class behind the objects of others; needs masks."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from xai.cues._base import Donated, Form, Pictures, Scene, cue
from xai.metrics.imputation import impute

_FEWEST = 8


@cue("background", "the background of pictures of one class behind the objects of others, where masks are given")
def background(scene: Scene) -> Iterator[Form]:
    """Yield one form for each class with enough backgrounds; the hole that the object leaves is filled in.

    Source: Xiao et al. 2020 (arXiv 2006.09994), Mixed-Same against Mixed-Rand: there the same comparison is the BG-gap.
    """
    if scene.pictures.masks is None:
        return
    grounds = _without_objects(scene.pictures, scene.pictures.masks)
    for label, name in enumerate(scene.names):
        own = scene.answered(label)
        rest = (scene.pictures.said != label).nonzero()[:, 0]
        if len(own) >= _FEWEST and len(rest) >= _FEWEST:
            words = f"backgrounds of {name!r}"
            donors, others = grounds.take(own), grounds.take(rest)
            yield Donated(
                "background", f"background, class {label}", "background", words, donors, others, None, target=label
            )


def _without_objects(pictures: Pictures, masks: Tensor) -> Pictures:
    filled = [impute(image[None], mask[None]) for image, mask in zip(pictures.images, masks, strict=True)]
    return replace(pictures, images=torch.cat(filled))
