"""Models that answer at random: gradients and answers averaged over `eot` forwards."""

from collections.abc import Iterator
from dataclasses import fields

import pytest
import torch
from model_state import assert_same, snapshot
from small_models import GapCnn, LinearModel, pictures
from torch import Tensor
from torch.nn import functional as F

import xai
from xai.errors import RangeError
from xai.robust.attacks.base import ATTACKS
from xai.robust.attacks.search import Search, cross_entropy

WITH_EOT = [name for name in ATTACKS if "eot" in {f.name for f in fields(ATTACKS[name])}]
EPS = 0.05


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from a second thread, and lose much by waiting for it on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Dropping(LinearModel):
    """Sees one pixel in ten, others in each forward; on average a linear model that is sure of class 0."""

    def __init__(self) -> None:
        super().__init__(classes=2)
        with torch.no_grad():
            self.linear.bias.copy_(torch.tensor([20.0, 0.0]))
        self.double()

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(F.dropout(images, 0.9, training=True))

    def expected(self, images: Tensor) -> Tensor:
        """Return how far class 0 is ahead on average (N,)."""
        logits = self.linear(images.double().flatten(1)).detach()
        return logits[:, 0] - logits[:, 1]


class DroppingCnn(GapCnn):
    """A network whose dropout is left on."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(F.dropout(images, 0.3, training=True))


class DroppingLinear(LinearModel):
    """A linear model whose dropout is left on."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(F.dropout(images, 0.1, training=True))


def fall(name: str, eot: int) -> float:
    """Return how much of the possible fall of the margin an attack finds, from the closed form."""
    net, images = Dropping(), 0.4 + 0.2 * pictures(6).double()
    torch.manual_seed(0)
    found = ATTACKS[name](eot=eot, steps=5 if name == "pgd" else 12).run(net, images, [0] * 6, eps=EPS)
    assert not bool(found.success.any())
    normal = (net.linear.weight[0] - net.linear.weight[1]).detach()
    possible = EPS * float(normal.abs().sum())
    return float((net.expected(images) - net.expected(found.adversarial)).mean()) / possible


def test_these_have_it() -> None:
    assert {"pgd", "apgd-ce", "apgd-dlr", "apgd-t"} <= set(WITH_EOT)


@pytest.mark.parametrize("name", WITH_EOT)
def test_averages_find_what_single_draws_miss(name: str) -> None:
    one, many = fall(name, 1), fall(name, 30)
    assert many > 0.9
    assert one < 0.4


@pytest.mark.parametrize("samples", [1, 4])
def test_gradient_logits_and_score_are_means_over_draws(samples: int) -> None:
    net, images = DroppingCnn().eval(), pictures(3)
    labels, seeds = torch.tensor([0, 1, 0]), torch.arange(3)
    search = Search(xai.Classifier(net), images, labels, None, 0.1, "linf", seeds, samples=samples)
    torch.manual_seed(4)
    logits, values, gradient = search.gradient(images, lambda z: cross_entropy(z, labels))
    torch.manual_seed(4)
    leaf = images.clone().requires_grad_()
    each = [net(leaf) for _ in range(samples)]
    losses = torch.stack([F.cross_entropy(z, labels, reduction="none") for z in each]).mean(0)
    (wanted,) = torch.autograd.grad(losses.sum(), leaf)
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(values, losses.detach())
    torch.testing.assert_close(logits, torch.stack(each).mean(0).detach())
    assert search.forwards == search.backwards == 3 * samples
    torch.manual_seed(5)
    judged = search.logits(images)
    torch.manual_seed(5)
    torch.testing.assert_close(judged, torch.stack([net(images) for _ in range(samples)]).mean(0).detach())


@pytest.mark.parametrize("name", WITH_EOT)
def test_models_that_do_not_draw_are_attacked_alike(name: str) -> None:
    net, images = GapCnn().eval(), pictures(4)
    labels = net(images).argmax(1)
    once, often = (ATTACKS[name](eot=k, steps=8).run(net, images, labels, eps=0.02) for k in (1, 4))
    assert torch.equal(once.success, often.success)
    torch.testing.assert_close(once.adversarial, often.adversarial, rtol=0, atol=1e-5)
    assert often.forwards - 8 == 4 * (once.forwards - 8)  # four images as they are, and judged at the end, once each
    assert often.settings["eot"] == 4


@pytest.mark.parametrize("name", WITH_EOT)
def test_dropout_that_is_left_on(name: str) -> None:
    net, images = DroppingCnn(), pictures(4)
    net.train()
    labels = GapCnn().eval()(images).argmax(1)
    before = snapshot(net)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, again = (ATTACKS[name](eot=5, steps=8).run(net, images, labels, eps=0.1) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.adversarial, again.adversarial), "the same random state must give the same images"
    assert_same({k: v for k, v in before.items() if k != "torch random state"}, snapshot(net))


def test_autoattack_for_random_models() -> None:
    images = pictures(4)
    labels = LinearModel()(images).argmax(1)
    found = ATTACKS["autoattack"](version="rand").run(DroppingLinear(), images, labels, eps=0.2)
    assert set(found.broken_by) <= {"", "apgd-ce", "apgd-dlr"}
    assert bool(found.success.any())
    assert found.forwards > 8
    assert (found.forwards - 8) % 20 == 0


@pytest.mark.parametrize("eot", [0, -1, 1.5, True])
@pytest.mark.parametrize("name", WITH_EOT)
def test_eot_is_a_count(name: str, eot: object) -> None:
    with pytest.raises(RangeError, match="eot"):
        ATTACKS[name](eot=eot)
