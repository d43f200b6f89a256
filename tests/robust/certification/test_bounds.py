"""Bounds against auto_LiRPA's values, closed forms, enumeration and sampling."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from model_state import snapshot
from small_models import GapCnn, LinearModel, pictures, randomise
from torch import Tensor, nn
from torch.nn import functional as F

import xai
from xai.errors import NameLookupError, RangeError, ShapeError, Stopped, UnsupportedModelError
from xai.robust.certification.certify import ROUNDING, certify, output_bounds
from xai.robust.certification.linear import Region, bounds
from xai.robust.certification.prover import Prover
from xai.robust.certification.smoothing import SmoothingNoise, lower_share, radius_of

REFERENCE = np.load(Path(__file__).parent / "reference_bounds.npz")
METHODS = ("ibp", "crown_ibp", "crown")


class Residual(nn.Module):
    """The third reference network: batch norm and a sum of two branches."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(1, 8, 3, 1, 1), nn.BatchNorm2d(8)
        self.c2, self.b2 = nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8)
        self.c3, self.pool, self.fc = nn.Conv2d(8, 8, 3, 1, 1), nn.AvgPool2d(2), nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        first = F.relu(self.b1(self.c1(images)))
        second = F.relu(self.b2(self.c2(first)))
        return self.fc(torch.flatten(self.pool(F.relu(self.c3(second) + first)), 1))


class Kitchen(nn.Module):
    """Every layer that bounds know, in the ways people write them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 6, 3, padding="same"), nn.BatchNorm2d(6)
        self.grouped, self.pool = nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=2, bias=False), nn.MaxPool2d(2)
        self.drop, self.same = nn.Dropout(), nn.Identity()
        self.over, self.leaky = nn.MaxPool2d(3, 1, 1), nn.LeakyReLU(0.2)
        self.last, self.head = nn.Conv2d(6, 6, 2, dilation=2), nn.Linear(6, 4)
        randomise(self, scale=1.0)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.norm(self.first(images * 2 - 0.5)), inplace=True)
        maps = self.drop(self.grouped(maps)).relu()
        maps = self.over(F.max_pool2d(maps, 2) + self.pool(maps))
        maps = self.same(self.leaky(self.last(maps) / 3))
        maps = F.adaptive_avg_pool2d(maps, 1)
        return self.head(maps.view(maps.size(0), -1))


def reference(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    made = {
        "mlp": nn.Sequential(
            nn.Flatten(), nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 50), nn.LeakyReLU(0.1), nn.Linear(50, 10)
        ),
        "conv": nn.Sequential(
            *(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten()),
            *(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)),
        ),
        "residual": Residual(),
    }[name].double()
    start = f"{name}/state/"
    made.load_state_dict(
        {k.removeprefix(start): torch.tensor(REFERENCE[k]) for k in REFERENCE.files if k.startswith(start)}
    )
    return (
        made.eval(),
        torch.tensor(REFERENCE[f"{name}/x"]).double().view(-1, 1, 8, 8),
        torch.tensor(REFERENCE[f"{name}/y"]).long(),
    )


@pytest.mark.parametrize("eps", ["0.01", "0.03", "0.06"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["mlp", "conv", "residual"])
def test_equal_to_auto_lirpa(name: str, method: str, eps: str) -> None:
    net, images, labels = reference(name)
    count = len(images)
    prover = Prover.of(xai.Classifier(net, channels=1), images, clip=False)
    region = Region.around(images, torch.full((count,), float(eps), dtype=torch.float64), "linf", clip=False)
    lower, upper = bounds(prover.network, region, method)
    margins = prover.margins(images, labels, torch.full((count,), float(eps), dtype=torch.float64), "linf", method)
    others = margins[~F.one_hot(labels, 10).bool()].view(count, 9)
    for found, key in ((lower, "lower"), (upper, "upper"), (others, "margin")):
        wanted = torch.tensor(REFERENCE[f"{name}/{method}/{eps}/{key}"])[:count]
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-8)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("method", METHODS)
def test_linear_models_are_exact(norm: str, method: str) -> None:
    net, images = LinearModel().eval(), pictures(3, size=(16, 16))
    clean = net(images).double().detach()
    labels, weight = clean.argmax(1), net.linear.weight.double().detach()
    found = certify(net, images, labels, eps=0.01, norm=norm, method=method, clip=False)
    dual = {"linf": 1, "l2": 2, "l1": torch.inf}[norm]
    for k, label in enumerate(labels.tolist()):
        for other in set(range(clean.shape[1])) - {label}:
            gap = (weight[label] - weight[other]).flatten()
            exact = clean[k, label] - clean[k, other] - 0.01 * torch.linalg.vector_norm(gap, dual)
            below = found.margins[k, other]
            assert below <= exact + 1e-4
            if norm == "linf" or method != "ibp":
                torch.testing.assert_close(below, exact, rtol=0, atol=1e-4)


def test_box_counts_at_the_border() -> None:
    net = LinearModel().eval()
    black = torch.zeros(1, 3, 16, 16)
    label = net(black).argmax(1)
    free = certify(net, black, label, eps=0.1, clip=False).margin
    boxed = certify(net, black, label, eps=0.1).margin
    weight = net.linear.weight.double().detach()
    exact = []
    clean = net(black).double().detach()[0]
    for other in set(range(len(clean))) - {int(label)}:
        gap = weight[int(label)] - weight[other]
        exact.append(clean[int(label)] - clean[other] + 0.1 * gap.clamp_max(0).sum())  # black pixels can only rise
    torch.testing.assert_close(boxed[0], torch.stack(exact).min(), rtol=0, atol=1e-4)
    assert float(free[0]) < float(boxed[0])


class Two(nn.Module):
    """Two inputs, two ReLUs, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(2, 2), nn.Linear(2, 2)
        randomise(self, scale=2.0)

    def forward(self, images: Tensor) -> Tensor:
        return self.two(F.relu(self.one(images.flatten(1))))


def exact_range(net: Two, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the exact range of both logits, pattern by pattern of the ReLUs, with scipy's linear programs."""
    from scipy.optimize import linprog

    weight, bias = net.one.weight.detach().double(), net.one.bias.detach().double()
    ends = []
    for signs in itertools.product((0.0, 1.0), repeat=2):
        on = torch.tensor(signs, dtype=torch.float64)
        slope = net.two.weight.detach().double() * on @ weight
        shift = net.two.weight.detach().double() * on @ bias + net.two.bias.detach().double()
        edge = (1 - 2 * on)[:, None] * weight, -(1 - 2 * on) * bias
        box = list(zip(low.tolist(), high.tolist(), strict=True))
        for sign in (1, -1):
            for k in range(2):
                best = linprog(sign * slope[k].numpy(), edge[0].numpy(), edge[1].numpy(), bounds=box)
                if best.status == 0:
                    ends.append((k, float(slope[k] @ torch.tensor(best.x) + shift[k])))
    values = [torch.tensor([v for j, v in ends if j == k]) for k in range(2)]
    return torch.stack([v.min() for v in values]), torch.stack([v.max() for v in values])


@pytest.mark.parametrize("seed", range(8))
def test_two_by_two_networks_enumerated(seed: int) -> None:
    torch.manual_seed(seed)
    net = Two().double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_()
    low = torch.rand(1, 1, 1, 2).double() * 0.5
    high = low + torch.rand(1, 1, 1, 2).double() * 0.5
    least, most = exact_range(net, low.flatten(), high.flatten())
    for method in METHODS:
        lower, upper = (v[0] for v in output_bounds(xai.Classifier(net, channels=1), low, high, method))
        assert bool((lower <= least + 1e-6).all())
        assert bool((upper >= most - 1e-6).all())
        assert float((upper - lower).sum()) >= float((most - least).sum()) - 1e-6


@pytest.mark.parametrize("net", [Kitchen(), GapCnn()], ids=["kitchen", "gap"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_no_sample_leaves_the_bounds(net: nn.Module, method: str, norm: str) -> None:
    classifier = xai.Classifier(net.eval(), mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.25])
    image = pictures(1, size=(16, 16))
    eps = {"linf": 0.05, "l2": 0.5, "l1": 3.0}[norm]
    prover = Prover.of(classifier, image)
    region = Region.around(image, torch.tensor([eps]), norm, clip=True)
    lower, upper = bounds(prover.network, region, method)
    source = torch.Generator().manual_seed(0)
    shift = torch.randn(2000, *image.shape[1:], generator=source)
    shift[:1000] = shift[:1000].sign() if norm == "linf" else shift[:1000] ** 3
    size = {"linf": shift.abs().amax((1, 2, 3)), "l2": shift.flatten(1).norm(dim=1), "l1": shift.abs().sum((1, 2, 3))}[
        norm
    ]
    points = (image + eps * shift / size.view(-1, 1, 1, 1)).clamp(0, 1)
    with torch.no_grad():
        logits = classifier.logits(points).double()
    assert bool((logits >= lower - 1e-4).all())
    assert bool((logits <= upper + 1e-4).all())
    assert bool(((upper - lower) > 1e-3).all())


def test_tighter_methods_are_tighter_and_margins_fall_with_eps() -> None:
    net, images, labels = reference("conv")
    classifier = xai.Classifier(net, channels=1)
    counts = []
    for method in METHODS:
        margins = [certify(classifier, images, labels, eps=e, method=method).margin for e in (0.0, 0.01, 0.03)]
        assert bool((margins[0] >= margins[1]).all())
        assert bool((margins[1] >= margins[2]).all())
        counts.append(int((margins[2] > 0).sum()))
    assert counts[0] < counts[1] < counts[2]
    clean = net(images)
    gap = clean.gather(1, labels[:, None])[:, 0] - clean.scatter(1, labels[:, None], -torch.inf).amax(1)
    torch.testing.assert_close(margins[0], gap.detach(), rtol=0, atol=1e-9)
    auto = certify(classifier, images, labels, eps=0.03, method="auto")
    assert int(auto.verified.sum()) >= counts[2]
    assert set(auto.decided_by) <= {"", *METHODS}


def test_wrong_answers_are_never_verified() -> None:
    net, images, labels = reference("conv")
    wrong = (labels + 1) % 10
    assert not bool(certify(xai.Classifier(net, channels=1), images, wrong, eps=0.0).verified.any())
    assert ROUNDING > 0


@pytest.mark.parametrize("task", [None, "binary", "multilabel"])
def test_one_output_stands_for_two_classes(task: str | None) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 1)).eval()
    classifier = xai.Classifier(net, task=task)
    image = torch.full((1, 3, 2, 2), 0.5)
    label = classifier.logits(image).argmax(1)
    found = certify(classifier, image, label, eps=0.01)
    with torch.no_grad():
        exact = float(net(image).abs()) - 0.01 * float(net[1].weight.abs().sum())
    assert float(found.margin[0]) == pytest.approx(exact, abs=1e-6)


def test_unsupported_layers_are_named() -> None:
    image, label = pictures(1, size=(8, 8)), [0]
    cases = {
        "Sigmoid '1'": nn.Sequential(nn.Conv2d(3, 2, 8), nn.Sigmoid(), nn.Flatten()),
        "GroupNorm '1'": nn.Sequential(nn.Conv2d(3, 2, 8), nn.GroupNorm(1, 2), nn.Flatten()),
        "Softmax '2'": nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten(), nn.Softmax(1), nn.Linear(2, 2)),
    }
    for name, net in cases.items():
        with pytest.raises(UnsupportedModelError, match=name):
            certify(net.eval(), image, label, eps=0.01)


class Branching(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) if images.sum() > 0 else images.amax((2, 3))


def test_bad_input_is_refused() -> None:
    net, image = GapCnn().eval(), pictures(1, size=(16, 16))
    with pytest.raises(UnsupportedModelError, match="cannot be traced"):
        certify(Branching(), image, [0])
    for eps in (-0.1, float("nan"), [0.1, 0.2]):
        with pytest.raises(RangeError, match="eps"):
            certify(net, image, [0], eps=eps)
    with pytest.raises(NameLookupError, match="norm"):
        certify(net, image, [0], norm="l0")
    with pytest.raises(NameLookupError, match="crown"):
        certify(net, image, [0], method="crwn")
    with pytest.raises(NameLookupError, match="sigma"):
        certify(net, image, [0], sigma=0.3)
    with pytest.raises(ShapeError, match="label"):
        certify(net, image, [0, 1])
    with pytest.raises(RangeError, match="above"):
        output_bounds(net, image * 0 + 0.6, image * 0 + 0.5)


def test_model_comes_back_and_batches_do_not_matter(tmp_path: Path) -> None:
    net, images = GapCnn(), pictures(5, size=(16, 16))
    net.train()
    before = snapshot(net)
    labels = xai.Classifier(net).predict(images).index
    together = certify(net, images, labels, eps=0.004, method="auto")
    assert snapshot(net) == before
    alone = [certify(net, images[k : k + 1], labels[k : k + 1], eps=0.004, method="auto") for k in range(5)]
    torch.testing.assert_close(together.margin, torch.cat([a.margin for a in alone]), rtol=0, atol=1e-9)
    loaded = xai.results.Certificate.load(together.save(tmp_path / "c"))
    assert loaded.to_dict() == together.to_dict()


TABLE = [
    (10, 10, 0.501187234, 0.002976),
    (100, 99, 0.911373111, 1.349259),
    (100, 100, 0.933254301, 1.500475),
    (1000, 990, 0.976036187, 1.978010),
    (1000, 1000, 0.993116048, 2.463263),
    (10000, 9990, 0.997588308, 2.818598),
    (100000, 60000, 0.595201047, 0.240945),
    (100000, 99000, 0.988989340, 2.290000),
    (100000, 100000, 0.999930925, 3.811457),
]


@pytest.mark.parametrize(("samples", "hits", "share", "radius"), TABLE)
def test_smoothing_table(samples: int, hits: int, share: float, radius: float) -> None:
    assert lower_share(hits, samples, 0.001) == pytest.approx(share, abs=1e-9)
    assert radius_of(hits, samples, 0.5, 0.001) == pytest.approx(0.5 * radius, abs=1e-6)


def test_smoothed_linear_model() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 1)).eval()
    image = torch.full((1, 3, 2, 2), 0.5)
    with torch.no_grad():
        true = float(net(image).abs() / net[1].weight.norm())
        label = [int(net(image) > 0)]
    found = certify(
        net, image, label, eps=0.9 * true, norm="l2", method="smoothing", sigma=true, samples=20000, alpha=0.001
    )
    radius = float(found.margin[0]) + 0.9 * true
    assert 0.93 * true < radius <= true * 1.001
    assert bool(found.verified[0])
    again = certify(net, image, label, eps=0.9 * true, norm="l2", method="smoothing", sigma=true, samples=20000)
    assert float(again.margin[0]) == float(found.margin[0])
    far = certify(net, image, [1 - label[0]], eps=0.01, norm="l2", method="smoothing", sigma=true, samples=200)
    assert not bool(far.verified[0])
    with pytest.raises(RangeError, match="sigma"):
        SmoothingNoise(sigma=0)


def test_bounds_of_the_shipped_network() -> None:
    classifier = xai.load("example:fashion-robust")
    data = xai.load_data("example:fashion-test")
    images = torch.stack([data.images[k] for k in range(4)])
    found = certify(classifier, images, data.labels[:4], eps=0.25 / 255, method="crown_ibp")
    assert found.predictions.tolist() == classifier.predict(images).index.tolist()
    region = Region(images.double(), images.double())
    below, above = bounds(Prover.of(classifier, images).network, region, "ibp")
    torch.testing.assert_close(below, above, rtol=0, atol=1e-9)


def test_a_proof_stops_inside_a_single_picture() -> None:
    classifier, images = xai.load("example:fashion-robust"), xai.load_data("example:fashion-test").images[:1]
    prover, asked = Prover.of(classifier, images), []

    def should_stop() -> bool:
        asked.append(True)
        return len(asked) > 3

    labels = torch.tensor([0])
    with pytest.raises(Stopped, match="inner numbers of a certificate"):
        prover.margins(images, labels, 2 / 255, should_stop=should_stop)
    assert len(asked) == 4
    asked.clear()
    with pytest.raises(Stopped, match="inner numbers of a certificate"):
        prover.ranges(images - 0.01, images + 0.01, should_stop=should_stop)
