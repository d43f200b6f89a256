"""Grad-CAM against captum, closed forms, and networks whose evidence is known to be in one place."""

import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from small_models import (
    GRID,
    SIZE,
    GapCnn,
    PlantedCnn,
    PlantedSwin,
    PlantedViT,
    patch_of,
    pictures,
    randomise,
    red_square,
)
from torch import Tensor, nn
from torchvision_cpu import import_torchvision

import xai

NETWORKS = ("efficientnet_lite0", "resnet18", pytest.param("vgg11", marks=pytest.mark.slow), "mobilenet_v2")


def network(name: str) -> xai.Classifier:
    """Return a network with its pretrained or with fixed random weights."""
    if name == "efficientnet_lite0":
        return xai.load(name)
    torch.manual_seed(0)
    module = getattr(import_torchvision().models, name)(num_classes=20)
    return xai.Classifier(module.eval(), input_size=(96, 96), mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_captum(name: str) -> None:
    classifier = network(name)
    images = pictures(2, size=classifier.input_size)
    ours = xai.explain(classifier, images, target=[3, 7])
    module = classifier.module.eval()
    theirs = LayerGradCam(module, module.get_submodule(ours.layer)).attribute(
        classifier.normalise(images), target=torch.tensor([3, 7]), relu_attributions=True
    )
    theirs = LayerAttribution.interpolate(theirs, classifier.input_size, "bilinear").detach()
    largest = float(theirs.abs().max())
    assert largest > 0
    assert float((ours.attribution - theirs).abs().max()) <= 1e-5 * min(1.0, largest)


def test_adds_up_to_logit_minus_bias_on_the_pretrained_form() -> None:
    net = randomise(GapCnn())
    images = pictures(4)
    found = xai.explain(net, images, target=1, relu=False)
    with torch.no_grad():
        wanted = net(images)[:, 1] - net.head.bias[1]
    torch.testing.assert_close(found.coarse.sum((1, 2)), wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("top", "left"), [(0, 0), (0, 12), (6, 6), (12, 0), (12, 12)])
def test_finds_the_planted_square(top: int, left: int) -> None:
    found = xai.explain(PlantedCnn(), red_square(top, left), target=1).heatmaps[0]
    row, column = divmod(int(found.argmax()), found.shape[1])
    assert top - 1 <= row <= top + 4
    assert left - 1 <= column <= left + 4


@pytest.mark.parametrize("kind", [PlantedViT, PlantedSwin])
@pytest.mark.parametrize("place", range(GRID * GRID))
def test_finds_the_planted_token(kind: type[nn.Module], place: int) -> None:
    found = xai.explain(kind(place), pictures(1), target=1)
    values = found.heatmaps[0]
    row, column = divmod(int(values.argmax()), SIZE)
    assert values.max() > 0
    assert patch_of(row, column) == place


def test_registers_are_no_places() -> None:
    found = xai.explain(PlantedViT(6, registers=3), pictures(1), target=1)
    row, column = divmod(int(found.heatmaps[0].argmax()), SIZE)
    assert patch_of(row, column) == 6
    assert "4 class or register token" in " ".join(found.notes)


def test_real_transformers_run() -> None:
    torch.manual_seed(0)
    vision = import_torchvision().models
    vit = vision.VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5)
    nn.init.normal_(vit.heads.head.weight)
    found = xai.explain(vit.eval(), pictures(2, size=(32, 32)))
    assert found.layer == "encoder.layers.encoder_layer_1.ln_1"
    assert found.coarse.shape == (2, 4, 4)
    assert float(found.coarse.abs().max()) > 0


class Tiny(nn.Module):
    """One convolution that copies its input, pooling, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=False)
        self.head = nn.Linear(1, 2)
        with torch.no_grad():
            self.conv.weight.fill_(1.0)
            self.head.weight.copy_(torch.tensor([[-1.0], [2.0]]))
            self.head.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.conv(images).mean((2, 3)))


def test_by_hand() -> None:
    image = torch.tensor([[[0.0, 0.25], [0.5, 1.0]]])
    model = xai.Classifier(Tiny(), channels=1)
    torch.testing.assert_close(xai.explain(model, image, target=1).attribution, 2 / 4 * image[None])
    assert float(xai.explain(model, image, target=0).attribution.max()) == 0
    torch.testing.assert_close(xai.explain(model, image, target=0, relu=False).coarse, -1 / 4 * image)


def test_a_mirrored_picture_has_a_mirrored_map() -> None:
    net = randomise(GapCnn())
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            part.weight.data = (part.weight.data + part.weight.data.flip(-1)) / 2
    images = pictures(2)
    straight, mirrored = (xai.explain(net, x, target=0).attribution for x in (images, images.flip(-1)))
    torch.testing.assert_close(straight.flip(-1), mirrored, atol=1e-5 * float(straight.max()), rtol=1e-4)
