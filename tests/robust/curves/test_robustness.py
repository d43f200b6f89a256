"""Robust accuracy from two sides: verdicts, monotone bounds, exact cases, budget, records, the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import LinearModel, fragile, pictures
from torch import Tensor, nn

import xai
from xai import robustness
from xai.cli import main
from xai.errors import ContractError, InputError, NameLookupError, RangeError, RecordError, ShapeError, Stopped
from xai.results import RobustnessCurve
from xai.robust.attacks.base import ATTACKS, Attack
from xai.robust.curves.stages import ImageBounds

EPS = [2 / 255, 4 / 255, 8 / 255, 16 / 255, 32 / 255]
FEW = ("fgsm", "pgd")


def curve_of(net: nn.Module, images: Tensor, **settings: object) -> RobustnessCurve:
    with torch.no_grad():
        labels = net(images).argmax(1)
    return robustness(net, images, labels, **{"eps": EPS, "attacks": FEW, "trust": False} | settings)


def exact_radius(net: LinearModel, images: Tensor) -> Tensor:
    """Return the l-inf radius (N,) at which a linear model answers otherwise, by bisection on the exact box minimum."""
    weight, bias = net.linear.weight.detach().double(), net.linear.bias.detach().double()
    points, labels = images.flatten(1).double(), net(images).argmax(1)
    low, high = torch.zeros(len(images)).double(), torch.ones(len(images)).double()
    for _ in range(60):
        eps = (low + high) / 2
        worst = torch.full_like(low, torch.inf)
        for other in range(len(bias)):
            normal = weight[labels] - weight[other]
            ends = torch.where(normal > 0, (points - eps[:, None]).clamp_min(0), (points + eps[:, None]).clamp_max(1))
            gap = (normal * ends).sum(1) + bias[labels] - bias[other]
            worst = torch.where(labels == other, worst, torch.minimum(worst, gap))
        low, high = torch.where(worst > 0, eps, low), torch.where(worst > 0, high, eps)
    return low


def test_a_linear_model_is_decided_exactly() -> None:
    net, images = LinearModel().eval(), pictures(60)
    radius = exact_radius(net, images)
    eps = radius.quantile(torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]).double()).tolist()
    curve = curve_of(net, images, eps=eps, attacks=("fgsm", "pgd", "apgd-t"))
    wanted = (radius[:, None] > torch.tensor(eps).double()).double().mean(0).numpy()
    np.testing.assert_allclose(curve.certified, wanted, atol=1e-9)
    np.testing.assert_allclose(curve.attacked, wanted, atol=1 / 60 + 1e-9)
    assert (curve.verdicts == "unproven").sum() <= 2


def test_certificates_reach_what_each_radius_alone_gives() -> None:
    net, images = fragile(), pictures(70)  # more than start from one guess
    labels = net(images).argmax(1)
    eps = [k / 510 for k in range(1, 9)]
    curve = curve_of(net, images, eps=eps, certificates=("crown",), attacks=("fgsm",))
    alone = [float(xai.certify(net, images, labels, eps=e, method="crown").verified.double().mean()) for e in eps]
    assert min(alone) < 0.5 < max(alone) < 1
    np.testing.assert_allclose(curve.certified, alone, atol=1e-9)


def test_progress_never_falls_and_ends_full() -> None:
    seen: list[tuple[int, int]] = []
    curve_of(fragile(), pictures(40), progress=lambda done, total: seen.append((done, total)))
    shares = [done / total for done, total in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len(set(shares)) > 6


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_bounds_fall_and_never_cross(norm: str) -> None:
    eps = {"linf": EPS, "l2": [0.02, 0.1, 0.3, 1.0], "l1": [0.02, 0.2, 1.0, 4.0]}[norm]
    curve = curve_of(fragile(), pictures(24), eps=eps, norm=norm)
    assert (curve.certified <= curve.attacked).all()
    assert (np.diff(curve.certified) <= 0).all()
    assert (np.diff(curve.attacked) <= 0).all()
    assert curve.attacked[0] > 0
    assert curve.attacked[-1] < 1
    assert curve.certified[0] > 0
    assert curve.certified[-1] < 1
    order = {"verified": 0, "unproven": 1, "violated": 2}
    numbers = np.vectorize(order.get)(curve.verdicts)
    assert (np.diff(numbers, axis=1) >= 0).all()


def test_counterexamples_fool_inside_their_balls() -> None:
    net, images = fragile(), pictures(24)
    curve = curve_of(net, images)
    found = 0
    for row in range(24):
        for level, eps in enumerate(EPS):
            changed = curve.counterexamples[row, level]
            assert (changed is not None) == (curve.verdicts[row, level] == "violated")
            if changed is not None:
                found += 1
                assert float((changed - images[row]).abs().max()) <= eps * (1 + 1e-5)
                assert float(changed.min()) >= 0
                assert float(changed.max()) <= 1
                answer = int(net(changed[None]).argmax())
                assert answer == int(curve.predictions[row])
                assert answer != int(curve.labels[row])
    assert found
    assert (curve.smallest_eps[curve.rows] < np.inf).all()


def test_a_curve_is_what_separate_runs_find() -> None:
    net, images = fragile(), pictures(40)
    labels = net(images).argmax(1)
    curve = curve_of(net, images, attacks=("pgd",), certificates=())
    alone = [xai.attack(net, images, labels, "pgd", eps=eps).robust_accuracy for eps in EPS]
    assert (curve.attacked <= np.array(alone) + 1 / 40).all()
    assert np.abs(curve.attacked - alone).max() <= 2 / 40


def test_wrong_answers_are_violated_everywhere() -> None:
    net, images = fragile(), pictures(12)
    labels = net(images).argmax(1)
    labels[:3] = (labels[:3] + 1) % 4
    curve = robustness(net, images, labels, EPS, attacks=FEW, trust=False)
    assert curve.clean == pytest.approx(0.75)
    assert (curve.verdicts[:3] == "violated").all()
    assert torch.equal(curve.counterexamples[0, 0], images[0])
    assert curve.broken_first_by["clean"] == 3
    matrix = curve.confusion(EPS[-1])
    assert int(matrix.to_numpy().sum()) == 12
    assert int(np.trace(matrix)) == round(12 * curve.attacked[-1])
    assert curve.per_class["images"].groupby(curve.per_class["class"]).first().sum() == 12


def test_the_budget_is_honest() -> None:
    curve = curve_of(fragile(), pictures(24), budget=1e-6)
    assert (curve.verdicts[curve.clean_predictions == curve.labels] == "unproven").all()
    assert all(stage["note"] == "time ran out" for stage in curve.stages)
    assert any("for lack of time" in note for note in curve.notes)
    assert (curve.attacked == curve.clean).all()
    assert (curve.certified == 0).all()


@pytest.mark.parametrize("after", [1, 20])
def test_it_stops_when_asked(after: int) -> None:
    calls: list[int] = []

    def stop() -> bool:
        calls.append(1)
        return len(calls) > after

    with pytest.raises(Stopped, match="as asked"):
        curve_of(fragile(), pictures(12), should_stop=stop)


def test_what_cannot_be_proven_is_named() -> None:
    class Sine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = fragile()

        def forward(self, images: Tensor) -> Tensor:
            return torch.sin(self.net(images))

    curve = curve_of(Sine().eval(), pictures(8))
    assert (curve.certified == 0).all()
    assert any("sin" in note for note in curve.notes)


def test_a_contradiction_is_an_error() -> None:
    images = pictures(2)
    bounds = ImageBounds(images, torch.tensor([0, 1]), (0.1, 0.2, 0.3), torch.tensor([0, 1]))
    bounds.take_certificates(torch.tensor([0, 1]), torch.tensor([True, True]), torch.tensor([1, 1]), "crown")
    far, none = torch.tensor([0.25, 0.35]).double(), torch.tensor([1, 0])
    both = torch.tensor([True, True])
    bounds.take(torch.tensor([0, 1]), images, far, none, ["pgd", "pgd"], both)
    assert bounds.broken.tolist() == [2, 3]
    with pytest.raises(
        ContractError, match=r"certified up to 0.2 by 'crown', but 'fgsm' changed the prediction at 0.15"
    ):
        bounds.take(torch.tensor([0]), images[:1], torch.tensor([0.15]).double(), none[:1], ["fgsm"], both[:1])


def test_seeds_decide() -> None:
    one, same, other = (curve_of(fragile(), pictures(16), seed=k, certificates=(), attacks=("pgd",)) for k in (1, 1, 2))
    assert torch.equal(one.adversarial, same.adversarial)
    assert not torch.equal(one.adversarial, other.adversarial)


def test_saved_and_loaded(tmp_path: Path) -> None:
    curve = curve_of(fragile(), pictures(40), trust=True, attacks=("fgsm", "pgd", "apgd-t"))
    again = RobustnessCurve.load(curve.save(tmp_path / "curve"))
    assert again.to_dict() == curve.to_dict()
    assert again.trust == curve.trust
    assert torch.equal(again.adversarial, curve.adversarial)
    json.dumps(curve.to_dict())
    (tmp_path / "curve" / "values.npz").unlink()
    with pytest.raises(RecordError, match="values"):
        RobustnessCurve.load(tmp_path / "curve")


def test_pictures_are_drawn() -> None:
    curve = curve_of(fragile(), pictures(12))
    figure = curve.plot()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["unproven", "attacked", "certified"]
    assert [line.get_ydata().tolist()[1:] for line in figure.axes[0].lines[:1]] == [(100 * curve.attacked).tolist()]
    assert len(curve.strip(curve.changed[0]).axes) == 2 * (len(EPS) + 1)
    with pytest.raises(RangeError, match="that an attack changed"):
        curve.strip(99)


def test_pictures_as_bytes_leave_no_figure_open() -> None:
    from matplotlib import pyplot as plt

    curve, before = curve_of(fragile(), pictures(12)), plt.get_fignums()
    files = [curve.png(), curve.png(strip=True), curve.png(curve.changed[0], strip=True)]
    assert all(file.startswith(b"\x89PNG") for file in files)
    assert len(set(files)) >= 2
    assert plt.get_fignums() == before
    with pytest.raises(RangeError, match="that an attack changed"):
        curve.png(99, strip=True)


def test_changed_pictures_come_nearest_first() -> None:
    curve = curve_of(fragile(), pictures(40))
    distances = [float(curve.distance[k]) for k in curve.changed]
    assert distances == sorted(distances)
    assert 0 < distances[0] <= distances[-1] < float("inf")


def test_only_what_an_attack_is_counts() -> None:
    assert issubclass(ATTACKS["pgd"], Attack)
    with pytest.raises(InputError, match="does not search linf balls"):
        curve_of(fragile(), pictures(2), attacks=("ddn",))


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"eps": []}, ShapeError, "increasing radii"),
        ({"eps": [0.2, 0.1]}, ShapeError, "increasing radii"),
        ({"eps": [0.0, 0.1]}, RangeError, "above 0"),
        ({"eps": [-0.1]}, RangeError, "at least 0"),
        ({"eps": ["8/255"]}, RangeError, "8/255, not 8"),
        ({"norm": "l7"}, NameLookupError, "norm"),
        ({"budget": 0}, RangeError, "seconds"),
        ({"attacks": ("pgdd",)}, NameLookupError, "pgd"),
        ({"certificates": ("crwon",)}, NameLookupError, "crown"),
    ],
)
def test_bad_input_is_refused(settings: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        curve_of(fragile(), pictures(2), **settings)
    with pytest.raises(InputError, match="the ground truth of each image"):
        robustness(fragile(), pictures(2))


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "curve"
    asked = ["robustness", "--model", "example:fashion", "--data", "example:fashion-test", "--count", "8"]
    asked += ["--eps", "1/255,8/255", "--attacks", "fgsm", "--certificates", "ibp"]
    assert main([*asked, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "1/255" in text
    assert "too_few_images" in text
    assert (out / "curve.png").stat().st_size > 5000
    assert (out / "strip.png").stat().st_size > 5000
    assert main([*asked, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["robustness"]
    assert printed["attacked"] == RobustnessCurve.load(out).attacked.tolist()
    assert main([*asked[:-4], "--eps", "8/255,1/255", "--certificates", "none"]) == 2
    assert "increasing radii" in capsys.readouterr().err
