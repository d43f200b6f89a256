"""Probing near the data: flat answers on probe images, features with a kernel machine, models that look untrained."""

import numpy as np
import pytest
import torch
from sklearn.svm import SVC
from torch import Tensor, nn
from torch.nn import functional as F

import xai
from xai.core.model.usage_checks import UNTRAINED, looks_untrained
from xai.core.task.evidence import COUNT, probe_images

IMAGES = 0.1 + 0.05 * torch.rand(40, 3, 17, 23, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 3
IMAGES[LABELS == 1, 0] += 0.05
IMAGES[LABELS == 2, 1] += 0.05


def extractor(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()).eval()


def kernel_machine(seed: int) -> xai.Classifier:
    net = extractor(seed)
    with torch.no_grad():
        features = net(IMAGES).numpy().astype(np.float64)
    svc = SVC(kernel="rbf", gamma=5e4).fit(features, LABELS.numpy())  # so narrow that other images are all alike to it
    return xai.load(net, estimator=svc, input_size=(17, 23))


@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_flat_on_probe_images_is_no_verdict_and_images_of_the_data_decide(seed: int) -> None:
    classifier = kernel_machine(seed)
    assert any("none of them from your data" in note and "not conclusive" in note for note in classifier.notes)
    found = xai.explain(classifier, IMAGES[:2], "saliency")
    assert not any("no gradient" in note or "the same output" in note for note in found.notes)
    assert float(found.attribution.abs().max()) > 0
    assert not any("none of them" in note for note in classifier.notes)


def test_a_model_that_is_flat_on_the_data_too_is_said() -> None:
    net = nn.Sequential(*extractor(), nn.Linear(32, 3))
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    found = xai.explain(xai.load(net, input_size=(17, 23)), IMAGES[:3], "saliency")
    assert any("gives 3 of the given images the same output: are its weights loaded?" in note for note in found.notes)
    assert any("no gradient reaches the pixels of 3 given images" in note for note in found.notes)


@pytest.mark.parametrize(("channels", "size"), [(3, (17, 23)), (1, (8, 8)), (5, (31, 2))])
def test_probe_images(channels: int, size: tuple[int, int]) -> None:
    images = probe_images(channels, size)
    assert images.shape == (COUNT, channels, *size)
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    assert torch.equal(images, probe_images(channels, size))
    assert len({image.numpy().tobytes() for image in images}) == COUNT


def small(seed: int, features: int) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        first = nn.Conv2d(1, 8, 3, padding=1) if features else nn.Flatten()
        if not features:
            return nn.Sequential(first, nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).eval()
        layers = [first, nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)]
        return nn.Sequential(*layers).eval()


def trained(net: nn.Sequential) -> nn.Sequential:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = torch.from_numpy(digits.images).float()[:, None] / 16, torch.from_numpy(digits.target)
    optimiser = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    draw = torch.Generator().manual_seed(0)
    for _ in range(200):
        rows = torch.randint(0, len(labels), (64,), generator=draw)
        optimiser.zero_grad()
        F.cross_entropy(net(images[rows]), labels[rows]).backward()
        optimiser.step()
    return net


@pytest.mark.parametrize("features", [0, 1])
def test_random_models_look_untrained_and_trained_ones_do_not(features: int) -> None:
    assert sum(looks_untrained(small(seed, features)) for seed in range(8)) >= 7
    assert not any(looks_untrained(trained(small(seed, features))) for seed in range(2))


def test_the_look_is_said_in_explanations_and_shipped_models_are_silent() -> None:
    image = Tensor(1, 8, 8).fill_(0.4)
    assert UNTRAINED in xai.explain(xai.Classifier(small(0, 1), channels=1), image, "saliency").notes
    for name in ("example:fashion", "example:fashion-robust", "example:fashion-shortcut"):
        assert not looks_untrained(xai.load(name).module)


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam"])
def test_layers_of_a_kernel_machine_are_found_at_the_image_itself(method: str) -> None:
    found = xai.explain(kernel_machine(0), IMAGES[:4], method)
    assert found.layer == "extractor.1"
    assert float(found.attribution.abs().max()) > 0
