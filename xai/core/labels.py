"""The truth, as a caller gives it."""

from typing import Any

import torch
from torch import Tensor

from xai.core.classifier import Classifier
from xai.core.door import open_data
from xai.core.targets import refuse_table
from xai.errors import InputError, ShapeError, TargetError


def check_labels(classifier: Classifier, labels: Any, count: int) -> Tensor:
    """Return the truth (N,) int64: indices or names of classes, one per picture.

    Raises:
        ShapeError: another number of labels than of pictures.
        TargetError: no such class, or one-hot or multi-hot rows.
    """
    listed = labels.tolist() if hasattr(labels, "tolist") else labels
    listed = (
        [listed] if isinstance(listed, int | str) else [getattr(one, "tolist", lambda one=one: one)() for one in listed]
    )
    refuse_table(listed, "labels")
    if len(listed) != count:
        raise ShapeError(f"Expected one label per picture, {count}, but got {len(listed)}. Give (N,) labels.")
    numbers = [label for label in listed if isinstance(label, int)]
    if len(set(numbers)) > 1 and min(numbers) >= 1 and max(numbers) == classifier.num_classes:
        raise TargetError(
            f"Expected class numbers from 0 to {max(numbers) - 1}, but got {min(numbers)} to {max(numbers)}. "
            "Subtract 1 if they start at 1."
        )
    return torch.tensor([classifier.find_target(label) for label in listed], dtype=torch.int64)


def _plain(label: Any) -> Any:
    return label.tolist() if hasattr(label, "tolist") else label


def labels_of(classifier: Classifier, data: Any, labels: Any, count: int) -> tuple[Tensor, tuple[str, ...]]:
    """Return the truth (N,) int64 of a data set, and what was done about it.

    Args:
        classifier: whose classes are meant.
        data: a data set, or anything else.
        labels: the truth, indices or names; None takes the data's, by class name where its classes have another order.
        count: N.

    Raises:
        InputError: there is none.
        ShapeError: another number of labels than of pictures.
        TargetError: no such class.
    """
    if labels is not None:
        return check_labels(classifier, labels, count), ()
    data = data if hasattr(data, "labels") else open_data(data)
    own, classes = getattr(data, "labels", None), tuple(getattr(data, "classes", ()))
    if own is None:
        raise InputError("Expected `labels`, the truth for each picture, but got None. Pass one class per picture.")
    if classes != classifier.labels and sorted(classes) == sorted(classifier.labels):
        named = [classes[int(label)] for label in own]
        return check_labels(classifier, named, count), ("labels were matched to the model's classes by name",)
    return check_labels(classifier, own, count), ()
