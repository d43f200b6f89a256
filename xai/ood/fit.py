"""`fit_ood`: a detector fitted on some images and calibrated on others. When none is named, one is chosen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from xai.core.images.border import open_data
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.results.codec import versions
from xai.core.results.message import Message
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.core.validation import check_seed
from xai.errors import DataError, NameLookupError
from xai.ood.detector import OODDetector
from xai.ood.detectors.base import DETECTORS, Detector, Fitted
from xai.ood.detectors.passes import Scored, gather, score_images
from xai.ood.detectors.reference import Reference
from xai.ood.selection import SHIFTS, Choice, Shifted, by_kind, choose
from xai.ood.serialization import Neighbours, as_data, count_of, split_settings

AUTO = "auto"
_SHARE, _MOST, _LEAST = 3, 400, 20  # of the calibration images, one in three is tried on, 20 to 400
_NAMED = 3  # images named in an error
_BANK = frozenset({"bank"})


def fit_ood(
    model: Classifier | nn.Module,
    fit_data: Any,
    calibration_data: Any,
    method: str = AUTO,
    seed: int = 0,
    *,
    pool: bool | None = None,
    duplicates: str = "refuse",
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
    **settings: Any,
) -> OODDetector:
    """Fit a detector that rejects images unlike the in-distribution ones of a model.

    Args:
        model: a classifier or a bare module.
        fit_data: in-distribution images, usually those it was trained on; a data set, its path or name, or images.
            Labels are the classes, else what the model predicts.
        calibration_data: other in-distribution images, drawn as those to come will be, that neither the model nor the
            detector has seen. The guarantee rests on them.
        method: name of a detector, or "auto": tried on shifts of a third of the calibration images (at most 400),
            which then no longer calibrate; what these do not decide, published figures for this kind of network do.
        seed: fixes everything random.
        pool: whether statistics are made of the means of channels of a flattened map; None: above 2,048 features.
        duplicates: "refuse" raises when a calibration image is among the fit images (by the fingerprint of what the
            model sees), "drop" leaves such images out.
        progress: None, True for a bar, or a callable `(done, total)` in images.
        should_stop: asked between chunks; True ends the work with `xai.errors.Stopped`.
        settings: of the method; a wrong name suggests near ones.

    Returns:
        OODDetector: `.score(images)`, `.judge(images, alpha)`, `.explain(images)`, `.neighbours(images)`.

    Raises:
        DataError: no images, or calibration images that were fitted on.
        NameLookupError: no such method or setting.
        UnsupportedModelError: the model has no features and the method needs them.
        Stopped: `should_stop()` was true.

    Cost: one forward row per image, of "auto" five more for each tried; memory for at most 512 MB of features.

    Example:
        >>> import xai
        >>> clf, images = xai.load("example:fashion"), xai.load_data("example:fashion-test").images[:300]
        >>> xai.fit_ood(clf, images[:200], images[200:], method="msp").method
        'msp'
    """
    _check_duplicates(duplicates)
    classifier, seed, detectors = as_classifier(model), check_seed(seed), _detectors(method, settings)
    fit_data, calibration_data = as_data(fit_data, "the fit data"), as_data(calibration_data, "the calibration data")
    sizes = [count_of(fit_data), count_of(calibration_data)]
    shifts = len(SHIFTS) * _tried(sizes[1]) if method == AUTO else 0
    with reporting(progress, "fit_ood") as report:
        tell = _Stages(report, sum(sizes) + shifts)
        reads = frozenset().union(_BANK, *(detector.reads for detector in detectors))
        reference, fit_keys = gather(
            classifier, fit_data, reads, pool=pool, seed=seed, progress=tell.next(sizes[0]), should_stop=should_stop
        )
        usable = [detector for detector in detectors if method != AUTO or not detector.missing(reference.view)]
        fitted = [detector.fit(reference) for detector in usable]
        scored = score_images(
            classifier, fitted, calibration_data, progress=tell.next(sizes[1]), should_stop=should_stop
        )
        (rows, notes), choice = _without(scored.keys, fit_keys, duplicates), None
        job = _FitJob(classifier, reference, fitted, scored, rows, seed)
        if method == AUTO:
            choice, rows = job.choose(calibration_data, tell.next(shifts), should_stop)
    place = 0 if choice is None else [item.detector.label for item in fitted].index(choice.chosen)
    return job.result(place, rows, fit_keys, choice, notes)


def _check_duplicates(duplicates: str) -> None:
    if duplicates not in ("refuse", "drop"):
        raise NameLookupError("way to treat duplicates", duplicates, ("refuse", "drop"))


def candidates() -> list[Detector]:
    """Return the detectors that "auto" tries: all that read stored outputs, RMD also on normalised features."""
    cheap = [DETECTORS[name]() for name in DETECTORS if "gradients" not in DETECTORS[name].needs]
    return [*cheap, DETECTORS["rmd"](normalise=True)]  # type: ignore[call-arg]  # its own setting


def make_detector(method: str, settings: dict[str, Any]) -> Detector:
    """Return a detector by name.

    Raises:
        NameLookupError: no such method or setting; near ones are suggested.
    """
    split_settings(DETECTORS[method], method, settings, ())
    return DETECTORS[method](**settings)


def check_apart(keys: Tensor, others: Tensor, what: str, whose: str) -> None:
    """Raise when images are among others.

    Raises:
        DataError: some are; the first are named by number.
    """
    same = torch.isin(keys, others).nonzero()[:, 0].tolist()
    if same:
        named = ", ".join(map(str, same[:_NAMED])) + (", ..." if len(same) > _NAMED else "")
        raise DataError(
            f"{len(same)} of {len(keys)} {what} images are among the {whose} images (numbers {named}): scores of "
            f"images that were learned from promise nothing. Give others, or duplicates='drop'."
        )


def _detectors(method: str, settings: dict[str, Any]) -> list[Detector]:
    if method != AUTO:
        if method not in DETECTORS:
            raise NameLookupError("detector", method, [AUTO, *DETECTORS])
        return [make_detector(method, settings)]
    if settings:
        raise NameLookupError("setting of auto", next(iter(settings)), ())
    return candidates()


def _tried(count: int) -> int:
    """Return how many calibration images detectors are tried on; 0 when there are too few."""
    count_tried = min(_MOST, count // _SHARE)
    return count_tried if count_tried >= _LEAST else 0


def _without(keys: Tensor, fit_keys: Tensor, duplicates: str) -> tuple[Tensor, list[Message]]:
    """Return the numbers of calibration images that were not fitted on, and what was left out."""
    if duplicates == "refuse":
        check_apart(keys, fit_keys, "calibration", "fit")
    rows = (~torch.isin(keys, fit_keys)).nonzero()[:, 0]
    if not len(rows):
        raise DataError("All calibration images are among the fit images. Calibrate on others.")
    left, twice = len(keys) - len(rows), len(rows) - len(set(keys[rows].tolist()))
    notes = []
    if left:
        notes.append(Message("{count} calibration images are among the fit images and were left out", count=left))
    if twice:
        template = "{count} calibration images occur more than once: the interval of the guarantee is too narrow"
        notes.append(Message(template, count=twice))
    return rows, notes


class _Stages:
    """One progress for several passes."""

    def __init__(self, report: Progress | None, total: int) -> None:
        self.report, self.total, self.done = report, total, 0

    def next(self, count: int) -> Progress | None:
        """Return the progress of the next pass, of so many images."""
        begun, self.done = self.done, self.done + count
        return None if self.report is None else partial(_ahead, self.report, begun, self.total)


def _ahead(report: Callable[[int, int], None], begun: int, total: int, done: int, _all: int) -> None:
    report(begun + done, total)


@dataclass(frozen=True, eq=False)
class _FitJob:
    """What was fitted and scored."""

    classifier: Classifier
    reference: Reference
    fitted: Sequence[Fitted]
    scored: Scored
    calibration_rows: Tensor
    seed: int

    def choose(self, data: Any, progress: Progress | None, should_stop: ShouldStop | None) -> tuple[Choice, Tensor]:
        """Choose among the detectors; return also the calibration images that were not used for it."""
        labels = [item.detector.label for item in self.fitted]
        count = _tried(len(self.calibration_rows))
        if not count:
            return by_kind(self.classifier.module, labels), self.calibration_rows
        order = self.scored.keys[self.calibration_rows].sort(stable=True).indices
        tried, rest = self.calibration_rows[order[:count]], self.calibration_rows[order[count:].sort().values]
        inside = {label: scores[tried] for label, scores in zip(labels, self.scored.scores, strict=True)}
        images = open_data(data).images
        tell, outside = _Stages(progress, len(SHIFTS) * count), {}
        for shift in SHIFTS:
            shifted = Shifted(self.classifier, images, tried.tolist(), shift, self.seed)
            scored = score_images(
                self.classifier,
                self.fitted,
                shifted,
                keyed=False,
                progress=tell.next(count),
                should_stop=should_stop,
            )
            outside[shift] = dict(zip(labels, scored.scores, strict=True))
        return choose(self.classifier.module, inside, outside), rest

    def result(
        self, place: int, rows: Tensor, fit_keys: Tensor, choice: Choice | None, notes: Sequence[str]
    ) -> OODDetector:
        """Return the record."""
        classifier, chosen = self.classifier, self.fitted[place].to(torch.device("cpu"))
        bank = self.reference.bank
        reasons = [choice.reason] if choice is not None else []
        every = [*reasons, *classifier.notes, *self.reference.notes, *chosen.notes, *notes]
        return OODDetector(
            chosen,
            {name: values[rows] for name, values in self.scored.parts[place].items()},
            fit_keys,
            self.scored.keys[rows],
            None if bank is None else Neighbours.of(bank, self.seed),
            choice,
            self.seed,
            {
                "name": classifier.name,
                "fingerprint": classifier.fingerprint,
                "preprocessing": classifier.preprocessing,
            },
            versions(),
            tuple(dict.fromkeys(every)),
            classifier,
        )
