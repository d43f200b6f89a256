"""Distances: whitening, affine invariance, scipy and scikit-learn as references, null spaces, singular covariances."""

import itertools

import numpy as np
import pytest
import torch
from detector_cases import EVERY, STORED, blobs, fitted, head, reference, rows, view
from scipy.spatial.distance import cdist
from sklearn.covariance import oas as sklearn_oas
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from xai.core.model.features import LinearHead
from xai.errors import RangeError, UnsupportedModelError
from xai.ood.detectors import base
from xai.ood.detectors._gaussian import factored, fit_gaussian, oas, whiten
from xai.ood.detectors.base import DETECTORS
from xai.ood.detectors.fdbd import between
from xai.ood.detectors.hbos import components
from xai.ood.detectors.knn import distances, most_similar
from xai.ood.detectors.reference import Collector, FeatureRows, ModelView, to_unit
from xai.stats.auroc import auroc

FRESH = blobs(40, seed=5)[0]
GAUSSIANS = ["mahalanobis", "mahalanobis++", "rmd"]


def points(name: str, features: Tensor) -> np.ndarray:
    return (to_unit(features) if name == "mahalanobis++" else features).double().numpy()


def by_scipy(name: str, shrink: float = 0.0) -> np.ndarray:
    """Return scores by scipy's Mahalanobis distance from plain means and covariances."""
    features, labels = blobs()
    known, fresh = points(name, features), points(name, FRESH)
    means = np.stack([known[labels == c].mean(0) for c in range(4)])
    rest = known - means[labels]

    def squared(centred: np.ndarray, centres: np.ndarray) -> np.ndarray:
        matrix = centred.T @ centred / len(centred)
        matrix = (1 - shrink) * matrix + shrink * np.trace(matrix) / len(matrix) * np.eye(len(matrix))
        return cdist(fresh, centres, "mahalanobis", VI=np.linalg.inv(matrix)) ** 2

    near = squared(rest, means).min(1)
    return near - squared(known - known.mean(0), known.mean(0, keepdims=True))[:, 0] if name == "rmd" else near


@pytest.mark.parametrize("name", GAUSSIANS)
@pytest.mark.parametrize("shrinkage", [0.0, 0.3])
def test_gaussians_agree_with_scipy(name: str, shrinkage: float) -> None:
    found = fitted(DETECTORS[name](shrinkage=shrinkage)).score(rows(FRESH))
    np.testing.assert_allclose(found.numpy(), by_scipy(name, shrinkage), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["mahalanobis", "rmd"])
def test_gaussians_do_not_feel_an_affine_map(name: str) -> None:
    features, labels = blobs()
    matrix = torch.randn(12, 12, generator=torch.Generator().manual_seed(7)).double() + 2 * torch.eye(12)
    detector = DETECTORS[name](shrinkage=0.0)
    moved = [(f.double() @ matrix + 5) for f in (features, FRESH)]
    plain = detector.fit(reference(features, labels)).score(rows(FRESH))
    seen = view(LinearHead("head", head().weight.double(), head().bias.double()))
    after = detector.fit(reference(moved[0], labels, seen)).score(rows(moved[1], seen))
    torch.testing.assert_close(after, plain, rtol=1e-6, atol=1e-6)


def test_whitened_rows_have_unit_covariance_and_euclidean_distances() -> None:
    spread = blobs()[0].double()
    spread = spread - spread.mean(0)
    matrix = spread.T @ spread / len(spread)
    made = fit_gaussian(matrix, len(spread), 0.0)
    white = whiten(made.factor, spread)
    torch.testing.assert_close(white.T @ white / len(white), torch.eye(12).double(), atol=1e-8, rtol=0)
    wanted = torch.einsum("nd,de,ne->n", spread, torch.linalg.inv(matrix), spread)
    torch.testing.assert_close(white.square().sum(1), wanted)


def test_rmd_of_one_class_is_nought() -> None:
    features = blobs()[0]
    held = DETECTORS["rmd"]().fit(reference(features, torch.zeros(len(features), dtype=torch.int64)))
    torch.testing.assert_close(held.score(rows(FRESH)), torch.zeros(40).double(), atol=1e-9, rtol=0)


def test_mean_squared_distance_of_the_fit_pictures_is_the_dimension() -> None:
    features, labels = blobs()
    held = DETECTORS["mahalanobis"](shrinkage=0.0).fit(reference(features, labels))
    state, own = held.state, features.double()
    gaps = whiten(state["factor"], own - state["origin"]) - state["centres"][labels]
    assert float(gaps.square().sum(1).mean()) == pytest.approx(12, rel=1e-9)


def test_shrinkage_is_that_of_scikit_learn() -> None:
    for count in (20, 100, 400):
        features = blobs(count)[0].double().numpy()
        centred = features - features.mean(0)
        _, wanted = sklearn_oas(centred, assume_centered=True)
        assert oas(torch.from_numpy(centred.T @ centred / count), count) == pytest.approx(wanted, rel=1e-9)


def test_condition_numbers_are_near_the_exact_ones() -> None:
    spread = blobs()[0].double()
    matrix = spread.T @ spread
    assert factored(matrix)[1] == pytest.approx(float(torch.linalg.cond(matrix, p=1)), rel=0.5)
    assert factored(torch.eye(5).double())[1] == pytest.approx(1)
    assert factored(torch.diag(torch.tensor([1.0, 0.0])).double())[1] == float("inf")
    assert fitted("mahalanobis").facts["condition"] > fitted("mahalanobis").facts["condition_used"] > 1


def singular() -> tuple[Tensor, Tensor]:
    """Return features of which two never vary and two are the same."""
    features, labels = blobs()
    features = features.clone()
    features[:, 3:5] = 0
    features[:, 6] = features[:, 7]
    return features, labels


@pytest.mark.parametrize("shrinkage", [None, 0.0])
@pytest.mark.parametrize("name", GAUSSIANS)
def test_a_singular_covariance_is_said_and_works(name: str, shrinkage: float | None) -> None:
    held = DETECTORS[name](shrinkage=shrinkage).fit(reference(*singular()))
    assert any("covariance is singular" in note for note in held.notes)
    assert any("2 of 12 features are constant" in note for note in held.notes)
    assert held.facts["condition_used"] < 1e12
    alike, foreign = held.score(rows(singular()[0])), held.score(rows(20 * torch.rand(30, 12)))
    assert bool(torch.isfinite(torch.cat([alike, foreign])).all())
    assert float(foreign.median()) > float(alike.quantile(0.99))


@pytest.mark.parametrize("name", STORED)
def test_nothing_that_is_fitted_on_says_nan(name: str) -> None:
    """Dead, constant, tiny and huge features, one image, one image a class."""
    cases = {
        "singular": singular(),
        "constant": (torch.ones(20, 12), torch.arange(20) % 2),
        "zero": (torch.zeros(20, 12), torch.arange(20) % 2),
        "tiny": (1e-20 * blobs(50)[0], blobs(50)[1]),
        "huge": (1e12 * blobs(50)[0], blobs(50)[1]),
        "one": (blobs(1)[0], torch.zeros(1, dtype=torch.int64)),
        "one a class": (blobs(4)[0], torch.arange(4)),
    }
    fresh = torch.cat([FRESH, torch.zeros(1, 12), 1e6 * torch.rand(2, 12)])
    for case, data in cases.items():
        found = DETECTORS[name]().fit(reference(*data)).score(rows(fresh))
        assert found.shape == (43,), case
        assert found.dtype == torch.float64, case
        assert bool(torch.isfinite(found).all()), case


@pytest.mark.parametrize("name", STORED)
def test_blocks_and_order_change_nothing(name: str) -> None:
    features, labels = blobs()
    held = [DETECTORS[name]().fit(reference(features, labels, block=block)) for block in (7, 400)]
    torch.testing.assert_close(held[0].score(rows(FRESH)), held[1].score(rows(FRESH)), rtol=1e-7, atol=1e-7)
    one_by_one = torch.cat([held[0].score(rows(FRESH[k : k + 1])) for k in range(5)])
    torch.testing.assert_close(one_by_one, held[0].score(rows(FRESH))[:5], rtol=1e-5, atol=1e-5)


def test_large_means_do_not_eat_the_digits_of_small_variances() -> None:
    features, labels = blobs()
    detector = DETECTORS["mahalanobis"](shrinkage=0.0)
    seen = view(LinearHead("head", head().weight.double(), head().bias.double()))
    plain = detector.fit(reference(features.double(), labels, seen)).score(rows(FRESH.double(), seen))
    moved = detector.fit(reference(features.double() + 1e6, labels, seen)).score(rows(FRESH.double() + 1e6, seen))
    torch.testing.assert_close(moved, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("k", [1, 10])
@pytest.mark.parametrize("distance", ["kth", "mean"])
def test_neighbours_are_those_of_scikit_learn(k: int, distance: str) -> None:
    known, fresh = (to_unit(features).numpy() for features in (blobs()[0], FRESH))
    away, _ = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(known).kneighbors(fresh)
    found = fitted(DETECTORS["knn"](k=k, distance=distance)).score(rows(FRESH))
    np.testing.assert_allclose(found.numpy(), away[:, -1] if distance == "kth" else away.mean(1), atol=1e-5)


def test_a_fit_picture_is_its_own_neighbour_at_no_distance() -> None:
    features = blobs()[0]
    assert float(fitted(DETECTORS["knn"](k=1)).score(rows(features)).abs().max()) < 1e-6


@pytest.mark.parametrize(("size", "count"), list(itertools.product([33, 1000, 5003], [1, 7, 40])))
def test_groups_of_columns_hold_the_largest_inner_products(size: int, count: int) -> None:
    source = torch.Generator().manual_seed(size + count)
    bank, fresh = torch.randn(size, 8, generator=source), torch.randn(23, 8, generator=source)
    count = min(count, size)
    wanted = (fresh @ bank.T).topk(count, dim=1).values
    places = most_similar(fresh, bank, count)
    torch.testing.assert_close((fresh @ bank.T).gather(1, places), wanted)
    torch.testing.assert_close(distances(fresh, bank, places), torch.cdist(fresh, bank).gather(1, places))


def test_norms_become_one_and_zero_stays_zero() -> None:
    features = torch.cat([1e-6 * torch.rand(3, 5), 1e6 * torch.rand(3, 5), torch.zeros(1, 5)])
    torch.testing.assert_close(to_unit(features).norm(dim=1), torch.tensor([1.0] * 6 + [0.0]))


def test_on_the_unit_sphere_squared_distance_is_two_less_twice_the_cosine() -> None:
    bank, fresh = to_unit(blobs()[0]), to_unit(FRESH)
    places = most_similar(fresh, bank, 5)
    wanted = 2 - 2 * (fresh @ bank.T).gather(1, places)
    torch.testing.assert_close(distances(fresh, bank, places).square(), wanted, atol=1e-6, rtol=1e-4)


def test_the_number_of_the_neighbour_grows_with_the_bank() -> None:
    knn = DETECTORS["knn"]()
    assert [knn._requested(size) for size in (450, 10_000, 50_000, 1_281_167)] == [10, 10, 50, 1000]
    held = fitted(DETECTORS["knn"](k=500))
    assert "k is 400" in held.notes[0]


def test_vim_measures_from_where_the_head_says_nothing() -> None:
    held = fitted("vim")
    layer = head()
    torch.testing.assert_close(
        layer.weight.double() @ held.state["origin"] + layer.bias.double(), torch.zeros(4).double(), atol=1e-5, rtol=0
    )
    assert held.facts["dim"] == 6
    assert held.facts["origin"] == "bias"


def test_vim_inside_the_principal_subspace_is_the_energy() -> None:
    held = fitted(DETECTORS["vim"](dim=5))
    residual = held.state["residual"]
    inside = torch.eye(12).double() - residual @ residual.T
    flat = (FRESH.double() - held.state["origin"]) @ inside + held.state["origin"]
    found = held.parts(rows(flat.float()))
    assert float(found["residual"].abs().max()) < 1e-4 * float(held.parts(rows(FRESH))["residual"].max())
    torch.testing.assert_close(found["energy"], fitted("energy").score(rows(flat.float())))


def test_vim_is_its_formula() -> None:
    features, _ = blobs()
    weight, bias = head().weight.double().numpy(), head().bias.double().numpy()
    origin = -np.linalg.pinv(weight) @ bias
    centred = features.double().numpy() - origin
    _, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    rest = vectors[:, : 12 - 6]
    logits = features.double().numpy() @ weight.T + bias
    alpha = logits.max(1).mean() / np.linalg.norm(centred @ rest, axis=1).mean()
    fresh = FRESH.double().numpy()
    wanted = alpha * np.linalg.norm((fresh - origin) @ rest, axis=1) - np.log(np.exp(fresh @ weight.T + bias).sum(1))
    np.testing.assert_allclose(fitted("vim").score(rows(FRESH)).numpy(), wanted, rtol=1e-4, atol=1e-4)


def test_vim_of_the_whole_space_is_the_energy_and_says_so() -> None:
    held = fitted(DETECTORS["vim"](dim=12))
    torch.testing.assert_close(held.score(rows(FRESH)), fitted("energy").score(rows(FRESH)))
    assert "energy alone" in held.notes[0]


def test_pooled_statistics_are_of_the_means_over_places() -> None:
    features, labels = blobs()
    seen = view(pool=3)
    pooled = features.view(-1, 4, 3).mean(2)
    held = DETECTORS["mahalanobis"](shrinkage=0.0).fit(reference(features, labels, seen))
    small = ModelView(LinearHead("head", torch.ones(4, 4), torch.zeros(4)))
    wanted = DETECTORS["mahalanobis"](shrinkage=0.0).fit(reference(pooled, labels, small))
    found = held.score(rows(FRESH, seen))
    torch.testing.assert_close(found, wanted.score(rows(FRESH.view(-1, 4, 3).mean(2), small)))
    assert DETECTORS["vim"]().fit(reference(features, labels, seen)).facts["origin"] == "mean"


def test_fdbd_is_its_formula() -> None:
    layer, mean = head(), blobs()[0].double().mean(0)
    weight, bias = layer.weight.double(), layer.bias.double()
    wanted = []
    for row in FRESH.double():
        logits = weight @ row + bias
        best = int(logits.argmax())
        parts = [(logits[best] - logits[c]) / (weight[best] - weight[c]).norm() for c in range(4) if c != best]
        wanted.append(-(sum(parts) / 3) / (row - mean).norm())
    torch.testing.assert_close(fitted("fdbd").score(rows(FRESH)), torch.stack(wanted), rtol=1e-5, atol=1e-6)


def test_distances_of_weights_from_their_gram_matrix() -> None:
    weight = torch.randn(50, 30, generator=torch.Generator().manual_seed(0)).double()
    found = between(weight)
    off = ~torch.eye(50, dtype=torch.bool)
    torch.testing.assert_close(found[off], torch.cdist(weight, weight)[off])
    assert bool((between(torch.ones(3, 4)) > 0).all())


def test_hbos_is_histograms_of_components() -> None:
    features, labels = blobs()
    held = DETECTORS["hbos"](bins=8, variance=1.0).fit(reference(features, labels))
    assert held.facts["components"] == 12
    mean, axes = held.state["mean"].numpy(), held.state["axes"].numpy()
    known, fresh = ((f.double().numpy() - mean) @ axes for f in (features, FRESH))
    total = np.zeros(len(fresh))
    for k in range(12):
        counts, edges = np.histogram(known[:, k], bins=8)
        place = np.clip(np.searchsorted(edges, fresh[:, k], side="right") - 1, 0, 7)
        inside = (fresh[:, k] >= edges[0]) & (fresh[:, k] <= edges[-1])
        total -= np.log(np.where(inside, np.maximum(counts[place], 0.5), 0.5) / counts.max())
    np.testing.assert_allclose(held.score(rows(FRESH)).numpy(), total, rtol=1e-9, atol=1e-9)
    covariance = np.cov(features.double().numpy().T, bias=True)
    np.testing.assert_allclose(np.abs(np.diag(axes.T @ covariance @ axes)), np.linalg.eigvalsh(covariance)[::-1])


def test_components_that_hold_a_share_of_the_variance() -> None:
    values = torch.tensor([4.0, 3.0, 2.0, 1.0]).double()
    assert [components(values, share) for share in (0.3, 0.4, 0.41, 0.9, 1.0)] == [1, 1, 2, 3, 4]


@pytest.mark.parametrize("name", sorted(set(STORED) - {"msp", "maxlogit", "energy", "gen"}))
def test_methods_without_their_features_say_so(name: str) -> None:
    features, labels = blobs()
    made = reference(features, labels)
    blind = type(made)(ModelView(None), made.total, made.moments, made.unit, made.mean, made.bank, made.activations)
    with pytest.raises(UnsupportedModelError, match="no such layer"):
        DETECTORS[name]().fit(blind)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DETECTORS["knn"](k=0),
        lambda: DETECTORS["mahalanobis"](shrinkage=1.5),
        lambda: DETECTORS["vim"](dim=-3),
        lambda: DETECTORS["hbos"](bins=1),
        lambda: DETECTORS["rmd"](shrinkage=float("nan")),
    ],
)
def test_wrong_settings_are_refused(make: object) -> None:
    with pytest.raises(RangeError, match="Expected `"):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("name", STORED)
def test_parts_add_up_and_a_label_says_what_is_unusual(name: str) -> None:
    held = fitted(name)
    torch.testing.assert_close(sum(held.parts(rows(FRESH)).values()), held.score(rows(FRESH)))  # type: ignore[arg-type]
    assert held.detector.label == name
    assert DETECTORS["knn"](k=7).label == "knn(k=7)"


@pytest.mark.slow
def test_a_million_rows_cost_the_memory_of_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai.ood.detectors.reference.BANK_BYTES", 4 << 20)
    width, classes, block = 128, 1000, 10_000
    seen = ModelView(LinearHead("head", torch.randn(classes, width), torch.zeros(classes)))
    collector = Collector(seen, classes, EVERY)
    source = torch.Generator().manual_seed(0)
    for _ in range(100):
        features = torch.randn(block, width, generator=source)
        labels = torch.randint(classes, (block,), generator=source)
        keys = torch.randint(-(1 << 62), 1 << 62, (block,), generator=source)
        collector.add(FeatureRows(seen, torch.zeros(block, classes), features), labels, keys)
    made = collector.reference()
    assert made.total == 1_000_000
    assert made.bank is not None
    assert made.activations is not None
    assert made.moments is not None
    assert len(made.bank) == (4 << 20) // (4 * width)
    assert made.activations.numel() == 4 << 20
    held = sum(part.numel() for part in (made.moments.sums, made.moments.squares))
    assert held == classes * width + width**2
    torch.testing.assert_close(made.moments.covariance(), torch.eye(width).double(), atol=0.01, rtol=0)
    share = made.bank.numbers.double() / 1_000_000  # a sample of the whole stream
    assert float(share.mean()) == pytest.approx(0.5, abs=0.02)
    for name in ("mahalanobis", "rmd", "knn", "vim", "react", "hbos", "fdbd"):
        assert bool(torch.isfinite(DETECTORS[name]().fit(made).score(rows(torch.randn(5, width), seen))).all())


def few_rows(count: int, width: int = 48, classes: int = 4) -> tuple[base.Fitted, ...]:
    """Return every detector of stored outputs, fitted on fewer images than dimensions."""
    seen = view(head(classes, width))
    features, labels = blobs(count, classes, width)
    return tuple(DETECTORS[name]().fit(reference(features, labels, seen)) for name in STORED)


@pytest.mark.parametrize("count", [1, 2, 5, 17, 47, 60])
def test_few_fit_images_give_sane_scores(count: int) -> None:
    fresh, _ = blobs(80, 4, 48, seed=5)
    for held in few_rows(count):
        scores = held.score(rows(fresh, view(head(4, 48))))
        assert torch.isfinite(scores).all(), held.detector.name
        assert scores.abs().max() < 1e5, held.detector.name


def test_vim_of_few_images_takes_half_of_what_they_span_and_says_so() -> None:
    (held,) = (one for one in few_rows(20) if one.detector.name == "vim")
    assert held.facts["dim"] == 10
    assert held.notes[-1] == "20 fit images span 20 of 48 dimensions: the principal subspace has 10, not 24"
    seen = view(head(4, 48))
    residual = held.parts(rows(blobs(300, 4, 48, seed=7)[0], seen))["residual"]
    peaks = rows(blobs(20, 4, 48)[0], seen).logits.amax(1).mean()
    assert 0.5 < float(residual.mean() / peaks) < 4  # of the size of a logit, as a virtual one should be
    (one,) = (one for one in few_rows(1) if one.detector.name == "vim")
    assert one.notes[-1].endswith("too few for a residual: the score is the energy alone")


def test_vim_of_features_that_lie_in_a_plane_finds_what_leaves_it() -> None:
    seen, plane = view(head(4, 48)), torch.randn(6, 48, generator=torch.Generator().manual_seed(2))
    inside = torch.randn(500, 6, generator=torch.Generator().manual_seed(3)) @ plane
    held = DETECTORS["vim"](origin="mean").fit(reference(inside, torch.arange(500) % 4, seen))
    assert held.facts["dim"] == 3
    left = inside[:40] + 3 * torch.randn(40, 48, generator=torch.Generator().manual_seed(4))
    parts = held.parts(rows(torch.cat([inside[:40], left]), seen))["residual"]
    assert auroc(parts[:40].numpy(), parts[40:].numpy()) > 0.95
    assert parts.abs().max() < 1e3


def test_one_class_makes_the_relative_distance_nothing_and_is_said() -> None:
    seen = view()
    held = DETECTORS["rmd"]().fit(reference(blobs(60)[0], torch.zeros(60, dtype=torch.int64), seen))
    assert "only one class has fit images: the score is 0 for every image" in held.notes


def test_classes_of_one_image_are_said() -> None:
    seen, labels = view(), torch.tensor([0] * 29 + [1] * 29 + [2, 3])
    assert (
        "2 of 4 classes have a single fit image, which shows no scatter" in reference(blobs(60)[0], labels, seen).notes
    )


@pytest.mark.parametrize("name", [name for name in STORED if name != "ash"])  # of equal features it prunes any
def test_features_that_never_vary_give_sane_scores(name: str) -> None:
    seen, same = view(), torch.full((40, 12), 0.7)
    held = DETECTORS[name]().fit(reference(same, torch.arange(40) % 4, seen))
    scores = held.score(rows(same + 1e-7 * torch.randn(40, 12), seen))
    assert torch.isfinite(scores).all()
    assert float(scores.max() - scores.min()) <= 1e-3 * (1 + float(scores.abs().max()))
