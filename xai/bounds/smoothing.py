"""Randomised smoothing: what a model answers to noisy copies, with a radius in which that answer cannot change."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from xai.core.classifier import Classifier
from xai.core.rows import Progress, ShouldStop, in_chunks
from xai.core.seeds import generator
from xai.errors import RangeError

ABSTAIN = -1


@dataclass(frozen=True)
class Noise:
    """Settings of randomised smoothing.

    Args:
        sigma: standard deviation of the noise, in the scale of pixels in [0, 1].
        samples: noisy copies per picture to estimate with.
        first: noisy copies to choose the class with.
        alpha: chance that a radius is wrong, per picture.

    Raises:
        RangeError: a setting outside its range.
    """

    sigma: float = 0.25
    samples: int = 1000
    first: int = 100
    alpha: float = 0.001

    def __post_init__(self) -> None:
        """Check the settings."""
        whole = isinstance(self.samples, int) and isinstance(self.first, int)
        if not (whole and self.samples >= 1 and self.first >= 1 and 0 < self.sigma < math.inf and 0 < self.alpha < 1):
            raise RangeError(
                f"Expected sigma above 0, samples and first of at least 1 and alpha between 0 and 1, but got {self}."
            )


def lower_share(hits: int, samples: int, alpha: float) -> float:
    """Return the one-sided Clopper-Pearson lower bound of a share, wrong with a chance of at most `alpha`."""
    return float(stats.beta.ppf(alpha, hits, samples - hits + 1)) if hits else 0.0


def radius_of(hits: int, samples: int, sigma: float, alpha: float) -> float:
    """Return the certified l2 radius sigma * Phi^-1(lower share), 0 where the class has no proven majority.

    Source: Cohen et al. 2019 (arXiv 1902.02918), theorem 1.
    """
    share = lower_share(hits, samples, alpha)
    return float(sigma * stats.norm.ppf(share)) if share > 0.5 else 0.0


def smooth(
    classifier: Classifier,
    images: Tensor,
    noise: Noise,
    keys: Sequence[bytes],
    seed: int,
    *,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the smoothed class (N,), -1 where it abstains, and the certified l2 radius (N,) of each picture.

    The class is chosen on `first` copies and its share estimated on `samples` other ones; only counts are kept. The
    module must be borrowed.

    Source: Cohen et al. 2019, algorithm CERTIFY.
    """
    chosen = torch.full((len(images),), ABSTAIN)
    radius = torch.zeros(len(images), dtype=torch.float64)
    total = noise.first + noise.samples
    for k, image in enumerate(images):

        def report(done: int, _all: int, k: int = k) -> None:
            if progress is not None:
                progress(k * total + done, len(images) * total)

        drawn = generator(seed, keys[k])
        counts = _counts(classifier, image, noise.sigma, noise.first, drawn, report, should_stop)
        best = int(counts.argmax())
        hits = int(_counts(classifier, image, noise.sigma, noise.samples, drawn, report, should_stop)[best])
        radius[k] = radius_of(hits, noise.samples, noise.sigma, noise.alpha)
        chosen[k] = best if float(radius[k]) > 0 else ABSTAIN
    return chosen, radius


def _counts(
    classifier: Classifier,
    image: Tensor,
    sigma: float,
    samples: int,
    drawn: torch.Generator,
    progress: Progress,
    should_stop: ShouldStop | None,
) -> Tensor:
    """Return how often each class wins among noisy copies; copies leave [0, 1], as in the theorem."""
    counts = torch.zeros(classifier.num_classes, dtype=torch.int64)

    def run(start: int, stop: int) -> None:
        shift = torch.randn((stop - start, *image.shape), generator=drawn).to(image)
        logits = classifier.raw_logits(image + sigma * shift)
        counts.add_(torch.bincount(logits.argmax(1).cpu(), minlength=len(counts)))

    limit = classifier.row_limit(image.expand(min(64, samples), -1, -1, -1))
    with torch.inference_mode():
        in_chunks(run, samples, limit=limit, progress=progress, should_stop=should_stop)
    return counts
