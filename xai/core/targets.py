"""Which class is explained: an index, a name, the predicted one, or one for each image."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xai.core.classifier import Classifier
from xai.errors import TargetError

Target = int | str | Sequence[int | str] | Tensor | None


def refuse_table(values: Any, what: str) -> None:
    """Raise when classes are given as a table, one-hot or multi-hot, where one class per image is meant.

    Raises:
        TargetError: they are; the message says which of the two.
    """
    if not isinstance(values, Sequence) or not values or not all(_is_row(value) for value in values):
        return
    flat = [list(row) for row in values]
    if all(len(row) == 1 for row in flat):
        cure = "a column (N, 1). Flatten it to (N,)"
    elif all(sum(value == 1 for value in row) == 1 and set(row) <= {0, 1} for row in flat):
        cure = "one-hot rows (N, K). Pass `labels.argmax(1)`"
    else:
        cure = "multi-hot rows (N, K), several classes per image. Ask about one class at a time: pass a column of it"
    raise TargetError(f"Expected one class per image in `{what}`, (N,), but got {cure}.")


def _is_row(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


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
    refuse_table(values, "target")
    if len(values) != count:
        raise TargetError(f"Expected one target, or one for each of {count} images, but got {len(values)}.")
    return torch.tensor([classifier.find_target(value) for value in values])
