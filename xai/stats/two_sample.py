"""Do two samples of features come from one source? Two permutation tests, exact for any number of images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy
import torch
from torch import Tensor

from xai.errors import NonFiniteError, ShapeError
from xai.stats.auroc import interval_of_placements

_ENTRIES = 1 << 23  # kernel values, or labels of all draws, at a time: bounds the memory
_PAIRED = 1000  # rows whose distances give the median
_FAR = 1e3  # standard deviations; a shift that is no question
SCALES = (0.5, 1.0, 2.0)  # widths of the kernel over the median distance


@dataclass(frozen=True, eq=False)
class TwoSample:
    """A statistic of two samples, and what it is when nothing but chance tells them apart.

    Attributes:
        value: of the statistic.
        p_value: share of relabelled samples with as large a value, itself counted; exact.
        null_mean: mean of the statistic over relabelled samples.
        null_high: their 95 % quantile: smaller values are no better than chance.
        low: lower end of the 95 % interval of `value`; nan where there is none.
        high: upper end.
        scores: (m + n,) of the classifier, first sample first; more looks like the second. Empty for the kernel.
    """

    value: float
    p_value: float
    null_mean: float
    null_high: float
    low: float
    high: float
    scores: np.ndarray = field(repr=False)


def classifier_test(first: Tensor, second: Tensor, *, folds: int = 5, draws: int = 499, seed: int = 0) -> TwoSample:
    """Return how well a linear classifier tells two samples apart on images that it was not fitted on (AUROC).

    Cross-fitted linear discriminant: in features whitened by their pooled, shrunk covariance, which knows no labels,
    the direction between the means of all other folds scores the fold. The value is the mean AUROC of the folds: 0.5
    when the samples are alike, 1 when they never mix. All of it is done anew for each relabelling.

    Args:
        first: (m, D).
        second: (n, D).
        folds: parts that are scored by what the others taught.
        draws: relabellings.
        seed: of the relabellings and folds.

    Raises:
        ShapeError: not (m, D) and (n, D), or fewer than two images for each fold.
        NonFiniteError: a feature is NaN or infinite.

    Cost: 4 (m + n) D draws multiplications; memory (m + n) D and 2^23 numbers.
    Source: Lopez-Paz and Oquab 2017 (C2ST); Kim et al. 2021. Differs: one Newton step of logistic regression from zero
    instead of its optimum, in closed form, so that every relabelling is fitted anew. Interval by DeLong's placements in
    each fold (LeDell et al. 2015), see `xai.stats.auroc.interval_of_placements`. The binomial test on
    cross-validated accuracy, where only the held-out labels count as random, rejects too often (Noirhomme et al. 2014).
    """
    rows, mine = _pooled(first, second, folds)
    features = _whitened(rows)
    rng = np.random.default_rng(abs(seed))
    parts = torch.from_numpy(rng.permutation(len(rows)) % folds)
    made = [_cross_fitted(features, parts, folds, labels) for labels in _relabelled(mine, draws, rng)]
    values, scores = np.concatenate([value for value, _ in made]), made[0][1]
    above, below = _placements(scores, mine.numpy(), parts.numpy(), folds)
    low, high = interval_of_placements(float(values[0]), above, below) if len(above) and len(below) else (0.0, 1.0)
    return _judged(values, low, high, scores)


def kernel_test(first: Tensor, second: Tensor, *, draws: int = 499, seed: int = 0) -> TwoSample:
    """Return the unbiased squared maximum mean discrepancy (MMD) of two samples.

    Features are standardised by their pooled mean and deviation. The kernel is the mean of the Gaussians
    exp(-d^2 / (2 s^2)) with s = 1/2, 1 and 2 times the median distance d.

    Args:
        first: (m, D).
        second: (n, D).
        draws: relabellings.
        seed: of the relabellings.

    Raises:
        ShapeError: not (m, D) and (n, D), or fewer than two images in either.
        NonFiniteError: a feature is NaN or infinite.

    Cost: (m + n)^2 (D + draws) multiplications; memory 2^23 numbers, no kernel matrix is kept.
    Source: Gretton et al. 2012, equation 3; several widths in one kernel as in Sutherland et al. 2017, section 3.
    """
    rows, mine = _pooled(first, second, 1)
    features = _standardised(rows)
    width = _median_distance(features, seed)
    rng = np.random.default_rng(abs(seed))
    widths = [scale * width for scale in SCALES]
    values = np.concatenate([_mmd2(features, widths, labels) for labels in _relabelled(mine, draws, rng)])
    return _judged(values, float("nan"), float("nan"), np.empty(0))


def mmd2(first: Tensor, second: Tensor, widths: Sequence[float]) -> float:
    """Return the unbiased squared MMD with the mean of Gaussian kernels of these widths, on the features as they are.

    Raises:
        ShapeError: not (m, D) and (n, D), or fewer than two images in either.
        NonFiniteError: a feature is NaN or infinite.
    """
    rows, mine = _pooled(first, second, 1)
    return float(_mmd2(rows, widths, mine[:, None])[0])


def detectable_shift(first: int, second: int, size: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest shift of the mean, in standard deviations along its direction, that is found with `power`.

    By Hotelling's test on `size` normal features: what a linear classifier can find. Infinite with fewer images than
    features.
    """
    free = first + second - size - 1
    if free < 1:
        return float("inf")
    limit, each = float(scipy.stats.f.isf(alpha, size, free)), first * second / (first + second)

    def has_power(shift: float) -> bool:
        return bool(scipy.stats.ncf.sf(limit, size, free, each * shift**2) >= power)

    low, high = 0.0, 1.0
    while not has_power(high):
        low, high = high, 2 * high
        if high > _FAR:
            return float("inf")
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if has_power(middle) else (middle, high)
    return high


def principal(first: Tensor, second: Tensor, most: int, *, seed: int = 0) -> tuple[Tensor, Tensor, float]:
    """Return both samples in at most `most` principal components of their pooled, standardised features.

    Pooled components know no labels: the permutation tests stay exact.

    Returns:
        (m, d), (n, d) and the share of the variance that is kept.

    Cost: 6 (m + n) D most multiplications where D is above `most`, else nothing.
    Source: Halko, Martinsson and Tropp 2011, with one power iteration.
    """
    rows, _ = _pooled(first, second, 1)
    features = _standardised(rows)
    if features.shape[1] > most:
        from sklearn.utils.extmath import randomized_svd

        left, size, _ = randomized_svd(features.numpy(), most, n_iter=1, random_state=abs(seed) % 2**32)
        share = float((size.astype(np.float64) ** 2).sum()) / float(features.double().square().sum())
        parts = torch.from_numpy(left * size)
        return parts[: len(first)], parts[len(first) :], min(1.0, share)
    return features[: len(first)], features[len(first) :], 1.0


def _pooled(first: Tensor, second: Tensor, folds: int) -> tuple[Tensor, Tensor]:
    """Return both samples, and which rows are of the second (m + n,) bool."""
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or first.shape[1] == 0:
        raise ShapeError(
            f"Expected features (m, D) and (n, D), but got {tuple(first.shape)} and {tuple(second.shape)}."
        )
    if min(len(first), len(second)) < 2 * folds:
        raise ShapeError(
            f"Expected at least {2 * folds} images in each sample, but got {len(first)} and {len(second)}. "
            "Give more images."
        )
    rows = torch.cat([first, second]).detach().cpu()
    if not bool(torch.isfinite(rows).all()):
        raise NonFiniteError("Expected finite features, but some are NaN or infinite. Check the model's weights.")
    return rows, torch.arange(len(rows)) >= len(first)


def _standardised(rows: Tensor) -> Tensor:
    """Return the features that vary, minus their mean and over their deviation; one column of zeros where none does."""
    spread, mean = torch.std_mean(rows.double(), 0, correction=0)
    varies = spread > 1e-9 * rows.abs().amax(0).double().clamp_min(1e-300)
    if not bool(varies.any()):
        return torch.zeros(len(rows), 1)
    return ((rows[:, varies].double() - mean[varies]) / spread[varies]).float()


def _whitened(rows: Tensor) -> Tensor:
    """Return standardised features whose pooled covariance, shrunk as by Ledoit and Wolf, is the identity."""
    from sklearn.covariance import ledoit_wolf

    centred = _standardised(rows)
    if float(centred.abs().max()) == 0:
        return centred
    covariance, _ = ledoit_wolf(centred.double().numpy(), assume_centered=True)
    factor = torch.linalg.cholesky(torch.from_numpy(covariance))
    whitened: Tensor = torch.linalg.solve_triangular(factor, centred.double().T, upper=False).T.float().contiguous()
    return whitened


def _relabelled(mine: Tensor, draws: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """Yield which rows are of the second sample, (m + n, some) bool: as it is first, then at random."""
    total = len(mine)
    step = max(1, _ENTRIES // total)
    for start in range(0, draws + 1, step):
        columns = [mine[torch.from_numpy(rng.permutation(total))] for _ in range(min(step, draws + 1 - start))]
        columns[0] = mine if start == 0 else columns[0]
        yield torch.stack(columns, 1)


def _judged(values: np.ndarray, low: float, high: float, scores: np.ndarray) -> TwoSample:
    """Compare the first value with those of the relabelled samples."""
    value, null = float(values[0]), values[1:]
    p_value = (1 + int((null >= value - 1e-12).sum())) / len(values)
    mean, edge = (float(null.mean()), float(np.quantile(null, 0.95))) if len(null) else (float("nan"),) * 2
    return TwoSample(value, p_value, mean, edge, low, high, scores)


def _cross_fitted(features: Tensor, parts: Tensor, folds: int, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean AUROC of the folds for each labelling (P,), and the scores of the first (rows,)."""
    marks = labels.float()
    own = [parts == fold for fold in range(folds)]
    sums = torch.stack([_class_sums(features[rows], marks[rows]) for rows in own])  # (folds, 2, D + 1, P)
    areas, scores = np.zeros(labels.shape[1]), np.zeros(len(features))
    for rows, theirs in zip(own, sums, strict=True):
        rest = sums.sum(0) - theirs
        means = rest[:, :-1] / rest[:, -1:].clamp_min(1)
        fits = features[rows] @ (means[1] - means[0])
        areas += _auroc(fits.T.numpy(), labels[rows].T.numpy()) / folds
        middle = (means[1, :, 0] - means[0, :, 0]) @ means[:, :, 0].mean(0)
        scores[rows.numpy()] = (fits[:, 0] - middle).numpy()
    return areas, scores


def _class_sums(features: Tensor, marks: Tensor) -> Tensor:
    """Return the sums of the rows of both samples and, last, their numbers (2, D + 1, P)."""
    full = torch.cat([features, torch.ones(len(features), 1)], 1)
    second = full.T @ marks
    return torch.stack([full.sum(0)[:, None] - second, second])


def _auroc(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how often a row of the second sample scores above one of the first (P,), ties as half; else 0.5."""
    ranks = scipy.stats.rankdata(scores, axis=1)
    ones = labels.sum(1)
    pairs = ones * (labels.shape[1] - ones)
    wins = (ranks * labels).sum(1) - ones * (ones + 1) / 2
    areas: np.ndarray = np.where(pairs > 0, wins / np.maximum(pairs, 1), 0.5)
    return areas


def _placements(scores: np.ndarray, labels: np.ndarray, parts: np.ndarray, folds: int) -> list[np.ndarray]:
    """Return the share of the other sample in its fold that each row of the second is above, of the first is below."""
    placed: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for fold in range(folds):
        own, second = scores[parts == fold], labels[parts == fold]
        if second.all() or not second.any():
            continue
        ranks = scipy.stats.rankdata(own)
        for side, rows in zip(placed, (second, ~second), strict=True):
            lower = (ranks[rows] - scipy.stats.rankdata(own[rows])) / int((~rows).sum())
            side.append(lower if rows is second else 1 - lower)
    return [np.concatenate(side) if side else np.empty(0) for side in placed]


def _median_distance(features: Tensor, seed: int) -> float:
    """Return the median distance of some pairs of rows, whichever sample they are of; 1 when most are equal."""
    chosen = np.random.default_rng(abs(seed)).permutation(len(features))[:_PAIRED]
    median = float(torch.pdist(features[torch.from_numpy(chosen)]).median())
    return median if median > 0 else 1.0


def _mmd2(features: Tensor, widths: Sequence[float], labels: Tensor) -> np.ndarray:
    """Return the unbiased squared MMD for each labelling (P,), a block of the kernel at a time.

    A constant is taken off all kernel values, which leaves the unbiased estimate as it is and keeps its digits.
    """
    rows, marks = (features - features.mean(0)).float(), labels.float()
    squares, total = rows.square().sum(1), len(rows)
    both, mine = torch.zeros(2, labels.shape[1], dtype=torch.float64)
    whole, level = 0.0, None
    for start in range(0, total, max(1, _ENTRIES // total)):
        block = slice(start, start + max(1, _ENTRIES // total))
        kernel = _gaussians(rows[block] @ rows.T, squares[block], squares, widths)
        level = float(kernel.mean()) if level is None else level
        kernel -= level
        kernel[torch.arange(len(kernel)), torch.arange(start, start + len(kernel))] = 0
        each = kernel.double().sum(1)
        both += ((kernel @ marks).double() * marks[block]).sum(0)
        mine += each @ marks[block].double()
        whole += float(each.sum())
    n = labels.sum(0).double()
    m = total - n
    within = both / (n * (n - 1)) + (whole - 2 * mine + both) / (m * (m - 1))
    estimates: np.ndarray = (within - 2 * (mine - both) / (m * n)).numpy()
    return estimates


def _gaussians(products: Tensor, own: Tensor, others: Tensor, widths: Sequence[float]) -> Tensor:
    """Return the mean of Gaussian kernels (n, N) from inner products and squared lengths."""
    distances = (own[:, None] + others - 2 * products).clamp_min_(0)
    kernel = torch.zeros_like(distances)
    for width in widths:
        kernel += (distances / (-2 * width**2)).exp_()
    return kernel / len(widths)
