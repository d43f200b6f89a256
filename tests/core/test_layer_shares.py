"""How much of the answer passes through a layer: against closed forms, and what is made of it."""

import pytest
import torch
from model_families import livened
from small_models import GapCnn, pictures, randomise
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision_cpu import import_torchvision

import xai
from xai.core.layers.layouts import Layout
from xai.core.layers.outputs import LayerChoice, share_through, spread_images
from xai.core.layers.selection import find_layer
from xai.core.model.classifier import Classifier
from xai.core.task.evidence import probe_images
from xai.errors import UnsupportedModelError

SIZE = (22, 35)
METHODS = ["gradcam", "hirescam", "layercam", "gradcam++", "scorecam", "eigencam", "guided_gradcam"]


def choose(module: nn.Module, name: str | None = None) -> LayerChoice:
    return find_layer(Classifier(module.eval(), input_size=SIZE), torch.zeros(1, 3, *SIZE), name)


class Beside(nn.Module):
    """Scores from a convolution, times a weight, plus scores from the pixels."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.conv = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(8, 4)
        self.pixels = nn.Linear(3 * SIZE[0] * SIZE[1], 4)
        randomise(self)

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.weight * self.head(self.conv(images).mean((2, 3))), self.pixels(images.flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        convolved, straight = self.parts(images)
        return convolved + straight


class Tokens(nn.Module):
    """A class token that keeps what it took of the image by itself, and patches that it looks at once more."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.patches = nn.Conv2d(3, 12, 5, stride=5)
        self.first = nn.Linear(3 * SIZE[0] * SIZE[1], 12)
        self.block = nn.Sequential(nn.Linear(12, 12), nn.GELU())
        self.head = nn.Linear(12, 4)
        randomise(self)

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        tokens = torch.cat([self.first(images.flatten(1))[:, None], self.patches(images).flatten(2).mT], 1)
        tokens = self.block(tokens)
        return self.weight * tokens[:, 1:].mean(1), tokens[:, 0]

    def forward(self, images: Tensor) -> Tensor:
        patches, token = self.parts(images)
        return self.head(patches + token)


def by_hand(net: Beside | Tokens) -> float:
    """Return the share from the two summands, which change independently of each other."""
    images = probe_images(3, SIZE)[[2, 4, 6]]
    with torch.no_grad():
        first, second = net.parts(images)
        if isinstance(net, Tokens):
            first, second = first @ net.head.weight.T, second @ net.head.weight.T
        here, beside = ((part.roll(-1, 0) - part).norm() for part in (first, second))
    return float(here / (here + beside))


@pytest.mark.parametrize("weight", [1.0, 0.1, 10.0])
@pytest.mark.parametrize(("kind", "layer"), [(Beside, "conv"), (Tokens, "block")])
def test_the_share_is_that_of_the_closed_form(kind: type[Beside | Tokens], layer: str, weight: float) -> None:
    net = kind(weight)
    found = choose(net, layer)
    assert found.share.value == pytest.approx(by_hand(net), rel=1e-4)
    assert 0.001 < by_hand(net) < 0.999


@pytest.mark.parametrize("method", METHODS)
def test_a_small_share_is_noted_by_every_method_with_a_layer(method: str) -> None:
    net = Beside(1.0)
    found = xai.explain(xai.Classifier(net, input_size=SIZE), pictures(1, size=SIZE), method, target=1)
    note = f"layer 'conv': only {100 * by_hand(net):.2g}% of the change of the class scores between images passes "
    assert f"{note}through it: the map does not show the rest" in found.notes


@pytest.mark.parametrize(("kind", "layer"), [(Beside, "conv"), (Tokens, "block")])
def test_next_to_none_is_refused(kind: type[Beside | Tokens], layer: str) -> None:
    net = xai.Classifier(kind(1e-5), input_size=SIZE)
    for name in (None, layer):
        with pytest.raises(UnsupportedModelError, match=r"only .*e-05% of the change of the class scores|only 0\.0"):
            xai.explain(net, pictures(1, size=SIZE), target=1, layer=name)
    assert xai.explain(net, pictures(1, size=SIZE), "saliency", target=1).heatmap.any()


def test_ordinary_models_say_nothing_and_have_a_share_of_one() -> None:
    nets: list[nn.Module] = [GapCnn(), Beside(1.0).conv.append(nn.Flatten()).append(nn.Linear(8 * 11 * 18, 3))]
    for net in nets:
        found = choose(net)
        assert found.share.value == pytest.approx(1)
        assert len(found.notes) == 1


def test_class_tokens_may_carry_most_on_by_themselves() -> None:
    found = choose(Tokens(4.0))
    assert found.layout.extra == 1
    assert 0.1 < (found.share.value or 0) < 0.9
    assert len(found.notes) == 1
    assert len(choose(Tokens(0.1), "block").notes) == 2


class Branches(nn.Module):
    """Stem, then branches that are concatenated or added in a module of their own or in the forward."""

    def __init__(self, meet: str, *, stem: bool = True, last: float = 1.0) -> None:
        super().__init__()
        self.meet, self.last = meet, last
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU()) if stem else None
        width = 8 if stem else 3
        self.one = nn.Conv2d(width, 6, 1)
        self.three = nn.Sequential(nn.Conv2d(width, 6, 3, padding=1), nn.ReLU())
        self.join = nn.Identity() if "module" in meet else None
        self.head = nn.Linear(12 if "cat" in meet else 6, 4)
        randomise(self)

    def forward(self, images: Tensor) -> Tensor:
        maps = images if self.stem is None else self.stem(images)
        both = [self.one(maps), self.last * self.three(maps)]
        met = torch.cat(both, 1) if "cat" in self.meet else both[0] + both[1]
        return self.head((met if self.join is None else self.join(met)).mean((2, 3)))


@pytest.mark.parametrize("meet", ["cat", "add"])
def test_the_layer_at_which_branches_meet_is_taken(meet: str) -> None:
    assert choose(Branches(f"{meet}, module")).name == "join"
    found = choose(Branches(meet))  # nothing carries it: what they share
    assert found.name == "stem"
    assert found.share.value == pytest.approx(1)
    assert found.notes[1].startswith("the later layer 'three' was not taken: only ")


def test_without_one_the_branch_with_the_largest_share_is_taken_and_noted() -> None:
    for last, name in ((10.0, "three"), (0.1, "one")):
        found = choose(Branches("cat", stem=False, last=last))
        assert found.name == name
        assert (found.share.value or 0) > 0.5
        assert found.share.enough or "the map does not show the rest" in found.notes[1]
    assert "the map does not show the rest" in choose(Branches("add", stem=False)).notes[1]


def test_a_layer_is_exchanged_at_its_places_only() -> None:
    layout = Layout("tokens, sequence first", (2, 3), 1, 1)
    one, other = torch.zeros(8, 1, 2), torch.arange(16.0).view(8, 1, 2)
    mixed = layout.exchanged(one, other)
    assert not one.any()
    assert torch.equal(mixed[1:7], other[1:7])
    assert not mixed[[0, 7]].any()


def test_a_constant_answer_has_no_share() -> None:
    net = nn.Conv2d(3, 4, 3)
    images = spread_images(3, SIZE, None)
    found = share_through(
        lambda image: 0 * net(image).detach().mean((2, 3)) + 1, net, 0, Layout("maps", (20, 33)), images
    )
    assert found.value is None
    assert found.enough


@pytest.mark.slow
@pytest.mark.parametrize("size", [(224, 224), (97, 133)])
@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_inception_and_googlenet_are_not_explained_by_one_of_their_branches(name: str, size: tuple[int, int]) -> None:
    build = getattr(import_torchvision().models, name)
    net = livened(build(num_classes=5, init_weights=False, aux_logits=False))
    found = find_layer(Classifier(net, input_size=size), torch.zeros(1, 3, *size))
    assert "branch" not in found.name
    assert (found.share.value or 0) >= 0.99


def test_the_norm_of_a_residual_sum_is_taken() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.body = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 8, 3, padding=1)
            self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(8, 3)
            randomise(self)

        def forward(self, images: Tensor) -> Tensor:
            maps = self.stem(images)
            return self.head(F.relu(self.norm(maps + self.body(maps))).mean((2, 3)))

    assert choose(Residual()).name == "norm"


def test_an_early_layer_does_not_stand_for_late_branches() -> None:
    """A stream that no module carries: the last blocks that add to it are taken, and noted, not the patches."""

    class Stream(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 5, stride=5)
            self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()) for _ in range(8))
            self.head = nn.Linear(8, 3)
            randomise(self)

        def forward(self, images: Tensor) -> Tensor:
            maps = self.patches(images)
            for block in self.blocks:
                maps = maps + block(maps)
            return self.head(maps.mean((2, 3)))

    found = choose(Stream())
    assert found.name.startswith("blocks.")
    assert (found.share.value or 0) < 0.99


class Shared(nn.Module):
    """Classes 0 and 1 come of one branch, 2 and 3 of another, whose scores may be larger."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        one, other = (nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()) for _ in range(2))
        self.one, self.other, self.heads, self.weight = (
            one,
            other,
            nn.ModuleList([nn.Linear(8, 2), nn.Linear(8, 2)]),
            weight,
        )

    def forward(self, images: Tensor) -> Tensor:
        scores = [
            head(branch(images).mean((2, 3))) for head, branch in zip(self.heads, (self.one, self.other), strict=True)
        ]
        return torch.cat([scores[0], self.weight * scores[1]], 1)


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_a_class_that_does_not_come_of_the_layer_is_told(weight: float) -> None:
    model = xai.Classifier(Shared(weight).eval(), input_size=(21, 26))
    notes = xai.explain(model, torch.rand(1, 3, 21, 26), "gradcam", 0, layer="other").notes
    assert any("only" in note and "passes through it: the map does not show the rest" in note for note in notes)


def test_a_branch_whose_classes_hardly_change_refuses_nothing() -> None:
    model = xai.Classifier(Shared(1e-4).eval(), input_size=(21, 26))
    assert [note for note in xai.explain(model, torch.rand(1, 3, 21, 26), "gradcam", 0).notes if "layer 'one'" in note]
