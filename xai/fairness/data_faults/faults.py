"""`data_faults`: images that occur twice, labels that are probably wrong, broken images, unequal classes."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from xai.core.images.border import open_data
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.features import Outputs
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.core.validation import check_seed
from xai.errors import NameLookupError
from xai.fairness.data_faults.checks import CHECKS, Findings
from xai.fairness.data_faults.label_errors import SmallImages, counted, images_of, read_small, side_of
from xai.fairness.data_faults.result import DataFaults


def data_faults(
    model: Classifier | nn.Module | None,
    data: Any,
    train: Any = None,
    *,
    labels: Any = None,
    checks: Sequence[str] | None = None,
    seed: int = 0,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> DataFaults:
    """Look for faults of a data set and say what each does to the accuracy of a classifier.

    Args:
        model: gives features and answers; None looks for duplicates, broken images and imbalance alone.
        data: the images that the accuracy is measured on: a data set, or images in any form.
        train: those that the model learnt from; what is in both is a leak. None leaves that out.
        labels: the truth of `data` (N,), indices or names; None takes the data's own.
        checks: some of "broken", "duplicates", "labels", "imbalance"; None takes all.
        seed: of the folds that labels are checked in, and of the resamples.
        progress: None, True for a bar, or a callable `(done, total)` in images.
        should_stop: asked between images and blocks; True ends the work with `xai.errors.Stopped`.

    Returns:
        DataFaults. Its label suspects are to be looked at: a model that is wrong and a label that is wrong look alike,
        and the effect of leaving suspects out is the most that wrong labels can explain.

    Copies are found after JPEG, resizing, blur, mirroring, turns by 90 degrees, another contrast, brightness, tint or
    in grey (but for some with clipped or bent brightness); after shifts of up to 15 % of the side, crops of 95 %, turns
    by 3 to 5 degrees: 14 to 16 of 16 photographs, 29 to 38 of 40 clothes of 28 pixels among 700 that look alike. Not
    found: crops to less than 85 %, larger turns, some turned ones with filled corners, parts that were painted over,
    and copies that differ no less than other images of the set do.

    Raises:
        InputError: no image, or labels that do not fit.
        NameLookupError: no such check.
        Stopped: `should_stop()` was true.

    Cost: one pass over all images, one of the model over `data`; comparing N images takes about 6,000 N^2
        operations, and laying pairs over each other about a millisecond per image (20,000 images: a minute on a core).

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(150)
        >>> faults = xai.data_faults(clf, data)
        >>> all("image" in str(fault) or "label" in str(fault) for fault in faults.findings)
        True
    """
    chosen, seed = _checks(checks), check_seed(seed)
    data, train = open_data(data), None if train is None else open_data(train)
    classifier = None if model is None else as_classifier(model)
    images = _count(data) + _count(train)
    total = images + (0 if classifier is None else _count(data))
    side = side_of(data)
    with reporting(progress, "faults") as report:
        own = read_small(data, "data", side, counted(report, 0, total), should_stop)
        rest = counted(report, _count(data), total)
        other = None if train is None else read_small(train, "train", side, rest, should_stop)
        outputs = _outputs(classifier, data, own, counted(report, images, total), should_stop)
    findings = Findings.of(classifier, data, labels, train, (own, other), outputs, seed)
    names = tuple(str(getattr(source, "name", "images")) for source in (data, train) if source is not None)
    return findings.result(names, chosen, should_stop)


def _checks(checks: Sequence[str] | None) -> tuple[str, ...]:
    chosen = CHECKS if checks is None else (checks,) if isinstance(checks, str) else tuple(checks)
    for check in chosen:
        if check not in CHECKS:
            raise NameLookupError("check of the data", check, CHECKS)
    return chosen


def _count(data: Any) -> int:
    return 0 if data is None else len(images_of(data))


def _outputs(
    classifier: Classifier | None, data: Any, own: SmallImages, report: Progress | None, should_stop: ShouldStop | None
) -> Outputs | None:
    """Return what the model answers on the images that can be read."""
    if classifier is None or len(own.readable) == 0:
        return None
    whole = hasattr(data, "images") and hasattr(data, "take")
    usable = data.take(own.readable) if whole else [images_of(data)[int(row)] for row in own.readable]
    return classifier.outputs(usable, progress=report, should_stop=should_stop)
