"""Models that take a fixed number of images at once run in pieces filled up to it, and answer as a plain twin does."""

import warnings

import pytest
import torch
from small_models import GapCnn, pictures
from torch import Tensor, nn

import xai
from xai.core.runtime.batching import batch_size
from xai.errors import UnsupportedModelError

SIZE = (13, 18)
IMAGES = pictures(11, size=SIZE)


class Views(GapCnn):
    """Writes the number of images into a view; too few or too many images are mixed, or do not fit."""

    count = 8

    def forward(self, images: Tensor) -> Tensor:
        maps = self.relu2(self.conv2(self.pool(self.relu1(self.conv1(images)))))
        return self.head(maps.reshape(self.count, maps.shape[1], -1).mean(2))


class Asserts(GapCnn):
    count = 3

    def forward(self, images: Tensor) -> Tensor:
        assert len(images) == self.count
        return super().forward(images)


class Adds(GapCnn):
    """A buffer with a row for each image of a batch."""

    def __init__(self, count: int = 5, scale: float = 0.0) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(1)
        self.register_buffer("places", scale * torch.randn(count, 1, generator=source))

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + self.places


class Fields(Views):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        scores = super().forward(images)
        return {"logits": scores, "features": scores.repeat(1, 3), "loss": scores.sum()}


class One(Views):
    count = 1


class Says(GapCnn):
    def forward(self, images: Tensor) -> Tensor:
        if len(images) != 7:
            raise RuntimeError(f"expected 7 images, but got {len(images)}")
        return super().forward(images)


KINDS: dict[str, tuple[type[nn.Module], int]] = {
    "view": (Views, 8),
    "assertion": (Asserts, 3),
    "buffer": (Adds, 5),
    "dict": (Fields, 8),
    "one": (One, 1),
    "named": (Says, 7),
}


def traced() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(Views(), torch.rand(8, 3, *SIZE))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("count", [1, 2, 8, 11])
def test_predictions_are_those_of_the_plain_twin(name: str, count: int) -> None:
    kind, size = KINDS[name]
    found = xai.Classifier(kind(), input_size=SIZE)
    predicted = found.predict(IMAGES[:count])
    torch.testing.assert_close(predicted.logits, GapCnn()(IMAGES[:count]).detach())
    if size != count or size > 2:
        assert batch_size(found.module) == size
        assert found.one_by_one == (size == 1)  # else pieces are taken whole
        words = "takes one image at a time" if size == 1 else f"takes exactly {size} images at a time"
        assert [note for note in predicted.notes if words in note]


@pytest.mark.parametrize("name", ["view", "buffer", "one"])
@pytest.mark.parametrize("method", ["saliency", "occlusion", "rise", "deeplift", "integrated_gradients"])
def test_maps_are_those_of_the_plain_twin(name: str, method: str) -> None:
    settings = {"rise": {"samples": 30}, "integrated_gradients": {"steps": 8}}.get(method, {})
    models = (xai.Classifier(net, input_size=SIZE) for net in (KINDS[name][0](), GapCnn()))
    mine, twins = (xai.explain(model, IMAGES[:3], method, 1, **settings).attribution for model in models)
    assert float((mine - twins).abs().max()) <= 1e-4 * float(twins.abs().max())


def test_attacks_load_outputs_and_traced_modules_work() -> None:
    plain = xai.Classifier(GapCnn(), input_size=SIZE)
    labels = plain.predict(IMAGES).logits.argmax(1)
    wanted = xai.attack(plain, IMAGES, labels, "pgd", eps=0.03, steps=3)
    for net in (Views(), One(), traced()):
        found = xai.load(net, input_size=SIZE)
        torch.testing.assert_close(found.outputs(IMAGES).logits, plain.outputs(IMAGES).logits)
        if not isinstance(net, torch.jit.ScriptModule):
            attacked = xai.attack(found, IMAGES, labels, "pgd", eps=0.03, steps=3)
            torch.testing.assert_close(attacked.adversarial, wanted.adversarial, atol=1e-5, rtol=0)
    assert (
        "no features: the model takes a fixed number of images at a time"
        in xai.Classifier(Views()).outputs(IMAGES).notes
    )


def test_layers_are_read_of_one_image_at_a_time_only() -> None:
    maps = [xai.explain(net, IMAGES[:2], "gradcam", target=1).attribution for net in (One(), GapCnn())]
    torch.testing.assert_close(*maps)
    with pytest.raises(
        UnsupportedModelError, match=r"takes exactly 8 images at a time, so that its layers .*use occlus"
    ):
        xai.explain(xai.Classifier(Views(), input_size=SIZE), IMAGES[:2], "gradcam", target=1)


def test_an_answer_that_depends_on_its_place_is_that_of_the_first_place() -> None:
    net = Adds(5, scale=1.0)
    predicted = xai.Classifier(net, input_size=SIZE).predict(IMAGES)
    torch.testing.assert_close(predicted.logits, GapCnn()(IMAGES).detach() + net.places[0])
    assert [note for note in predicted.notes if "images run one at a time" in note]


def test_scores_in_columns_are_no_fixed_batch() -> None:
    class Columns(GapCnn):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images).T

    with pytest.raises(UnsupportedModelError, match="one row of class scores per image"):
        xai.Classifier(Columns(), input_size=SIZE).predict(IMAGES)


def test_other_failures_are_told_as_they_are() -> None:
    net = GapCnn()
    net.conv1 = nn.Conv2d(4, 5, 3)
    with pytest.raises(UnsupportedModelError, match="channels=4"):
        xai.Classifier(net, input_size=SIZE).predict(IMAGES)
    assert batch_size(net) is None


def test_a_failure_once_it_has_answered_is_none_of_the_batch() -> None:
    class Fails(GapCnn):
        broken = False

        def forward(self, images: Tensor) -> Tensor:
            if self.broken and len(images) < 3:
                raise RuntimeError("view was created in no_grad mode")
            return super().forward(images)

    for alone in (False, True):
        net = Fails()
        found = xai.Classifier(net, input_size=SIZE, one_by_one=alone)
        found.predict(IMAGES[:2])
        net.broken = True
        with pytest.raises(RuntimeError, match="no_grad"):
            found.predict(IMAGES[:2])
        assert batch_size(net) is None
