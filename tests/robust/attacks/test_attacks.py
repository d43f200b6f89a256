"""Attacks against closed forms, brute force and the official AutoAttack."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest
import torch
from model_state import snapshot
from scipy.optimize import minimize
from sklearn.datasets import load_digits
from small_models import GapCnn, LinearModel, fragile, pictures
from torch import Tensor, nn

import xai
from xai.errors import NameLookupError, RangeError, ShapeError, Stopped, TargetError, UnsupportedModelError
from xai.robust.attacks.base import ATTACKS, Attack, AttackCost
from xai.robust.attacks.fab_t import step_to_plane
from xai.robust.attacks.search import Search, length, project, random_start, seeds_of, uniform

REFERENCE = np.load(Path(__file__).parent / "reference_autoattack.npz")
NORMS = ("linf", "l2", "l1")
EPS = {"linf": 0.03, "l2": 0.4, "l1": 3.0}
FEW = {"queries": 400, "steps": 20, "samples": 20, "rounds": 3}
IN_BALL = [name for name in ATTACKS if ATTACKS[name].ball and name != "autoattack"]
PAIRS = [(name, norm) for name in IN_BALL for norm in ATTACKS[name].norms]


def quick(name: str) -> Attack:
    """Return an attack with settings that take little time."""
    known = {f.name for f in fields(ATTACKS[name])}
    return ATTACKS[name](**{key: value for key, value in FEW.items() if key in known})


def digits() -> tuple[nn.Module, Tensor, Tensor]:
    net = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)),
    )
    start = "conv/state/"
    net.load_state_dict(
        {k.removeprefix(start): torch.tensor(REFERENCE[k]) for k in REFERENCE.files if k.startswith(start)}
    )
    data = load_digits()
    images = torch.tensor(data.images / 16, dtype=torch.float32)[::3][:200, None]
    return net.eval(), images, torch.tensor(data.target)[::3][:200]


ROWS = ("Linf/0.05", "Linf/0.15", "L2/0.5")  # the other rows of the reference


@pytest.mark.parametrize("key", ["Linf/0.1", *(pytest.param(k, marks=pytest.mark.slow) for k in ROWS)])
def test_leaves_the_same_pictures_robust_as_the_official_autoattack(key: str) -> None:
    net, images, labels = digits()
    norm, eps = key.split("/")
    wanted = torch.tensor(REFERENCE[f"{key}/robust"]).bool()
    method = "autoattack" if key == "Linf/0.15" else "apgd-t"
    found = xai.attack(xai.Classifier(net, channels=1), images, labels, method, eps=float(eps), norm=norm.lower())
    assert int((found.robust != wanted).sum()) <= 1
    assert found.clean_accuracy == pytest.approx(0.97)
    assert set(found.broken_by) <= {"", "apgd-ce", "apgd-t", "fab-t", "square"}


DUAL = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}


def rivals(net: LinearModel, images: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Return the normal vectors (N, 2, D) and margins (N, 2) of the true class against the two others."""
    others = torch.tensor([[k for k in range(len(net.linear.bias)) if k != true] for true in label.tolist()])
    weight, bias = net.linear.weight.detach().double(), net.linear.bias.detach().double()
    normals = weight[label][:, None] - weight[others]
    return normals, torch.einsum("nkd,nd->nk", normals, images.flatten(1).double()) + bias[label][:, None] - bias[
        others
    ]


def exact_margins(net: LinearModel, images: Tensor, label: Tensor, eps: float, norm: str) -> Tensor:
    """Return the least margin (N,) of a linear model over ball and box."""
    normals, margins = rivals(net, images, label)
    pixels = images.flatten(1).double()[:, None]
    return (margins - best_fall(normals, pixels, eps, norm)).amin(1)


def best_fall(normals: Tensor, pixels: Tensor, eps: float, norm: str) -> Tensor:
    """Return the largest fall of w . x for a step of length `eps` inside the box, from optimality conditions."""
    room, size = torch.where(normals > 0, pixels, 1 - pixels), normals.abs()
    if norm == "linf":
        return (size * room.clamp_max(eps)).sum(-1)
    if norm == "l1":
        order = size.argsort(-1, descending=True)
        steps = room.gather(-1, order)
        taken = torch.minimum(steps, (eps - steps.cumsum(-1) + steps).clamp_min(0))
        return (size.gather(-1, order) * taken).sum(-1)
    low, high = torch.zeros_like(size[..., :1]), torch.full_like(size[..., :1], 1e6)
    for _ in range(100):
        middle = (low + high) / 2
        short = torch.minimum(middle * size, room).norm(dim=-1, keepdim=True) < eps
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return (size * torch.minimum(low * size, room)).sum(-1)


def check_closed_form(attack: Attack, norm: str, share: float, classes: int = 3) -> None:
    """Hold an attack to the exact worst case of linear models: what `share` of the radius can change is changed."""
    net = LinearModel(classes).eval()
    images = pictures(24, size=(16, 16))
    label = net(images).argmax(1)
    normals, clean = rivals(net, images, label)
    eps = float((clean / torch.linalg.vector_norm(normals, DUAL[norm], -1)).amin(1).median()) * 1.05
    found = attack.run(net, images, label, eps=eps, norm=norm)
    surely = exact_margins(net, images, label, share * eps, norm) < 0
    never = exact_margins(net, images, label, eps, norm) > 1e-4
    assert 0.2 < float(surely.double().mean()) < 0.8
    assert bool(found.success[surely].all())
    assert not bool(found.success[never].any())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["pgd", "bim", "apgd-ce", "apgd-dlr", "apgd-t", "fab-t"])
def test_linear_models_in_closed_form(name: str, norm: str) -> None:
    check_closed_form(ATTACKS[name](), norm, 0.7 if norm == "l1" and name in {"pgd", "bim"} else 0.98)


def test_fgsm_is_exact_for_linf() -> None:
    check_closed_form(ATTACKS["fgsm"](), "linf", 0.999, classes=2)


@dataclass(frozen=True)
class Nothing(Attack):
    """Does nothing."""

    name = "nothing"
    title = "Nothing"
    family = "none"

    @property
    def cost(self) -> AttackCost:
        return AttackCost(0, 0)

    def _attack(self, search: Search) -> None:
        search.look(search.clean, search.alive())


def test_an_attack_that_does_nothing_fails_the_closed_form() -> None:
    with pytest.raises(AssertionError):
        check_closed_form(Nothing(), "linf", 0.9)


@dataclass(frozen=True)
class Cheat(Nothing):
    """Leaves the ball."""

    def _attack(self, search: Search) -> None:
        search.look(1 - search.clean, search.alive())


def test_leaving_the_ball_is_an_error() -> None:
    net, images = GapCnn().eval(), pictures(2, size=(16, 16))
    with pytest.raises(xai.ContractError, match="left the linf ball"):
        Cheat().run(net, images, net(images).argmax(1), eps=0.01)


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_ball_box_and_fresh_judgement(name: str, norm: str) -> None:
    net, images = GapCnn().eval(), pictures(6, size=(16, 16))
    images[:3] = (images[:3] > 0.5).float()  # exactly 0 and 1
    labels = net(images).argmax(1)
    found = quick(name).run(net, images, labels, eps=EPS[norm], norm=norm, seed=3)
    delta = found.adversarial.double() - images.double()
    assert bool((length(delta, norm) <= EPS[norm] * (1 + 1e-6) + 1e-6).all())
    assert float(found.adversarial.min()) >= 0
    assert float(found.adversarial.max()) <= 1
    with torch.no_grad():
        answers = net(found.adversarial).argmax(1)
    assert torch.equal(answers, found.predictions)
    assert torch.equal(answers != labels, found.success)
    torch.testing.assert_close(found.distance, length(delta, norm), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_neither_batch_nor_order_matter(name: str, norm: str) -> None:
    net, images = fragile(), pictures(5, size=(16, 16))
    labels = net(images).argmax(1)

    def run(rows: list[int]) -> Tensor:
        return quick(name).run(net, images[rows], labels[rows], eps=0.3, norm=norm, seed=1).adversarial

    together = run([0, 1, 2, 3, 4])
    torch.testing.assert_close(run([4, 2, 0]), together[[4, 2, 0]], rtol=0, atol=1e-5)
    torch.testing.assert_close(run([3]), together[[3]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ["apgd-dlr", "apgd-t", "fab-t", "square"])
def test_few_classes(name: str, classes: int) -> None:
    net, images = LinearModel(classes).eval(), pictures(4, size=(16, 16))
    found = quick(name).run(net, images, net(images).argmax(1), eps=0.5)
    assert bool(found.success.all())


@pytest.mark.parametrize("name", ["pgd", "apgd-ce", "apgd-t", "fab-t", "square"])
def test_targets_are_reached(name: str) -> None:
    net, images = LinearModel().eval(), pictures(4, size=(16, 16))
    labels = net(images).argmax(1)
    wanted = ((labels + 1) % 3).tolist()
    found = quick(name).run(net, images, labels, eps=0.5, targeted=wanted)
    assert found.predictions.tolist() == wanted
    assert found.targeted == tuple(wanted)
    with pytest.raises(TargetError, match="has its own"):
        xai.attack(net, images, labels, name, targeted=labels.tolist())


def brute_projection(point: np.ndarray, clean: np.ndarray, eps: float, norm: str) -> np.ndarray:
    size = (lambda d: np.sqrt((d**2).sum() + 1e-18)) if norm == "l2" else (lambda d: np.sqrt(d**2 + 1e-16).sum())
    found = minimize(
        lambda z: ((z - point) ** 2).sum(),
        clean,
        bounds=[(0, 1)] * len(clean),
        constraints={"type": "ineq", "fun": lambda z: eps - size(z - clean)},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return found.x


@pytest.mark.parametrize("seed", range(6))
def test_l1_projection_is_the_nearest_point(seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    clean = torch.rand(1, 1, 2, 3, generator=source, dtype=torch.float64)
    point = clean + torch.randn(clean.shape, generator=source, dtype=torch.float64)
    found = project(point, clean, 0.7, "l1").flatten()
    wanted = torch.tensor(brute_projection(point.flatten().numpy(), clean.flatten().numpy(), 0.7, "l1"))
    assert float((found - point.flatten()).norm()) <= float((wanted - point.flatten()).norm()) + 1e-5
    assert float((found - clean.flatten()).abs().sum()) <= 0.7 + 1e-9


@pytest.mark.parametrize("norm", NORMS)
def test_projections_leave_inner_points_and_reach_the_border(norm: str) -> None:
    clean = pictures(3, size=(8, 8)).double()
    inner = (clean + 1e-4).clamp(0, 1)
    torch.testing.assert_close(project(inner, clean, 5.0, norm), inner)
    outer = project(clean + torch.randn(clean.shape, dtype=torch.float64), clean, 0.1, norm)
    assert bool((length(outer - clean, norm) <= 0.1 + 1e-9).all())
    if norm != "l2":
        assert bool((length(outer - clean, norm) > 0.099).all())
    each = torch.tensor([0.05, 0.1, 0.2], dtype=torch.float64)
    assert bool((length(project(clean + 1.0, clean, each, norm) - clean, norm) <= each + 1e-9).all())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(4))
def test_step_to_plane_is_the_smallest(norm: str, seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    points = torch.rand(1, 5, generator=source, dtype=torch.float64)
    weights = torch.randn(1, 5, generator=source, dtype=torch.float64)
    reach = torch.where(weights > 0, 1 - points, points) @ weights[0].abs()
    gap = 0.6 * reach
    step = step_to_plane(points, weights, gap, norm)
    assert float((weights * step).sum()) == pytest.approx(float(gap), abs=1e-9)
    assert bool(((points + step) >= -1e-12).all())
    assert bool(((points + step) <= 1 + 1e-12).all())
    order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    tried = minimize(
        lambda v: np.linalg.norm(v, 2 if norm == "l2" else 8 if norm == "linf" else 1.01),
        step[0].numpy(),
        bounds=[(-float(p), 1 - float(p)) for p in points[0]],
        constraints={"type": "eq", "fun": lambda v: float(v @ weights[0].numpy()) - float(gap)},
        method="SLSQP",
    ).x
    assert np.linalg.norm(step[0].numpy(), order) <= np.linalg.norm(tried, order) + 1e-6
    far = step_to_plane(points, weights, 2 * reach, norm)
    torch.testing.assert_close((weights * far).sum(1), reach, rtol=0, atol=1e-9)


def test_random_numbers() -> None:
    seeds = seeds_of(0, [bytes([k] * 32) for k in range(200)], torch.device("cpu"))
    drawn = uniform(seeds, 5, (3, 40))
    assert drawn.shape == (200, 3, 40)
    assert float(drawn.min()) >= 0
    assert float(drawn.max()) < 1
    assert float(drawn.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(drawn.var()) == pytest.approx(1 / 12, abs=0.002)
    assert abs(float(torch.corrcoef(drawn.flatten(1)[:2])[0, 1])) < 0.3
    assert torch.equal(uniform(seeds[7:9], 5, (3, 40)), drawn[7:9])
    assert not torch.equal(uniform(seeds, 6, (3, 40)), drawn)
    assert len(drawn.flatten().unique()) > 23990
    clean = pictures(4, size=(8, 8))
    for norm in NORMS:
        start = random_start(clean, 0.2, norm, seeds[:4], 0)
        assert bool((length(start.double() - clean.double(), norm) <= 0.2 + 1e-6).all())
        assert bool((length(start.double() - clean.double(), norm) > 0.05).all())


@pytest.mark.parametrize("name", IN_BALL)
def test_the_model_comes_back(name: str) -> None:
    net, images = GapCnn(), pictures(2, size=(16, 16))
    net.train()
    before = snapshot(net)
    labels = xai.Classifier(net).predict(images).index
    norm = quick(name).norms[0]
    quick(name).run(net, images, labels, eps=0.02, norm=norm)
    assert snapshot(net) == before
    with pytest.raises(Stopped, match="as asked"):
        quick(name).run(net, images, labels, eps=1e-9, norm=norm, should_stop=lambda: True)
    assert snapshot(net) == before


class Detached(GapCnn):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.detach())


def test_bad_input_is_refused() -> None:
    net, images = GapCnn().eval(), pictures(2, size=(16, 16))
    labels = net(images).argmax(1)
    for eps in (-0.1, float("nan"), float("inf"), "8/255", True):
        with pytest.raises(RangeError, match="eps"):
            xai.attack(net, images, labels, eps=eps)
    with pytest.raises(NameLookupError, match="norm"):
        xai.attack(net, images, labels, norm="l0")
    with pytest.raises(NameLookupError, match="steps"):
        xai.attack(net, images, labels, step=3)
    with pytest.raises(NameLookupError, match="pgd"):
        xai.attack(net, images, labels, "pdg")
    with pytest.raises(NameLookupError, match="loss"):
        xai.attack(net, images, labels, loss="cee")
    with pytest.raises(RangeError, match="steps"):
        xai.attack(net, images, labels, steps=0)
    with pytest.raises(ShapeError, match="label"):
        xai.attack(net, images, labels[:1])
    with pytest.raises(TargetError, match="autoattack has no targeted form"):
        xai.attack(net, images, labels, "autoattack", targeted=[0, 1])
    with pytest.raises(UnsupportedModelError, match="square"):
        xai.attack(Detached().eval(), images, Detached().eval()(images).argmax(1))


def test_result_is_saved_and_loaded(tmp_path: Path) -> None:
    net, images = GapCnn().eval(), pictures(3, size=(16, 16))
    labels = net(images).argmax(1)
    labels[0] = (labels[0] + 1) % 3
    calls: list[tuple[int, int]] = []
    found = xai.attack(net, images, labels, steps=5, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (2, 2)
    assert not bool(found.success[0])
    assert torch.equal(found.adversarial[0], images[0])
    assert any("1 of 3 images are misclassified before" in note for note in found.notes)
    assert found.clean_accuracy == pytest.approx(2 / 3)
    loaded = xai.results.AttackResult.load(found.save(tmp_path / "a"))
    assert loaded.to_dict() == found.to_dict()
    assert torch.equal(loaded.adversarial, found.adversarial)
    low, high = found.interval
    assert low <= found.robust_accuracy <= high


def test_random_models_are_averaged() -> None:
    class Noisy(LinearModel):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images + 0.1 * torch.randn_like(images))

    net, images = Noisy().eval(), pictures(4, size=(16, 16))
    labels = LinearModel().eval()(images).argmax(1)
    found = xai.attack(net, images, labels, eps=0.5, eot=8)
    assert float(found.success.double().mean()) >= 0.5


@pytest.mark.parametrize("norm", NORMS)
def test_warm_starts_are_taken_into_the_ball_and_only_where_known(norm: str) -> None:
    module, images, labels = digits()
    net = xai.Classifier(module, channels=1)
    eps = {"linf": 0.2, "l2": 1.5, "l1": 12.0}[norm]
    still = {"eps": eps, "norm": norm, "seed": 3}
    attack = ATTACKS["pgd"](steps=1, step_size=1e-9)
    cold = attack.run(net, images, labels, **still)
    found = xai.attack(net, images, labels, "pgd", steps=40, **still)
    known = found.success & (torch.arange(len(images)) % 2 == 0)
    warm = torch.where(known.view(-1, 1, 1, 1), found.adversarial, images)
    begun = attack.run(net, images, labels, warm=warm, **still)
    assert known.sum() > 20
    torch.testing.assert_close(begun.adversarial[known], found.adversarial[known], rtol=0, atol=1e-6)
    torch.testing.assert_close(begun.adversarial[~known], cold.adversarial[~known], rtol=0, atol=1e-6)
    smaller = attack.run(net, images, labels, warm=warm, **still | {"eps": eps / 4})
    assert float(smaller.distance.max()) <= eps / 4 * (1 + 1e-5)


@pytest.mark.parametrize("name", ["fgsm", "pgd", "square", "deepfool"])
@pytest.mark.parametrize("kind", ["linear", "network"])
def test_every_row_is_counted_and_images_as_they_are_run_once(name: str, kind: str) -> None:
    """Counted by a hook of ours: images as they are go through once, and `forwards` holds every row of the attack."""
    net = {"linear": LinearModel, "network": GapCnn}[kind]().eval()
    images, rows = pictures(6), []
    classifier = xai.Classifier(net, input_size=tuple(images.shape[2:]))
    labels = classifier.logits_of(images).argmax(1)
    labels[:2] = (labels[:2] + 1) % classifier.num_classes  # wrong before: left alone, not searched
    settings = {"square": {"queries": 30}, "pgd": {"steps": 3}}.get(name, {})
    real = xai.Classifier.logits_of
    judged: list[int] = []

    def noted(self: xai.Classifier, inputs: torch.Tensor, **more: object) -> torch.Tensor:
        judged.append(len(inputs))
        rows.append(inputs.detach().clone())
        return real(self, inputs, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xai.Classifier, "logits_of", noted)
        found = ATTACKS[name](**settings).run(classifier, images, labels, eps=0.05)
    clean = [row for row in rows if row.shape == images.shape and torch.equal(row, images)]
    assert len(clean) == 1
    assert judged[0] == 6
    assert found.forwards - sum(judged) >= 4  # the search alone, of those that were right: one row each at least


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["fgsm", "pgd", "square", "autoattack", "deepfool"])
def test_models_of_half_precision_are_attacked_with_images_of_full_precision(name: str, kind: torch.dtype) -> None:
    """An image in half precision cannot be 2/255 away: its steps near 1 are 1/2048 or 1/256."""
    model, images = xai.Classifier(GapCnn().to(kind)), pictures(3)
    labels = model.predict(images).logits.argmax(1)
    found = xai.attack(model, images, labels, name, **({} if name == "deepfool" else {"eps": 2 / 255}))
    assert found.adversarial.dtype == torch.float32
    if name != "deepfool":
        assert float((found.adversarial - images).abs().max()) <= 2 / 255 * (1 + 1e-5)
