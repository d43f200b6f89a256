"""The truth of a data set in the order of a model's classes."""

from typing import Any

from torch import Tensor

from xai.core.classifier import Classifier
from xai.core.labels import check_labels
from xai.errors import InputError


def truth_of(classifier: Classifier, data: Any, labels: Any, count: int) -> tuple[Tensor, list[str]]:
    """Return the truth (N,) in the model's order, and what was done about it.

    Raises:
        InputError: there is none.
    """
    if labels is not None:
        return check_labels(classifier, labels, count), []
    own, classes = getattr(data, "labels", None), tuple(getattr(data, "classes", ()))
    if own is None:
        raise InputError("Expected `labels`, the truth for each picture, but got None. Pass one class per picture.")
    if classes != classifier.labels and sorted(classes) == sorted(classifier.labels):
        named = [classes[int(label)] for label in own]
        return check_labels(classifier, named, count), ["labels were matched to the model's classes by name"]
    return check_labels(classifier, own, count), []
