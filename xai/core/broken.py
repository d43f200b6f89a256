"""A copy of a classifier that is wrong on purpose: what a gate must catch before anyone may trust it."""

import copy

import torch
from torch import Tensor, nn

from xai.core.classifier import Classifier
from xai.core.hooks import copied


def broken_copy(classifier: Classifier) -> Classifier:
    """Return a copy that answers the next class with the confidence of the right one; the original stays as it is.

    The rows of the last layer are moved by one class (with one output, its sign is turned), so that the copy is as
    sure as the original and wrong wherever that is right. Where the last layer has not one row per class, all weights
    are drawn anew by a fixed seed.

    Args:
        classifier: to copy.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(3)
        >>> broken = xai.broken_copy(clf)
        >>> clf.predict(data.images[:]).index.tolist() == broken.predict(data.images[:]).index.tolist()
        False
    """
    found = copy.copy(classifier)
    found.module = copied(classifier.module)
    found.name = f"{classifier.name} (broken on purpose)"
    last = _last_layer(found.module)
    with torch.no_grad():
        if last is not None and last.weight.shape[0] in {1, classifier.num_classes}:
            for weight in (last.weight, last.bias):
                if weight is not None:
                    weight.copy_(_moved(weight))
        else:
            _redraw(found.module)
    return found


def _last_layer(module: nn.Module) -> nn.Linear | nn.Conv2d | None:
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return layers[-1] if layers else None


def _moved(weight: Tensor) -> Tensor:
    return -weight if len(weight) == 1 else weight.roll(1, 0)


def _redraw(module: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for weight in module.parameters():
        if weight.is_floating_point():
            weight.copy_(0.05 * torch.randn(weight.shape, generator=generator))
