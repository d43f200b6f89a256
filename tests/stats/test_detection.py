"""Detection figures: closed forms, scikit-learn, DeLong written out, coverage and size by simulation."""

import functools
import itertools
import math

import numpy as np
import pytest
from scipy import optimize, stats
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from xai.errors import ShapeError
from xai.stats.auroc import auroc, auroc_interval, detection, id_rejected, ood_accepted, paired_test


def normal_pair(
    seed: int, shift: float = 1.0, spread: float = 1.0, n: int = 300, m: int = 200
) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=n), rng.normal(shift, spread, m)


def grid(mean: float, spread: float = 1.0, count: int = 20_001) -> np.ndarray:
    """Return the quantiles of a normal distribution: a sample without chance."""
    return stats.norm.ppf((np.arange(count) + 0.5) / count) * spread + mean


def test_shifted_gaussians_have_known_figures() -> None:
    found = detection(grid(0), grid(2))
    assert found.auroc == pytest.approx(stats.norm.cdf(2 / math.sqrt(2)), abs=1e-4)
    assert found.auroc == pytest.approx(0.9214, abs=1e-4)
    wanted = stats.norm.cdf(stats.norm.ppf(0.95) - 2)
    assert wanted == pytest.approx(0.3612, abs=1e-4)
    assert found.ood_accepted_at_95_id == pytest.approx(wanted, abs=1e-3)
    assert found.id_rejected_at_95_ood == pytest.approx(wanted, abs=1e-3)


def test_the_two_false_positive_rates_differ_where_the_spreads_do() -> None:
    found = detection(grid(0), grid(2, 3.0))
    accepted = stats.norm.cdf((stats.norm.ppf(0.95) - 2) / 3)
    rejected = stats.norm.sf(2 + 3 * stats.norm.ppf(0.05))
    assert found.ood_accepted_at_95_id == pytest.approx(accepted, abs=1e-3)
    assert found.id_rejected_at_95_ood == pytest.approx(rejected, abs=1e-3)
    assert abs(accepted - rejected) > 0.4
    assert found.auroc == pytest.approx(stats.norm.cdf(2 / math.sqrt(10)), abs=1e-4)


def with_ties(seed: int) -> tuple[np.ndarray, np.ndarray]:
    inside, outside = normal_pair(seed)
    return inside.round(1), outside.round(1)


@pytest.mark.parametrize("pair", [normal_pair(0), with_ties(1), normal_pair(2, 3.0, 0.2)])
def test_scikit_learn_says_the_same(pair: tuple[np.ndarray, np.ndarray]) -> None:
    inside, outside = pair
    truth, scores = np.r_[np.zeros(300), np.ones(200)], np.r_[inside, outside]
    found = detection(inside, outside)
    assert found.auroc == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert found.aupr_out == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert found.aupr_in == pytest.approx(average_precision_score(1 - truth, -scores), abs=1e-12)
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert found.id_rejected_at_95_ood == pytest.approx(false[true >= 0.95 - 1e-12].min())
    assert found.ood_accepted_at_95_id == pytest.approx(1 - true[false <= 0.05 + 1e-12].max())


def test_auroc_is_the_share_of_pairs_with_half_ties() -> None:
    inside, outside = with_ties(3)
    pairs = [(o > i) + 0.5 * (o == i) for i, o in itertools.product(inside, outside)]
    assert auroc(inside, outside) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_auroc_does_not_feel_monotone_maps_and_turns_when_swapped() -> None:
    inside, outside = normal_pair(4)
    assert auroc(np.exp(inside), np.exp(outside)) == auroc(inside, outside)
    assert auroc(outside, inside) == pytest.approx(1 - auroc(inside, outside))
    assert auroc(-inside, -outside) == pytest.approx(1 - auroc(inside, outside))
    assert ood_accepted(np.exp(inside), np.exp(outside)) == ood_accepted(inside, outside)
    assert id_rejected(np.exp(inside), np.exp(outside)) == id_rejected(inside, outside)


def delong_by_hand(inside: list[np.ndarray], outside: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return areas and their covariance from the matrix of all pairs."""
    kernels = [(o[:, None] > i).astype(float) + 0.5 * (o[:, None] == i) for i, o in zip(inside, outside, strict=True)]
    areas = np.array([kernel.mean() for kernel in kernels])
    above, below = np.stack([k.mean(1) for k in kernels]), np.stack([k.mean(0) for k in kernels])
    return areas, np.cov(above) / above.shape[1] + np.cov(below) / below.shape[1]


def test_paired_test_is_delongs() -> None:
    rng = np.random.default_rng(5)
    inside, outside = with_ties(6)
    others = [scores + 0.5 * rng.normal(size=len(scores)) for scores in (inside, outside)]
    areas, covariance = delong_by_hand([inside, others[0]], [outside, others[1]])
    gap, ends, p = paired_test([inside, others[0]], [outside, others[1]])
    spread = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert gap == pytest.approx(areas[0] - areas[1], abs=1e-12)
    assert ends[1] - ends[0] == pytest.approx(2 * 1.959964 * spread, rel=1e-6)
    assert p == pytest.approx(2 * stats.norm.sf(abs(gap) / spread), rel=1e-9)


def test_a_score_cannot_be_told_from_itself_or_from_a_monotone_map() -> None:
    inside, outside = normal_pair(7)
    gap, _, p = paired_test([inside, np.exp(inside)], [outside, np.exp(outside)])
    assert (gap, p) == (0.0, 1.0)


@functools.cache
def leveled(auc: float, levels: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities of tied levels (levels,) inside and outside that have an AUROC exactly."""

    def shares(shift: float) -> tuple[np.ndarray, np.ndarray]:
        edges = np.linspace(-2, shift + 2, levels - 1)
        cuts = [np.diff(np.r_[0, stats.norm.cdf(edges - mean), 1]) for mean in (0, shift)]
        return cuts[0], cuts[1]

    def area(shift: float) -> float:
        few, many = shares(shift)
        return float((many * (few.cumsum() - few)).sum() + 0.5 * (few * many).sum()) - auc

    return shares(optimize.brentq(area, 0, 12))


def drawn(kind: str, auc: float, n: int, m: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return scores of two kinds whose true AUROC is known."""
    if kind == "tied":
        few, many = leveled(auc)
        return rng.choice(len(few), n, p=few).astype(float), rng.choice(len(many), m, p=many).astype(float)
    if kind == "exponential":
        return rng.exponential(1, n), rng.exponential(auc / (1 - auc), m)
    if kind == "mixed":  # some foreign images are like ordinary ones, the others far away
        return rng.normal(size=n), np.where(rng.random(m) < 2 * (1 - auc), rng.normal(size=m), 9 + rng.random(m))
    return rng.normal(size=n), rng.normal(stats.norm.ppf(auc) * math.sqrt(2), 1, m)


def coverage(kind: str, auc: float, n: int, m: int, draws: int) -> tuple[float, float]:
    """Return how often the interval holds the truth, and how often it is wholly above it."""
    rng = np.random.default_rng(round(auc * 1e4) + n + m)
    ends = np.array([auroc_interval(*drawn(kind, auc, n, m, rng)) for _ in range(draws)])
    return float(((ends[:, 0] <= auc) & (auc <= ends[:, 1])).mean()), float((auc < ends[:, 0]).mean())


@pytest.mark.parametrize(
    ("kind", "auc", "n", "m"),
    [("tied", 0.9975, 200, 60), ("normal", 0.992, 200, 60), ("normal", 0.95, 20, 500), ("mixed", 0.95, 500, 20)],
)
def test_intervals_hold_the_truth_near_one(kind: str, auc: float, n: int, m: int) -> None:
    held, above = coverage(kind, auc, n, m, 500)
    assert held >= 0.94
    assert above <= 0.03  # what a gate would pass wrongly


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tied", "normal", "exponential", "mixed"])
@pytest.mark.parametrize("auc", [0.5, 0.8, 0.95, 0.992, 0.9975])
@pytest.mark.parametrize(("n", "m"), [(20, 30), (200, 60), (60, 200), (1000, 20), (20, 1000), (2000, 2000)])
def test_intervals_hold_the_truth_everywhere(kind: str, auc: float, n: int, m: int) -> None:
    held, above = coverage(kind, auc, n, m, 1500)
    assert held >= 0.94 - 2.5 * math.sqrt(0.95 * 0.05 / 1500)
    assert above <= 0.025 + 2.5 * math.sqrt(0.025 * 0.975 / 1500)


@pytest.mark.parametrize("images", [20, 35, 70, 150, 400])
@pytest.mark.parametrize("tied", [False, True])
def test_the_interval_holds_where_few_images_make_all_errors(images: int, tied: bool) -> None:
    """Exact: an image is wrong with one probability, so that the binomial distribution gives every chance."""
    inside = np.zeros(200) if tied else np.linspace(0, 1, 200)
    found = []
    for wrong in range(images + 1):
        outside = np.r_[np.full(wrong, 0.0 if tied else -1.0), np.full(images - wrong, 2.0)]
        found.append(auroc_interval(inside, outside))
    low, high = np.array(found).T
    for area in (*np.linspace(0.9, 0.99, 10), 0.995, 0.9975):
        chance = stats.binom.pmf(np.arange(images + 1), images, (1 - area) * (2 if tied else 1))
        assert chance[(low <= area) & (area <= high)].sum() >= 0.95, area


def test_an_area_of_one_has_the_exact_interval_of_a_share() -> None:
    low, high = auroc_interval(np.arange(40), np.arange(100, 130))
    span = stats.binomtest(30, 30).proportion_ci(0.95, "exact")
    assert (low, high) == pytest.approx((span.low, span.high))


def test_with_many_images_the_interval_is_delongs() -> None:
    inside, outside = normal_pair(8, n=2000, m=1500)
    area, variance = delong_by_hand([inside, inside], [outside, outside])
    low, high = auroc_interval(inside, outside)
    assert high - low == pytest.approx(2 * 1.959964 * math.sqrt(variance[0, 0]), rel=0.02)
    assert (low + high) / 2 == pytest.approx(area[0], abs=2e-3)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    for shift in (0.0, 1.0, 2.5):
        truth = stats.norm.cdf(shift / math.sqrt(2))
        held = 0
        for seed in range(400):
            low, high = auroc_interval(*normal_pair(seed, shift, n=80, m=60))
            held += low <= truth <= high
        assert 0.94 <= held / 400 <= 0.995, shift  # near 1 it errs on the wide side


def test_the_paired_test_errs_as_often_as_it_says() -> None:
    wrong = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        common = [rng.normal(size=100), rng.normal(1.0, 1.0, 100)]
        scores = [[part + rng.normal(size=100) for part in common] for _ in range(2)]
        _, _, p = paired_test([scores[0][0], scores[1][0]], [scores[0][1], scores[1][1]])
        wrong += p <= 0.05
    assert stats.binomtest(wrong, 400, 0.05).pvalue > 0.001


def test_few_pictures_never_give_a_sure_answer() -> None:
    low, high = auroc_interval([0.0, 1, 2], [3.0, 4, 5])
    assert low == pytest.approx(0.025 ** (1 / 3))
    assert high == 1.0
    assert auroc_interval([3.0, 4, 5], [0.0, 1, 2]) == (0.0, pytest.approx(1 - low))
    assert auroc_interval([0.0], [1.0])[0] < 0.25
    _, _, p = paired_test([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]])
    assert p == pytest.approx(2 / math.comb(6, 3))
    low, _ = auroc_interval(np.arange(100), np.arange(200, 300))
    assert 0.95 < low < 1


@pytest.mark.parametrize("pair", [([], [1.0]), ([1.0], []), ([1.0, math.nan], [1.0]), ([[1.0]], [1.0])])
def test_scores_that_are_none_are_refused(pair: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ShapeError, match=r"Expected finite scores \(n,\)"):
        auroc(*pair)
