"""Randomised smoothing: predictions on noisy copies, with a certified radius.

Within it the prediction cannot change.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import scipy
import torch
from torch import Tensor

from xai.core.model.classifier import Classifier
from xai.core.runtime.batching import Progress, ShouldStop, in_chunks
from xai.core.runtime.randomness import generator
from xai.errors import RangeError
from xai.stats.intervals import clopper_pearson

ABSTAIN = -1
_BLOCK = 64
_WIDEST = 4.0  # of a standard deviation: four times the distance from black to white hides everything
_APART = 1 << 40  # number of the first draw of the copies to estimate with


@dataclass(frozen=True)
class SmoothingNoise:
    """Settings of randomised smoothing.

    Args:
        sigma: standard deviation of the noise, in the scale of pixels in [0, 1].
        samples: noisy copies per image to estimate with.
        first: noisy copies to choose the class with.
        alpha: chance that a radius is wrong, per image.

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
        if not (whole and self.samples >= 1 and self.first >= 1 and 0 < self.sigma <= _WIDEST and 0 < self.alpha < 1):
            raise RangeError(
                f"Expected sigma above 0 and at most {_WIDEST:g} (pixels lie in [0, 1]: 0.25, not 64), samples and "
                f"first of at least 1 and alpha between 0 and 1, but got {self}."
            )


def lower_share(hits: int, samples: int, alpha: float) -> float:
    """Return the one-sided Clopper-Pearson lower bound of a share, wrong with a chance of at most `alpha`."""
    return clopper_pearson(hits, samples, 1 - 2 * alpha)[0]


def radius_of(hits: int, samples: int, sigma: float, alpha: float) -> float:
    """Return the certified l2 radius sigma * Phi^-1(lower share), 0 where the class has no certified majority.

    Source: Cohen et al. 2019 (arXiv 1902.02918), theorem 1.
    """
    share = lower_share(hits, samples, alpha)
    return float(sigma * scipy.stats.norm.ppf(share)) if share > 0.5 else 0.0


def smooth(
    classifier: Classifier,
    images: Tensor,
    noise: SmoothingNoise,
    keys: Sequence[bytes],
    seed: int,
    *,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the smoothed class (N,), -1 where it abstains, and the certified l2 radius (N,) of each image.

    The class is chosen on `first` copies and its share estimated on `samples` other ones; only counts are kept. The
    module must be borrowed.

    Source: Cohen et al. 2019, algorithm CERTIFY.
    """
    draws = _Draws(classifier, images, noise.sigma, keys, seed)
    total = len(images) * (noise.first + noise.samples)
    with torch.inference_mode():
        first = draws.count(0, noise.first, _from(progress, 0, total), should_stop)
        best = first.argmax(1)
        second = draws.count(_APART, noise.samples, _from(progress, len(images) * noise.first, total), should_stop)
        hits = second.gather(1, best[:, None])[:, 0].tolist()
    radius = torch.tensor([radius_of(k, noise.samples, noise.sigma, noise.alpha) for k in hits], dtype=torch.float64)
    return torch.where(radius > 0, best.cpu(), ABSTAIN), radius


def _from(progress: Progress | None, before: int, total: int) -> Progress | None:
    return None if progress is None else lambda done, _all: progress(min(total, before + done), total)


@dataclass(frozen=True, eq=False)
class _Draws:
    """Noisy copies in blocks of a fixed size, each with its own generator: what memory allows changes no number."""

    classifier: Classifier
    images: Tensor
    sigma: float
    keys: Sequence[bytes]
    seed: int

    def count(self, first: int, samples: int, progress: Progress | None, should_stop: ShouldStop | None) -> Tensor:
        """Return how often each class wins among noisy copies (N, K); copies leave [0, 1], as in the theorem."""
        classes = self.classifier.num_classes
        counts = torch.zeros(len(self.images) * classes, dtype=torch.int64, device=self.classifier.device)
        blocks = -(-samples // _BLOCK)
        rows = self.classifier.row_limit(self.images[:1].expand(_BLOCK, -1, -1, -1))

        def run(start: int, stop: int) -> None:
            items = [divmod(item, blocks) for item in range(start, stop)]
            copies = torch.cat([self._block(k, first + b, min(_BLOCK, samples - b * _BLOCK)) for k, b in items])
            places = torch.cat([torch.full((min(_BLOCK, samples - b * _BLOCK),), k * classes) for k, b in items]).to(
                counts.device
            )

            def forward(begin: int, end: int) -> None:
                winners = places[begin:end] + self.classifier.raw_logits(copies[begin:end]).argmax(1)
                counts.scatter_add_(0, winners, torch.ones_like(winners))

            in_chunks(forward, len(copies), limit=rows)

        shown = None if progress is None else lambda done, _all: progress(done * samples // blocks, 0)
        several = max(1, rows // _BLOCK)
        in_chunks(run, len(self.images) * blocks, limit=several, progress=shown, should_stop=should_stop)
        return counts.view(len(self.images), classes)

    def _block(self, k: int, draw: int, count: int) -> Tensor:
        image = self.images[k]
        shift = torch.randn((_BLOCK, *image.shape), generator=generator(self.seed, self.keys[k], draw))[:count]
        return image + self.sigma * shift.to(image)
