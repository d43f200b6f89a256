"""The permutation inference of one rate or mean against exact enumeration, closed forms and published figures."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from xai.stats.intervals import benjamini_hochberg, holm, wilson
from xai.stats.permutation import RateTest, Tail, detectable, gap_interval, tukey
from xai.stats.permutation_tables import BINS, calibration_test, mean_test, random_tables


def run(hits, totals, replicates=4000, seed=0, alpha=0.05):
    test = RateTest(np.array(hits), np.array(totals))
    return test.run(np.random.default_rng(seed), replicates=replicates, alpha=alpha)


def rate_of(share, sizes, chance):
    return chance.binomial(np.array(sizes), share)


@pytest.mark.parametrize(("size", "hits", "total"), [(10, 30, 40), (5, 3, 200), (500, 900, 1000), (1, 1, 2)])
def test_tails_are_hypergeometric(size, hits, total):
    seen = max(0, hits - (total - size))
    tail = Tail(size, hits, total, seen)
    law = stats.hypergeom(total, hits, size)
    counts = np.arange(len(tail.probability)) + tail.first
    assert tail.probability == pytest.approx(law.pmf(counts), abs=1e-12)
    both = np.minimum(1, 2 * np.minimum(law.cdf(counts), law.sf(counts - 1)))
    assert 2 * stats.norm.sf(np.abs(tail.scores)) == pytest.approx(np.maximum(both, 1e-300), rel=1e-6, abs=1e-12)
    assert tail.beyond(abs(float(tail.score(np.array(seen))))) == pytest.approx(
        law.pmf(counts)[np.abs(tail.scores) >= abs(tail.scores[0]) - 1e-9].sum()
    )


def exact_p(hits, totals):
    """Return the exact p-value of the largest score: every way to spread the hits over the groups."""
    hits, totals = np.array(hits), np.array(totals)
    tails = [Tail(int(n), int(hits.sum()), int(totals.sum()), int(x)) for n, x in zip(totals, hits, strict=True)]

    def largest(counts):
        return max(abs(float(tail.score(np.array(x)))) for tail, x in zip(tails, counts, strict=True))

    seen, p = largest(hits), 0.0
    for counts in product(*(range(n + 1) for n in totals)):
        if sum(counts) == hits.sum() and largest(counts) >= seen - 1e-9:
            p += stats.multivariate_hypergeom.pmf(counts, totals, int(hits.sum()))
    return p


@pytest.mark.parametrize(
    ("hits", "totals"), [([2, 9, 9], [6, 10, 9]), ([1, 4, 2, 6], [5, 5, 4, 6]), ([0, 5], [4, 8]), ([9, 1], [9, 7])]
)
def test_p_values_are_those_of_all_permutations(hits, totals):
    wanted = exact_p(hits, totals)
    found = run(hits, totals, 20_000)
    assert found.p == pytest.approx(wanted, abs=4 * np.sqrt(wanted * (1 - wanted) / 20_000) + 1e-4)
    assert found.p == np.nanmin(found.p_groups)


def test_beyond_the_replicates_the_exact_tails_take_over():
    hits, totals = [60, 180, 199], [100, 200, 200]
    found = run(hits, totals, 500)
    assert found.p < 1e-12
    tails = [Tail(n, sum(hits), sum(totals), x) for n, x in zip(totals, hits, strict=True)]
    assert found.p == pytest.approx(sum(tail.beyond(abs(found.scores[0])) for tail in tails))
    assert found.p_groups[1] > 1 / 501  # an ordinary one is still counted


@pytest.mark.parametrize(
    ("groups", "size", "wanted"), [(2, 50, 0.047), (10, 50, 0.129), (10, 500, 0.041), (40, 50, 0.179)]
)
def test_gaps_by_chance_are_those_of_the_handbook(groups, size, wanted):
    found = run([round(0.9 * size)] * groups, [size] * groups)
    assert found.chance.mean() == pytest.approx(wanted, abs=0.0015)


def test_hits_and_misses_are_one_question():
    test = RateTest(np.array([3, 40, 22]), np.array([10, 50, 40]))
    misses = RateTest(test.totals - test.hits, test.totals)
    assert test.key == misses.key
    assert {test.canonical is test, misses.canonical is misses} == {True, False}
    one, two = (t.canonical.run(np.random.default_rng(0), replicates=500, alpha=0.05) for t in (test, misses))
    assert one.p == two.p
    turned = one.complement()
    assert turned.values == pytest.approx(1 - one.values)
    assert turned.intervals == pytest.approx(wilson(test.totals - test.canonical.hits, test.totals), abs=1e-12)


def test_gap_interval_is_newcombe_for_two_groups():
    assert gap_interval(np.array([56, 48]), np.array([70, 80])) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert tukey(2) == pytest.approx(stats.norm.ppf(0.975))
    assert tukey(5) == pytest.approx(3.858 / 2**0.5, abs=5e-4)  # table of the studentised range
    assert np.isnan(gap_interval(np.array([5]), np.array([9]))).all()


def test_wilson_takes_many_sizes():
    found = wilson([3, 8, 0, 11], [10, 8, 0, 11])
    for (low, high), hits, total in zip(found, (3, 8, 11), (10, 8, 11), strict=False):
        if total:
            wanted = stats.binomtest(hits, total).proportion_ci(method="wilson") if hits != 11 else None
            if wanted:
                assert (low, high) == pytest.approx(tuple(wanted))
    assert found[2].tolist() == [0, 1]
    assert found[3] == pytest.approx([0.741, 1], abs=5e-4)


def test_intervals_of_gaps_hold():
    chance, sizes = np.random.default_rng(0), np.array([800, 300, 100, 30, 12])
    shares = np.array([0.9, 0.85, 0.9, 0.8, 0.9])
    held = [gap_interval(rate_of(shares, sizes, chance), sizes) for _ in range(1500)]
    inside = np.mean([low <= 0.1 <= high for low, high in held])
    assert inside >= 0.94
    null = [gap_interval(rate_of(0.9, sizes, chance), sizes) for _ in range(1500)]
    assert np.mean([low > 0 for low, _ in null]) <= 0.065


@pytest.mark.parametrize(
    ("sizes", "share", "alpha"), [((50, 50), 0.9, 0.05), ((500, 500), 0.8, 0.01), ((100, 2000, 900), 0.9, 0.02)]
)
def test_what_is_called_detectable_is_found_four_times_in_five(sizes, share, alpha):
    chance, totals = np.random.default_rng(1), np.array(sizes)
    gap = detectable(np.round(share * totals).astype(int), totals, alpha)[0]
    found = []
    for _ in range(250):
        hits = chance.binomial(totals, [share - gap, *[share] * (len(sizes) - 1)])
        found.append(run(hits, totals, 1000).p <= alpha)
    assert 0.72 <= np.mean(found) <= 0.93
    assert detectable(np.array([9, 90]), np.array([10, 100]), 1e-9)[0] == np.inf


def test_null_p_values_are_uniform():
    chance, sizes = np.random.default_rng(2), (5000, 3000, 1500, 450, 40, 10)
    found = np.array([run(rate_of(0.9, sizes, chance), sizes, 400, seed=k).p for k in range(400)])
    for level in (0.05, 0.2, 0.5):
        assert np.mean(found <= level) <= level + 3 * np.sqrt(level * (1 - level) / 400)
    assert np.mean(found <= 0.5) >= 0.4


def test_a_tiny_group_does_not_drown_the_others():
    """A plain z has a skewed tail in a group of ten, which raises everybody's threshold; scores do not."""
    chance, sizes = np.random.default_rng(3), np.array([5000, 3000, 500, 40, 10, 10, 10, 10])
    shares = np.array([0.95, 0.95, 0.92, *[0.95] * 5])
    found, plain = 0, 0
    for k in range(150):
        hits = rate_of(shares, sizes, chance)
        found += run(hits, sizes, 500, seed=k).p <= 0.05
        drawn = np.random.default_rng(k).multivariate_hypergeometric(sizes, hits.sum(), 500, method="marginals")
        share = hits.sum() / sizes.sum()
        error = np.sqrt(share * (1 - share) * (1 / sizes - 1 / sizes.sum()))
        null = np.abs(drawn / sizes - share) / error
        plain += (1 + (null.max(1) >= np.abs((hits / sizes - share) / error).max()).sum()) / 501 <= 0.05
    assert found > plain + 10


def test_random_tables_have_the_right_law():
    cells, sizes, count = np.array([3, 2, 2]), np.array([4, 3]), 20_000
    drawn = random_tables(cells, sizes, np.random.default_rng(0), count)
    assert (drawn.sum(2) == cells).all()
    assert (drawn.sum(1) == sizes).all()
    law = stats.random_table(cells, sizes)
    tables, times = np.unique(drawn.reshape(count, -1), axis=0, return_counts=True)
    wanted = np.array([law.pmf(table.reshape(3, 2)) for table in tables])
    assert wanted.sum() == pytest.approx(1)
    assert stats.chisquare(times, wanted * count).pvalue > 1e-3


def ece(confidence, correct):
    """Return the expected calibration error, bin by bin."""
    total = 0.0
    for k in range(BINS):
        inside = (confidence > k / BINS) & (confidence <= (k + 1) / BINS)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return total


def test_calibration_error_is_the_textbook_one():
    chance = np.random.default_rng(0)
    codes, confidence = np.repeat([0, 1, 2], (200, 100, 30)), chance.beta(5, 1, 330)
    correct = (chance.random(330) < confidence).astype(int)
    test = calibration_test(confidence, correct, codes, 3, 1, chance)
    for group in range(3):
        wanted = ece(confidence[codes == group], correct[codes == group])
        assert test.values[group] == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("sure", [0.3, 0.8, 1.0])
def test_calibration_error_of_one_confidence_is_its_distance_to_the_accuracy(sure):
    correct = np.repeat([1, 0, 1, 0], (70, 30, 10, 40))
    codes = np.repeat([0, 1], (100, 50))
    test = calibration_test(np.full(150, sure), correct, codes, 2, 1, np.random.default_rng(0))
    assert test.values == pytest.approx([abs(0.7 - sure), abs(0.2 - sure)], abs=1e-12)


def test_means_find_a_shift_and_no_more():
    chance = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], (300, 200, 20))
    values = chance.normal(0, 1, 520)
    same = mean_test(values, codes, 3, 1).run(chance, replicates=1000, alpha=0.05)
    assert same.p > 0.02
    assert same.values == pytest.approx([values[codes == k].mean() for k in range(3)])
    span = stats.t.interval(0.95, 19, values[codes == 2].mean(), stats.sem(values[codes == 2]))
    assert same.intervals[2] == pytest.approx(span)
    values[codes == 1] += 0.6
    moved = mean_test(values, codes, 3, 1).run(chance, replicates=1000, alpha=0.05)
    assert moved.p <= 2 / 1001
    assert np.argmax(np.abs(moved.scores)) in (0, 1)
    assert moved.interval[0] > 0
    values[:5] = np.nan
    assert mean_test(values, codes, 3, 1).totals.tolist() == [295, 200, 20]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["calibration", "mean"])
def test_null_p_values_of_tables_are_uniform(kind):
    chance, sizes = np.random.default_rng(4), (2000, 900, 450, 40, 10)
    codes, found, wrong = np.repeat(np.arange(5), sizes), [], 0
    for _ in range(400):
        confidence = chance.beta(6, 1, len(codes))
        correct = (chance.random(len(codes)) < confidence**1.2).astype(int)
        test = (
            calibration_test(confidence, correct, codes, 5, 10, chance)
            if kind == "calibration"
            else mean_test(confidence, codes, 5, 10)
        )
        outcome = test.run(chance, replicates=500, alpha=0.05)
        found.append(outcome.p)
        wrong += outcome.interval[0] > 0
    assert np.mean(np.array(found) <= 0.05) <= 0.085
    assert np.mean(np.array(found) <= 0.5) >= 0.4
    assert wrong / 400 <= 0.085


def test_holm_and_benjamini_hochberg():
    p, equal = np.array([0.01, 0.04, 0.03, 0.005, 0.8]), np.full(5, 0.2)
    order = np.sort(p) * np.arange(5, 0, -1)
    wanted = np.minimum(1, np.maximum.accumulate(order))[np.argsort(np.argsort(p))]
    assert holm(p, equal) == pytest.approx(wanted)
    assert benjamini_hochberg(p, equal) == pytest.approx(stats.false_discovery_control(p))
    weights = np.array([0.5, 0.1, 0.1, 0.0, 0.3])
    found = holm(p, weights)
    assert found[3] == 1  # was not asked
    assert found[0] == pytest.approx(0.01 / 0.5)
    assert found[2] == pytest.approx(0.03 / 0.1 * 0.5)
    assert holm(p, np.ones(5)).tolist() == holm(p).tolist()
    assert holm([np.nan, 0.02], np.array([0.5, 0.5]))[1] == 0.02
    assert holm(np.array([0.3]), np.array([1.0])) == pytest.approx([0.3])
