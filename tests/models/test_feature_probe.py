"""`xai.fit_probe`: heads on features, against scikit-learn on the same features."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from small_models import GapCnn, randomise
from torch import Tensor, nn

import xai
from xai.errors import CheckpointError, DataError, InputError, NameLookupError, RangeError, UnsupportedModelError

SIZE = (13, 18)


class Wide(GapCnn):
    def __init__(self) -> None:
        super().__init__(width=24)


class Bare(nn.Module):
    """Returns features and no class scores."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        randomise(self, scale=2.0)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).relu().mean((2, 3))


class Spread(Bare):
    """Returns more features than there are images."""

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).relu().flatten(1)


NETS = {"wide": Wide, "bare": Bare}


def coloured(count: int, classes: int, seed: int = 0) -> SimpleNamespace:
    """Return noise whose tint and contrast tell the class, not perfectly."""
    source = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    tints = torch.tensor([[0.5, 0.4, 0.4], [0.4, 0.5, 0.4], [0.4, 0.4, 0.5]])[labels]
    noise = 0.6 * (torch.rand(count, 3, *SIZE, generator=source) - 0.5)
    shift = 0.05 * torch.randn(count, 3, 1, 1, generator=source)
    images = (tints[:, :, None, None] + noise + shift).clamp(0, 1)
    return SimpleNamespace(images=images, labels=labels, classes=["red", "green", "blue"][:classes], name="tints")


TRAIN, TEST = coloured(160, 3), coloured(90, 3, seed=1)


@pytest.fixture(scope="module")
def probes() -> dict:
    made = {}
    for head in ("logistic", "svm", "linear_svm"):
        net = "bare" if head == "linear_svm" else "wide"
        made[head] = xai.fit_probe(xai.load(NETS[net](), input_size=SIZE), TRAIN, head)
    return made


def by_hand(head: str, strength: float, rows: np.ndarray, labels: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return scores of scikit-learn's own estimators on the same features."""
    scaler = StandardScaler().fit(rows)
    rows, new = scaler.transform(rows), scaler.transform(new)
    if head == "logistic":
        return LogisticRegression(C=strength, max_iter=2000).fit(rows, labels).decision_function(new)
    if head == "linear_svm":
        return LinearSVC(C=strength, max_iter=5000, random_state=0).fit(rows, labels).decision_function(new)
    gamma = 1 / (rows.shape[1] * rows.var())
    machines = [SVC(C=strength, gamma=gamma).fit(rows, labels == k) for k in range(3)]
    return np.stack([machine.decision_function(new) for machine in machines], 1)


def fitted_on() -> np.ndarray:
    """Return which images of `TRAIN` a head is fitted on: those held out are the ones that the seed draws."""
    kept, rng = np.ones(160, dtype=bool), np.random.default_rng(0)
    for k in range(3):
        own = rng.permutation(np.flatnonzero(TRAIN.labels.numpy() == k))
        kept[own[: round(0.25 * len(own))]] = False
    return kept


@pytest.mark.parametrize("head", ["logistic", "svm", "linear_svm"])
def test_scores_are_those_of_scikit_learn_over_a_temperature(
    probes: dict, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = probes[head]
    module = probe.module.extractor.net
    with torch.no_grad():
        rows, new = (probe.module.extractor(data.images).double().numpy() for data in (TRAIN, TEST))
    assert rows.shape[1] == (8 if head == "linear_svm" else 24)
    words = " ".join(probe.notes)
    strength = float(words.partition("C = ")[2].partition(" ")[0])
    kept, labels = fitted_on(), TRAIN.labels.numpy()
    assert probe.held_out == int((~kept).sum())
    wanted = by_hand(head, strength, rows[kept], labels[kept], new)
    logits = probe.logits_of(TEST.images).double().numpy()
    ratio = (logits * wanted).sum() / (wanted**2).sum()
    np.testing.assert_allclose(logits, ratio * wanted, atol=2e-3 * np.abs(logits).max())
    temperature = float(words.partition("temperature ")[2].partition(",")[0])
    assert ratio == pytest.approx(1 / temperature, rel=0.02)
    assert probe.accuracy == pytest.approx(
        np.mean(by_hand(head, strength, rows[kept], labels[kept], rows[~kept]).argmax(1) == labels[~kept]), abs=0.03
    )
    assert f"accuracy {probe.accuracy:.1%}" in words
    assert probe.interval[0] < probe.accuracy < probe.interval[1]
    assert probe.class_names == ("red", "green", "blue")
    assert isinstance(module, nn.Module)


@pytest.mark.parametrize("head", ["logistic", "svm", "linear_svm"])
def test_scores_are_the_same_with_more_features_than_images(head: str) -> None:
    probe = xai.fit_probe(xai.load(Spread(), input_size=SIZE), TRAIN, head)
    with torch.no_grad():
        rows, new = (probe.module.extractor(data.images).double().numpy() for data in (TRAIN, TEST))
    assert rows.shape[1] == 8 * 6 * 8
    strength = float(" ".join(probe.notes).partition("C = ")[2].partition(" ")[0])
    kept = fitted_on()
    wanted = by_hand(head, strength, rows[kept], TRAIN.labels.numpy()[kept], new)
    logits = probe.logits_of(TEST.images).double().numpy()
    ratio = (logits * wanted).sum() / (wanted**2).sum()
    np.testing.assert_allclose(logits, ratio * wanted, atol=5e-3 * np.abs(logits).max())


@pytest.mark.parametrize("head", ["logistic", "svm", "linear_svm"])
def test_it_predicts_is_calibrated_and_has_gradients(probes: dict, head: str) -> None:
    probe = probes[head]
    logits = probe.logits_of(TEST.images)
    assert float((logits.argmax(1) == TEST.labels).float().mean()) > 0.5
    best = min(np.geomspace(0.2, 5, 80), key=lambda t: float(nn.functional.cross_entropy(logits / t, TEST.labels)))
    assert 0.4 < best < 2.5  # near 1: nothing is left to gain from another temperature
    image = TEST.images[:1].double()
    twin = xai.Classifier(probe.module.double(), input_size=SIZE)
    try:
        pixels = image.clone().requires_grad_()
        (slope,) = torch.autograd.grad(twin.logits(pixels)[0, 1], pixels)
        step = 1e-5 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        change = twin.logits(image + step)[0, 1] - twin.logits(image - step)[0, 1]
        assert float(change) == pytest.approx(2 * float((slope * step).sum()), rel=1e-2)
    finally:
        probe.module.float()
    for method in ("saliency", "integrated_gradients", "occlusion"):
        assert float(xai.explain(probe, TEST.images[:1], method, 1).attribution.abs().max()) > 0


@pytest.mark.parametrize("head", ["logistic", "svm"])
def test_saved_and_loaded_it_is_the_same(probes: dict, head: str, tmp_path: Path) -> None:
    probe = probes[head]
    path = probe.save(tmp_path / "probe.safetensors")
    again = xai.load(path, arch=NETS["wide"])
    assert torch.equal(again.logits_of(TEST.images), probe.logits_of(TEST.images))
    assert (again.fingerprint, again.class_names, again.accuracy) == (
        probe.fingerprint,
        probe.class_names,
        probe.accuracy,
    )
    assert set(probe.notes) <= set(again.notes)
    with pytest.raises(InputError, match="on features of a model of yours: arch="):
        xai.load(path)
    again.save(tmp_path / "twice.safetensors")
    assert (tmp_path / "twice.safetensors").read_bytes() == path.read_bytes()


def test_two_classes_and_a_model_with_a_name(tmp_path: Path) -> None:
    data = xai.load_data("example:fashion-train")
    rows = [k for k in range(400) if int(data.labels[k]) in {1, 8}]
    images, labels = torch.stack([data.images[k] for k in rows]), data.labels[rows]
    probe = xai.fit_probe("example:fashion", SimpleNamespace(images=images, labels=labels, classes=data.class_names))
    assert probe.class_names == (data.class_names[1], data.class_names[8])
    assert probe.accuracy > 0.8
    path = probe.save(tmp_path / "p.safetensors")
    assert path.stat().st_size < 200_000  # no weights of the model
    again = xai.load(path)
    assert torch.equal(again.logits_of(images), probe.logits_of(images))
    assert torch.equal(again.features(images), xai.load("example:fashion").features(images))


def test_a_loaded_model_with_a_name_is_saved_as_the_name_alone(tmp_path: Path) -> None:
    whole, images = xai.load_data("example:fashion-train"), xai.load_data("example:fashion-test").images[:5]
    data = whole.take([k for k in range(200) if int(whole.labels[k]) in {1, 8}])
    clf = xai.load("example:fashion")
    probe = xai.fit_probe(clf, data)
    path, named = probe.save(tmp_path / "p.safetensors"), xai.fit_probe("example:fashion", data)
    assert path.read_bytes() == named.save(tmp_path / "named.safetensors").read_bytes()
    assert torch.equal(xai.load(path).logits_of(images), named.logits_of(images))
    xai.load(path).save(tmp_path / "twice.safetensors")
    assert (tmp_path / "twice.safetensors").read_bytes() == path.read_bytes()
    with torch.no_grad():
        next(clf.module.parameters()).mul_(1.01)  # trained on: the name no longer says what it is
    other = xai.fit_probe(clf, data)
    path = other.save(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="on features of a model of yours: arch="):
        xai.load(path)
    again = xai.load(path, arch=lambda: xai.load("example:fashion").module)
    assert torch.equal(again.logits_of(images), other.logits_of(images))


def test_features_are_the_inputs_of_the_last_linear_layer() -> None:
    for net in (GapCnn(), GapCnn(seed=5, width=9)):
        clf = xai.load(net, input_size=SIZE, mean=[0.4] * 3, std=[0.3] * 3)
        maps = net.relu2(net.conv2(net.pool(net.relu1(net.conv1((TEST.images[:5] - 0.4) / 0.3)))))
        torch.testing.assert_close(clf.features(TEST.images[:5]), maps.mean((2, 3)).detach())
        assert clf.features(TEST).shape == (90, maps.shape[1])
    with pytest.raises(UnsupportedModelError, match=r"no features: .* Give a model that ends in a linear layer"):
        xai.Classifier(Bare(), input_size=SIZE).features(TEST.images[:2])


def test_what_cannot_be_fitted_is_refused() -> None:
    clf = xai.load(GapCnn(), input_size=SIZE)
    with pytest.raises(NameLookupError, match="no head 'tree'"):
        xai.fit_probe(clf, TRAIN, "tree")
    with pytest.raises(DataError, match="no labels"):
        xai.fit_probe(clf, TRAIN.images)
    few = SimpleNamespace(images=TRAIN.images[:7], labels=TRAIN.labels[:7], classes=TRAIN.classes)
    with pytest.raises(DataError, match="4 images of each class at least, but got 2 of 'green'"):
        xai.fit_probe(clf, few)
    same = SimpleNamespace(images=TRAIN.images[:9], labels=torch.ones(9, dtype=torch.int64), classes=TRAIN.classes)
    with pytest.raises(DataError, match="all are of class 'green'"):
        xai.fit_probe(clf, same)
    with pytest.raises(RangeError, match="`held_out` above 0 and below 1"):
        xai.fit_probe(clf, TRAIN, held_out=1.5)


def test_files_of_probes_that_do_not_fit_or_lie_are_refused(probes: dict, tmp_path: Path) -> None:
    path = probes["logistic"].save(tmp_path / "p.safetensors")
    with pytest.raises((CheckpointError, UnsupportedModelError), match=r"not the weights of|no layer|another model"):
        xai.load(path, arch=Bare)
    for text in ("", "[]", "{}", '{"form": 1}', "[" * 5000):
        save_file({"head.bias": torch.zeros(2)}, tmp_path / "q.safetensors", {"xai_probe": text})
        with pytest.raises(CheckpointError, match=r"q\.safetensors: a damaged file of a probe"):
            xai.load(tmp_path / "q.safetensors")
    with pytest.raises(InputError, match=r"ends in \.safetensors"):
        probes["logistic"].save(tmp_path / "p.pt")
