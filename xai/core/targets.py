"""Which class is explained: an index, a name, the predicted one, or one for each image."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xai.core.classifier import Classifier
from xai.errors import TargetError

Target = int | str | Sequence[int | str] | Tensor | None


def target_indices(classifier: Classifier, target: Target, count: int) -> Tensor | None:
    """Return one class index per image (N,) int64, or None for the predicted classes.

    Raises:
        TargetError: no such class, or another number of targets than images.
    """
    if target is None:
        return None
    if isinstance(target, str | int):
        return torch.full((count,), classifier.find_target(target))
    values: Any = target.tolist() if hasattr(target, "tolist") else target
    if not isinstance(values, Sequence):
        return torch.full((count,), classifier.find_target(values))
    if len(values) != count:
        raise TargetError(f"Expected one target, or one for each of {count} images, but got {len(values)}.")
    return torch.tensor([classifier.find_target(value) for value in values])
