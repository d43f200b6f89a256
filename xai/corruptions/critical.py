"""Where between two severities does the answer become wrong? Found by halving."""

from collections.abc import Sequence
from math import ceil, log2

import torch
from torch import Tensor, nn

from xai.core.classifier import Classifier, as_classifier
from xai.core.hooks import borrowed
from xai.core.images import ImageLike
from xai.core.rows import Progress, ShouldStop, reporting
from xai.core.seeds import check_seed
from xai.core.targets import Target
from xai.corruptions._base import CORRUPTIONS, MOST
from xai.corruptions.apply import image_keys
from xai.corruptions.robustness import Reader, answer
from xai.errors import RangeError, Stopped


def critical_severities(
    model: Classifier | nn.Module,
    images: ImageLike,
    labels: Target,
    name: str,
    *,
    tolerance: float = 0.125,
    seed: int = 0,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Tensor:
    """Return for each picture a severity (N,) at which the answer is wrong while just below it is right.

    Whole severities are tried from 1 upwards until the answer is wrong, then the step below it is halved. 0: wrong on
    the clean picture; nan: right up to 5. Answers need not be monotone in severity; what is returned is the end of one
    interval of length `tolerance` over which the answer turns wrong, the first such as far as whole severities tell.

    Args:
        model: a classifier or a bare module.
        images: N pictures in any form.
        labels: the truth (N,), indices or names.
        name: of the corruption.
        tolerance: length of the last interval, above 0 to 1.
        seed: fixes everything random, per picture.
        progress: None, True for a bar, or a callable `(done, total)` in rounds.
        should_stop: asked before each round; True ends the work with `xai.errors.Stopped`.

    Raises:
        NameLookupError: no such corruption.
        RangeError: `tolerance` outside (0, 1].
        TargetError: a label that is no class.
        Stopped: `should_stop()` was true.

    Cost: at most 6 + log2(1 / tolerance) rows forward per picture.
    """
    classifier, seed = as_classifier(model), check_seed(seed)
    CORRUPTIONS[name]
    if not 0 < tolerance <= 1:
        raise RangeError(f"Expected `tolerance` above 0 and at most 1, but got {tolerance!r}. 0.125 is usual.")
    reader = Reader(classifier, images)
    truth, inputs = reader.targets(labels), reader.inputs(0, len(reader))
    keys, halvings = image_keys(inputs), ceil(log2(1 / tolerance))
    right, wrong = torch.full((len(truth),), -1.0), torch.full((len(truth),), torch.inf)
    with borrowed(classifier.module), torch.inference_mode(), reporting(progress, name) as report:
        limit = classifier.row_limit(inputs)
        for number in range(MOST + 1 + halvings):
            if should_stop is not None and should_stop():
                raise Stopped(f"Stopped after {number} of {MOST + 1 + halvings} rounds, as asked.")
            whole = number <= MOST
            tried = torch.full_like(right, float(number)) if whole else (right + wrong) / 2
            active = wrong.isinf() if whole else wrong.isfinite() & (wrong > 0)
            failed = _wrong(classifier, inputs, truth, name, tried, active, seed, keys, limit)
            wrong = torch.where(failed, tried, wrong)
            right = torch.where(active & ~failed, tried, right)
            if report is not None:
                report(number + 1, MOST + 1 + halvings)
    return torch.where(wrong.isinf(), torch.nan, wrong).clone()


def _wrong(
    classifier: Classifier,
    inputs: Tensor,
    truth: Tensor,
    name: str,
    severities: Tensor,
    active: Tensor,
    seed: int,
    keys: Sequence[bytes],
    limit: int,
) -> Tensor:
    """Return which active pictures are answered wrongly, each at its own severity (N,) bool."""
    found = torch.zeros_like(active)
    for severity in sorted(set(severities[active].tolist())):
        for places in (active & (severities == severity)).nonzero()[:, 0].split(limit):
            rows = inputs[places].to(classifier.device)
            answers = answer(classifier, rows, (name, severity), seed, [keys[k] for k in places.tolist()])
            found[places] = answers.cpu() != truth[places]
    return found
