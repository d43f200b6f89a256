"""Rotations and shifts, random noise, and what comes in from a caller."""

import pytest
import torch
from small_models import GapCnn, LinearModel, fragile, pictures
from torch import Tensor

import xai
from xai.errors import RangeError, ShapeError, Stopped, TargetError
from xai.robust.attacks.base import ATTACKS
from xai.robust.attacks.noise import Noise
from xai.robust.attacks.search import length, margin
from xai.robust.attacks.spatial import Spatial, warped


def test_quarter_turns_and_whole_shifts_are_exact() -> None:
    images = pictures(2, size=(8, 8))
    torch.testing.assert_close(warped(images, 90.0, 0.0, 0.0, 0.0), images.rot90(1, (2, 3)), rtol=0, atol=1e-5)
    long = pictures(2, size=(8, 12))
    moved = warped(long, 0.0, 2 / 8, 3 / 12, 0.25)
    torch.testing.assert_close(moved[..., 2:, 3:], long[..., :-2, :-3], rtol=0, atol=1e-5)
    torch.testing.assert_close(moved[..., :2, :], torch.full_like(moved[..., :2, :], 0.25), rtol=0, atol=1e-5)
    torch.testing.assert_close(moved[..., :, :3], torch.full_like(moved[..., :, :3], 0.25), rtol=0, atol=1e-5)
    assert torch.equal(warped(long, 0.0, 0.0, 0.0, 0.25), long)


def test_a_turn_keeps_lengths_on_pictures_that_are_not_square() -> None:
    image = torch.zeros(1, 1, 21, 41)
    image[0, 0, 10, 26] = 1.0  # six to the right of the middle
    turned = warped(image, 90.0, 0.0, 0.0, 0.0)
    assert turned.flatten().argmax() == 4 * 41 + 20  # six above it
    assert float(turned.max()) == pytest.approx(1.0, abs=1e-4)


def test_the_grid_is_symmetric_holds_the_clean_picture_and_starts_there() -> None:
    grid = Spatial(rotation=30, shift=0.1, angles=31).grid()
    assert len(grid) == len(set(grid)) == 31 * 5 * 5 == Spatial(angles=31).cost.forward
    assert grid[0] == (0, 0, 0)
    assert {(-a, -b, -c) for a, b, c in grid} == set(grid)
    assert max(grid) == (30, 0.1, 0.1)
    assert Spatial(angles=1, shifts=1).grid() == [(0, 0, 0)]


@pytest.mark.parametrize("targeted", [False, True])
def test_the_first_that_fools_or_the_worst(targeted: bool) -> None:
    net, images, attack = fragile(0.97), pictures(24), Spatial(angles=5, shifts=3)
    labels = net(images).argmax(1)
    wanted = (labels + 1) % 4 if targeted else None
    found = attack.run(net, images, labels, targeted=wanted)
    expected = []
    with torch.no_grad():
        for k in range(24):
            every = torch.cat([warped(images[k : k + 1], *point, 0.0) for point in attack.grid()])
            logits = net(every)
            if wanted is None:
                past = margin(logits, labels[k].expand(len(every)))
            else:
                past = -margin(logits, wanted[k].expand(len(every)))
            hits = (past > 0).nonzero()[:, 0]
            expected.append(every[hits[0] if len(hits) else past.argmax()])
    assert 0 < int(found.success.sum()) < 24
    torch.testing.assert_close(found.adversarial, torch.stack(expected), rtol=0, atol=1e-5)
    assert found.eps is None
    alone = attack.run(net, images[7:8], labels[7:8], targeted=None if wanted is None else wanted[7:8])
    torch.testing.assert_close(alone.adversarial, found.adversarial[7:8], rtol=0, atol=1e-5)


class Detached(GapCnn):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.detach())


def test_no_gradients_are_needed() -> None:
    net, images = Detached().eval(), pictures(4)
    labels = net(images).argmax(1)
    for attack in (Spatial(angles=3, shifts=3), Noise(samples=5)):
        assert attack.run(net, images, labels, eps=0.1).backwards == 0
        assert attack.needs == ()


def test_fill_reaches_the_model() -> None:
    class Brightest(LinearModel):
        def forward(self, images: Tensor) -> Tensor:
            top = images.flatten(1).amax(1)
            return torch.stack([torch.full_like(top, 0.9), top, torch.zeros_like(top)], 1)

    images = 0.5 * pictures(2)
    for fill, misclassified in ((0.0, False), (1.0, True)):
        found = Spatial(angles=3, shifts=3, fill=fill).run(Brightest().eval(), images, [0, 0])
        assert bool(found.success.all()) is misclassified


def test_noise_is_weaker_than_a_search_and_stronger_with_more_draws() -> None:
    net, images = LinearModel().eval(), 0.3 + 0.4 * pictures(24)
    labels = net(images).argmax(1)
    for norm in ("linf", "l2", "l1"):
        eps = float(ATTACKS["fmn"]().run(net, images, labels, norm=norm).distance.median()) * 1.1
        searched = ATTACKS["pgd"]().run(net, images, labels, eps=eps, norm=norm).success.sum()
        few, many = (Noise(samples=n).run(net, images, labels, eps=4 * eps, norm=norm).success for n in (1, 40))
        assert int(Noise(samples=40).run(net, images, labels, eps=eps, norm=norm).success.sum()) < int(searched)
        assert bool((many | ~few).all())
        assert int(many.sum()) > int(few.sum())


def test_noise_lies_on_the_border() -> None:
    net, images = LinearModel().eval(), torch.full((6, 3, 16, 16), 0.5)
    labels = net(images).argmax(1)
    for norm, eps in (("l2", 1e-3), ("l1", 1e-2), ("linf", 1e-4)):
        found = Noise(samples=2).run(net, images, labels, eps=eps, norm=norm)
        delta = found.adversarial.double() - images.double()
        assert not bool(found.success.any())
        torch.testing.assert_close(length(delta, norm), torch.full((6,), eps).double(), rtol=0.02, atol=0)
        other = Noise(samples=2).run(net, images, labels, eps=eps, norm=norm, seed=1)
        assert not torch.equal(other.adversarial, found.adversarial)
        again = Noise(samples=2).run(net, images, labels, eps=eps, norm=norm)
        assert torch.equal(again.adversarial, found.adversarial)


@pytest.mark.parametrize(
    "settings",
    [{"angles": 4}, {"shifts": 2}, {"angles": 0}, {"rotation": 200}, {"rotation": float("nan")}, {"shift": -0.1},
     {"fill": 1.5}],
)  # fmt: skip
def test_settings_of_spatial_are_checked(settings: dict[str, float]) -> None:
    with pytest.raises(RangeError, match=next(iter(settings))):
        Spatial(**settings)


def test_samples_are_checked() -> None:
    with pytest.raises(RangeError, match="samples"):
        Noise(samples=0)


def test_labels_and_targets_by_name() -> None:
    names = ["cat", "dog", "bird"]
    net, images = LinearModel().eval(), pictures(3)
    classifier = xai.Classifier(net, class_names=names)
    truth = net(images).argmax(1)
    by_name = xai.attack(classifier, images, [names[k] for k in truth], eps=0.3)
    assert torch.equal(by_name.adversarial, xai.attack(net, images, truth, eps=0.3).adversarial)
    wanted = [names[(int(k) + 1) % 3] for k in truth]
    found = xai.attack(classifier, images, truth.tolist(), eps=0.5, targeted=wanted)
    assert [names[k] for k in found.predictions] == wanted
    with pytest.raises(TargetError, match="no class 'fish'"):
        xai.attack(classifier, images, ["fish", "cat", "dog"])
    with pytest.raises(TargetError, match="0 to 2"):
        xai.attack(classifier, images, [3, 0, 0])
    with pytest.raises(ShapeError, match="one label per image, 3, but got 4"):
        xai.attack(classifier, images, [0, 1, 2, 0])


def test_the_largest_eps_is_from_black_to_white() -> None:
    net, images = LinearModel().eval(), pictures(2)
    with pytest.raises(RangeError, match="Write 8/255"):
        xai.attack(net, images, net(images).argmax(1), eps=8, steps=3)
    found = xai.attack(net, images, net(images).argmax(1), eps=1, steps=3)
    assert bool(found.success.all())
    assert float(found.adversarial.max()) <= 1


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_no_parameter_ever_gets_a_gradient(name: str) -> None:
    net, images = fragile(), pictures(2)
    few = {"autoattack": {}, "cw": {"steps": 5, "searches": 2}, "fab-t": {"steps": 3}, "square": {"queries": 5}}
    attack, norm = ATTACKS[name](**few.get(name, {})), ATTACKS[name].norms[0]
    labels = net(images).argmax(1)
    attack.run(net, images, labels, eps=0.2, norm=norm)
    assert [parameter.grad for parameter in net.parameters()] == [None] * len(list(net.parameters()))
    assert all(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize("name", ["spatial", "noise", "cw"])
def test_stop_and_progress(name: str) -> None:
    net, images = GapCnn().eval(), pictures(3)
    labels, calls = net(images).argmax(1), []
    norm = ATTACKS[name].norms[-1]
    settings = {"cw": {"steps": 20}}.get(name, {})

    def after_some() -> bool:
        calls.append(len(calls))
        return len(calls) > 4

    with pytest.raises(Stopped, match="as asked"):
        ATTACKS[name](**settings).run(net, images, labels, eps=1e-6, norm=norm, should_stop=after_some)
    assert len(calls) == 5
    seen: list[tuple[int, int]] = []
    ATTACKS[name](**settings).run(
        net, images, labels, eps=1e-6, norm=norm, progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (3, 3)
