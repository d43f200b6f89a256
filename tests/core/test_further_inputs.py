"""Models that take more than images, against twins of images alone that have the rest built in."""

import numpy as np
import pytest
import torch
from small_models import GapCnn, pictures, randomise
from torch import Tensor, nn

import xai
from xai.errors import InputError, ShapeError, UnsupportedModelError

SIZE = (11, 17)
IMAGES = pictures(4, size=SIZE)
META = torch.tensor([[0.7, -1.3]])


class Joined(nn.Module):
    """Metadata beside pooled features, before the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Linear(8, 3)
        randomise(self, scale=2.0)

    def forward(self, images: Tensor, meta: Tensor, gain: float = 1.0) -> Tensor:
        return self.head(torch.cat([self.relu(self.conv(images)).mean((2, 3)), meta], 1)) * gain


class Gated(GapCnn):
    """A mask on the pixels, and a scale."""

    def forward(self, images: Tensor, *, mask: Tensor, scale: Tensor) -> Tensor:
        return super().forward(images * mask) * scale


class Built(nn.Module):
    """The twin: the same, with everything but images built in."""

    def __init__(self, net: nn.Module, given: dict) -> None:
        super().__init__()
        self.net, self.given = net, given
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        rows = {
            name: torch.cat([value] * len(images)) if isinstance(value, Tensor) else value
            for name, value in self.given.items()
        }
        return self.net(images, **rows)


MASK = torch.linspace(0, 1, 11 * 17).reshape(1, 1, *SIZE)
CASES = {
    "meta": (Joined, {"meta": META}),
    "mask": (Gated, {"mask": MASK, "scale": torch.full((1, 1), 1.5)}),
}
METHODS = {
    "gradcam": {}, "occlusion": {"window": 4}, "integrated_gradients": {"steps": 8}, "rise": {"samples": 30},
}  # fmt: skip


@pytest.mark.parametrize("opened", [xai.load, xai.Classifier], ids=["load", "Classifier"])
@pytest.mark.parametrize("case", CASES)
def test_everything_is_as_of_a_model_with_the_inputs_built_in(case: str, opened: object) -> None:
    kind, given = CASES[case]
    clf = opened(kind(), inputs=given, input_size=SIZE)
    twin = xai.Classifier(Built(kind(), given), input_size=SIZE)
    assert clf.name == kind.__name__
    assert torch.equal(clf.logits_of(IMAGES), twin.logits_of(IMAGES))
    if case == "meta":
        assert torch.equal(clf.outputs(IMAGES).features, twin.outputs(IMAGES).features)
        doubled = xai.Classifier(kind(), inputs={**given, "gain": 2.0}, input_size=SIZE)
        assert torch.equal(doubled.logits_of(IMAGES), 2 * twin.logits_of(IMAGES))
    for method, settings in METHODS.items() if opened is xai.load else ():
        maps = [xai.explain(model, IMAGES[:2], method, 1, **settings).attribution for model in (clf, twin)]
        assert float(maps[1].abs().max()) > 0
        np.testing.assert_allclose(*maps, atol=1e-5 * float(maps[1].abs().max()), rtol=1e-4)
    labels = twin.logits_of(IMAGES).argmax(1)
    ours, theirs = (xai.attack(model, IMAGES, labels, "pgd", eps=0.05) for model in (clf, twin))
    torch.testing.assert_close(ours.adversarial, theirs.adversarial, atol=1e-5, rtol=0)


def test_a_function_of_the_images_gives_each_its_own() -> None:
    def brightness(images: Tensor) -> dict[str, Tensor]:
        return {"meta": torch.stack([images.mean((1, 2, 3)), images.std((1, 2, 3))], 1)}

    net = Joined()
    clf = xai.load(net, inputs=brightness, input_size=SIZE, mean=[0.4] * 3, std=[0.2] * 3)
    rows = (IMAGES - 0.4) / 0.2
    wanted = torch.cat([net(row[None], torch.tensor([[row.mean(), row.std()]])) for row in rows]).detach()
    torch.testing.assert_close(clf.logits_of(IMAGES), wanted)
    pixels = IMAGES[:1].clone().requires_grad_()
    (slope,) = torch.autograd.grad(clf.logits(pixels)[0, 1], pixels)  # through the function, too
    scaled = (pixels - 0.4) / 0.2
    (hand,) = torch.autograd.grad(net(scaled, brightness(scaled)["meta"])[0, 1], pixels)
    torch.testing.assert_close(slope, hand)


def test_each_image_can_have_its_own_values() -> None:
    net, rows = Joined(), torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, -1.0], [0.5, 0.5]])
    clf = xai.load(net, inputs={"meta": META}, input_size=SIZE)
    for k, image in enumerate(IMAGES):
        own = clf.with_inputs(meta=rows[k : k + 1])
        assert torch.equal(own.logits_of(image[None]), net(image[None], rows[k : k + 1]).detach())
    assert torch.equal(clf.logits_of(IMAGES[:1]), net(IMAGES[:1], META).detach())
    assert own.fingerprint != clf.fingerprint


def test_bounds_refuse_in_one_line_and_smoothing_works() -> None:
    clf = xai.load(Joined(), inputs={"meta": META}, input_size=SIZE)
    with pytest.raises(UnsupportedModelError, match=r"No bounds for .*smoothing") as caught:
        xai.certify(clf, IMAGES, [0] * 4, eps=0.01)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "verb",
    [
        lambda net: xai.load(net),
        lambda net: xai.load(net, input_size=SIZE),
        lambda net: xai.Classifier(net).predict(IMAGES),
        lambda net: xai.explain(net, IMAGES),
        lambda net: xai.attack(net, IMAGES, [0] * 4, "fgsm", eps=0.1),
        lambda net: xai.corruption_robustness(net, IMAGES, [0] * 4, ["gaussian_noise"]),
    ],
)
@pytest.mark.parametrize("kind", [Joined, Gated])
def test_what_lacks_is_named_with_its_cure_in_every_verb(kind: type, verb: object) -> None:
    names = "meta" if kind is Joined else "mask, scale"
    with pytest.raises(UnsupportedModelError, match=f"takes more than images: {names}. .*`inputs=") as caught:
        verb(kind())
    assert "\n" not in str(caught.value)


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(InputError, match=r"Joined takes no input 'mate' beside images: meta, gain\."):
        xai.Classifier(Joined(), inputs={"mate": META})
    with pytest.raises(ShapeError, match=r"input 'meta' for one image, \(1, \.\.\.\), but got \(4, 2\)"):
        xai.load(Joined(), inputs={"meta": META.expand(4, 2)})
    with pytest.raises(InputError, match=r"Expected `inputs` as .* but got Tensor"):
        xai.Classifier(Joined(), inputs=META)
