"""Models whose answer depends on the rest of the batch run one image at a time, so that each answer is its own."""

import warnings

import numpy as np
import pytest
import torch
from small_models import GapCnn, pictures
from torch import Tensor, nn

import xai
from xai.errors import UnsupportedModelError

IMAGES = pictures(5, size=(13, 18))


def flat_cnn() -> nn.Module:
    torch.manual_seed(2)
    layers = [nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d((3, 4)), nn.Flatten(), nn.Linear(72, 5)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(5, 3)).eval()


def quantised(net: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8).eval()


class Scaled(nn.Module):
    """Divides by the largest value of the batch: a scale as quantised activations take it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images / (1e-3 + images.abs().amax()))


class Attending(nn.Module):
    """Rows of a batch look at each other."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        scores = self.net(images)
        return scores + (scores @ scores.T).softmax(1) @ scores


KINDS = {"quantised": quantised, "scaled": Scaled, "attending": Attending}
NETS = {"gap": GapCnn, "flat": flat_cnn}


def alone(net: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([net(image[None]) for image in images])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_image_has_the_answer_that_it_has_alone(kind: str, net: str) -> None:
    module = KINDS[kind](NETS[net]())
    wanted = alone(module, IMAGES)
    found = xai.load(module, input_size=(13, 18))
    assert any("images run one at a time" in note for note in found.notes), found.notes
    assert torch.equal(found.logits_of(IMAGES), wanted)
    assert torch.equal(found.logits(IMAGES).detach(), wanted)
    assert torch.equal(found.outputs(IMAGES).logits, wanted)
    with torch.no_grad():
        assert not torch.equal(module(IMAGES), wanted)  # it does depend on the batch


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_maps_and_attacks_do_not_depend_on_the_company(kind: str) -> None:
    found = xai.load(KINDS[kind](GapCnn()), input_size=(13, 18))
    for method in ("occlusion", "rise", *(() if kind == "quantised" else ("saliency", "gradcam"))):
        settings = {"samples": 40} if method == "rise" else {}
        many = xai.explain(found, IMAGES, method, 1, **settings).attribution
        single = xai.explain(found, IMAGES[3:4], method, 1, **settings).attribution
        np.testing.assert_allclose(many[3:4], single, rtol=0, atol=1e-6 * float(single.abs().max()))
    labels = found.logits_of(IMAGES).argmax(1)
    attacked = xai.attack(found, IMAGES, labels, "square", eps=0.2, queries=20)
    again = xai.attack(found, IMAGES[3:4], labels[3:4], "square", eps=0.2, queries=20)
    assert torch.equal(attacked.adversarial[3:4], again.adversarial)
    assert torch.equal(attacked.predictions, alone(found.module, attacked.adversarial).argmax(1))


@pytest.mark.parametrize("net", NETS)
def test_occlusion_is_the_fall_of_each_copy_run_alone(net: str) -> None:
    module = Scaled(NETS[net]())
    found = xai.load(module, input_size=(13, 18))
    image, copies = IMAGES[:1], []
    for top, left in ((0, 0), (4, 6), (8, 12)):
        copies.append(image.clone())
        copies[-1][:, :, top : top + 4, left : left + 6] = 0
    falls = alone(module, image)[:, 1] - alone(module, torch.cat(copies))[:, 1]
    map_ = xai.explain(found, image, "occlusion", 1, window=(4, 6), stride=(4, 6), baseline="zero").attribution[0, 0]
    seen = torch.stack([map_[1, 1], map_[5, 7], map_[9, 13]])
    torch.testing.assert_close(seen, falls, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_a_bare_quantised_module_is_recognised_too() -> None:
    module = quantised(flat_cnn())
    found = xai.Classifier(module, input_size=(13, 18))
    assert found.one_by_one
    assert [note for note in found.notes if "one at a time" in note]
    assert torch.equal(found.logits_of(IMAGES), alone(module, IMAGES))


def test_ordinary_models_run_in_batches_and_say_nothing() -> None:
    for net in (GapCnn(), flat_cnn(), nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), GapCnn(classes=4)).eval()):
        found = xai.load(net, input_size=(13, 18))
        assert not found.one_by_one
        assert not any("one at a time" in note for note in found.notes)


def test_statistics_of_the_batch_are_refused_with_their_cure() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3, track_running_stats=False), GapCnn(classes=4)).eval()
    with pytest.raises(UnsupportedModelError, match=r"keep no running statistics.*Use running statistics"):
        xai.load(net, input_size=(13, 18))


def test_running_alone_is_part_of_the_fingerprint() -> None:
    net = GapCnn()
    assert xai.Classifier(net).fingerprint != xai.Classifier(net, one_by_one=True).fingerprint
