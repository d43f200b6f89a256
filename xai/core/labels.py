"""The truth, as a caller gives it."""

from typing import Any

import torch
from torch import Tensor

from xai.core.classifier import Classifier
from xai.errors import ShapeError


def check_labels(classifier: Classifier, labels: Any, count: int) -> Tensor:
    """Return the truth (N,) int64: indices or names of classes, one per picture.

    Raises:
        ShapeError: another number of labels than of pictures.
        TargetError: no such class.
    """
    listed = labels.tolist() if hasattr(labels, "tolist") else labels
    listed = [listed] if isinstance(listed, int | str) else list(listed)
    if len(listed) != count:
        raise ShapeError(f"Expected one label per picture, {count}, but got {len(listed)}. Give (N,) labels.")
    return torch.tensor([classifier.find_target(label) for label in listed], dtype=torch.int64)
