"""The CAM family against closed forms, numpy and pytorch-grad-cam."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision_cpu import import_torchvision

import xai

FAMILY = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "eigencam": "EigenCAM",
}


class ConvHead(nn.Module):
    """Two convolutions, then pooling and two linear layers: a head that is not linear."""

    def __init__(self, *, pooled: bool) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 6, 3, padding=1), nn.ReLU()
        )
        self.pool = nn.AdaptiveAvgPool2d(1 if pooled else 8)
        width = 6 if pooled else 6 * 64
        self.head = nn.Linear(width, 4) if pooled else nn.Sequential(nn.Linear(width, 16), nn.Tanh(), nn.Linear(16, 4))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.pool(self.body(images)).flatten(1))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(5))


def coarse(net: nn.Module, images: Tensor, method: str, target: int = 2) -> Tensor:
    """Return our map at the layer's own resolution."""
    return xai.explain(net.eval(), images, method, target=target, relu=False).coarse


def activation_and_gradient(net: ConvHead, images: Tensor, target: int = 2) -> tuple[np.ndarray, np.ndarray]:
    maps = net.body(images).detach().requires_grad_()
    net.head(net.pool(maps).flatten(1))[:, target].sum().backward()
    return maps.detach().numpy().astype(np.float64), maps.grad.numpy().astype(np.float64)


def by_hand(method: str, maps: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Return the published formulas as plain numpy."""
    if method == "gradcam":
        return (maps * slopes.mean((2, 3), keepdims=True)).sum(1)
    if method == "hirescam":
        return (maps * slopes).sum(1)
    if method == "layercam":
        return (maps * np.maximum(slopes, 0)).sum(1)
    if method == "gradcam++":
        below = 2 * slopes**2 + slopes**3 * maps.sum((2, 3), keepdims=True)
        shares = np.divide(slopes**2, below, out=np.zeros_like(below), where=below != 0)
        return (maps * (shares * np.maximum(slopes, 0)).sum((2, 3), keepdims=True)).sum(1)
    found = []
    for one in maps:
        places = one.reshape(len(one), -1).T
        vector = np.linalg.svd(places)[2][0]
        values = (places @ vector).reshape(one.shape[1:])
        found.append(values if values.sum() >= 0 else -values)
    return np.stack(found)


@pytest.mark.parametrize("pooled", [True, False], ids=["linear head", "tanh head"])
@pytest.mark.parametrize("method", FAMILY)
def test_equals_the_formula(method: str, pooled: bool, images: Tensor) -> None:
    net = ConvHead(pooled=pooled)
    wanted = by_hand(method, *activation_and_gradient(net, images))
    np.testing.assert_allclose(
        coarse(net, images, method).numpy(), wanted, atol=1e-6 * np.abs(wanted).max() + 1e-9, rtol=1e-4
    )


@pytest.mark.parametrize(
    "method", [name for name in FAMILY if name != "eigencam"]
)  # theirs centres, the paper does not
def test_equals_pytorch_grad_cam_after_its_rescaling(method: str, images: Tensor) -> None:
    import_torchvision()
    library = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    net = ConvHead(pooled=False).eval()
    ours = xai.explain(net, images, method, target=1, layer="body.4")
    with getattr(library, FAMILY[method])(model=net, target_layers=[net.body[4]]) as cam:
        theirs = cam(input_tensor=images, targets=[ClassifierOutputTarget(1)] * len(images))
    for mine, other in zip(ours.heatmaps, theirs, strict=True):
        np.testing.assert_allclose(rescaled(mine), other, atol=2e-3)


def rescaled(heatmap: np.ndarray) -> np.ndarray:
    return (heatmap - heatmap.min()) / (heatmap.max() - heatmap.min() + 1e-7)


@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
def test_adds_up_to_logit_minus_bias_for_pooling_and_a_linear_layer(method: str, images: Tensor) -> None:
    net = ConvHead(pooled=True)
    with torch.no_grad():
        wanted = net(images)[:, 2] - net.head.bias[2]
    torch.testing.assert_close(coarse(net, images, method).sum((1, 2)), wanted, atol=1e-6, rtol=1e-5)


def test_hirescam_adds_up_where_gradcam_does_not(images: Tensor) -> None:
    net = ConvHead(pooled=False)
    net.head = nn.Linear(6 * 64, 4)
    with torch.no_grad():
        wanted = net(images)[:, 2] - net.head.bias[2]
    torch.testing.assert_close(coarse(net, images, "hirescam").sum((1, 2)), wanted, atol=1e-6, rtol=1e-5)
    assert float((coarse(net, images, "gradcam").sum((1, 2)) - wanted).abs().max()) > 1e-3


def test_eigencam_is_the_same_for_every_class_and_says_so(images: Tensor) -> None:
    net = ConvHead(pooled=True).eval()
    first, second = (xai.explain(net, images, "eigencam", target=k) for k in (0, 1))
    assert torch.equal(first.attribution, second.attribution)
    assert any("same for every class" in note for note in first.notes)


def test_enlarged_bilinearly_after_the_relu(images: Tensor) -> None:
    found = xai.explain(ConvHead(pooled=True).eval(), images, "hirescam", target=2)
    wanted = F.interpolate(found.coarse.clamp_min(0)[:, None], (16, 16), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found.attribution, wanted)


@pytest.mark.slow  # 1,280 channels
def test_scorecam_before_a_relu_shows_something() -> None:
    classifier = xai.load("efficientnet_lite0")
    found = xai.explain(classifier, xai.sample_photos()[0].path, "scorecam", target="espresso")
    assert found.layer == "_bn1"  # its ReLU is used twice and cannot be the layer
    assert float(found.attribution.max()) > float(found.attribution.min())
    assert any("negative activations" in note for note in found.notes)
