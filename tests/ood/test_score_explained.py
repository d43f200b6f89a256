"""Why is it foreign: maps of the score itself, and attacks on it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import GapCnn, pictures
from torch import nn

import xai
from xai import fit_ood
from xai.errors import InputError, NameLookupError, RecordError, UnsupportedModelError
from xai.ood.attack import score_classifier
from xai.ood.detectors.base import DETECTORS


class Labelled:
    """Images of two classes."""

    images, labels = pictures(60, seed=4), torch.arange(60) % 2


def calibrated(net: nn.Module, method: str, **settings: Any) -> xai.OODDetector:
    return fit_ood(net, Labelled, pictures(100, seed=4)[60:], method, **settings)


class Linear(nn.Module):
    """Logits are a linear function of the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.flat, self.head = nn.Flatten(), nn.Linear(768, 3)
        nn.init.normal_(self.head.weight, generator=torch.Generator().manual_seed(0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.flat(images))


@pytest.mark.parametrize("method", DETECTORS.names())
def test_the_logit_of_foreign_is_the_score_less_the_limit(method: str) -> None:
    found = calibrated(GapCnn().eval(), method)
    assert found.classifier is not None
    asked = score_classifier(found.classifier, found.fitted, 0.25)
    fresh = pictures(6, seed=5)
    logits = asked.logits(fresh).detach().double()
    wanted = found.score(fresh) - 0.25
    torch.testing.assert_close(logits[:, 1], wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits[:, 0], -wanted, rtol=1e-4, atol=1e-4)
    assert asked.class_names == ("in-distribution", "out-of-distribution")


@pytest.mark.parametrize("method", sorted(set(DETECTORS) - {"hbos", "odin"}))
def test_slopes_of_the_score_are_finite_differences(method: str) -> None:
    net = GapCnn().double().eval()
    found = calibrated(net, method)
    assert found.classifier is not None
    asked = score_classifier(found.classifier, found.fitted, 0.0)
    image = 0.2 + 0.6 * pictures(1, seed=5).double()
    step = 1e-3 if method == "knn" else 1e-4  # the bank is kept in float32
    leaf = image.clone().requires_grad_()
    (slope,) = torch.autograd.grad(asked.logits(leaf)[0, 1], leaf)
    move = slope.sign() * torch.rand(image.shape, generator=torch.Generator().manual_seed(1)).double()
    ends = [float(asked.logits(image + sign * step * move).detach()[0, 1]) for sign in (1, -1)]
    assert float(slope.abs().max()) > 0
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float((slope * move).sum()), rel=0.05)


def test_the_map_of_a_linear_max_logit_is_its_weights() -> None:
    net = Linear().eval()
    found = calibrated(xai.Classifier(net, input_size=(16, 16)), "maxlogit")
    image = pictures(1, seed=5)
    made = found.explain(image, "input_x_gradient")
    best = int(net(image).argmax())
    wanted = -(net.head.weight[best].view(3, 16, 16) * image[0]).detach()
    torch.testing.assert_close(made.attribution[0].sum(0), wanted.sum(0), rtol=1e-4, atol=1e-5)


def test_a_planted_stain_is_what_makes_it_foreign(wardrobe: Any, vim: xai.OODDetector) -> None:
    image = wardrobe.test.images[3].clone()
    assert vim.judge(image).verdict == "in-distribution"
    image[:, 1:6, 1:6] = 1
    judged = vim.judge(image)
    assert judged.verdict == "out-of-distribution"
    made = vim.explain(image, "occlusion", baseline="zero")
    heat = torch.from_numpy(made.heatmap)
    row, column = divmod(int(heat.argmax()), 28)
    assert max(row, column) < 7
    assert made.target_names == ("out-of-distribution",)
    assert made.predictions == ("out-of-distribution",)
    assert made.notes[0].startswith("the score of vim (logit) minus its threshold")
    lower = float((vim.calibration_scores < judged.score).double().mean())
    assert float(made.probabilities[0]) == pytest.approx(lower, abs=0.01)


@pytest.mark.parametrize("method", ["integrated_gradients", "gradcam", "lime"])
def test_other_explainers_see_the_score_too(method: str, wardrobe: Any, vim: xai.OODDetector) -> None:
    settings = {"samples": 60} if method == "lime" else {}
    made = vim.explain(wardrobe.digits[:1], method, seed=1, **settings)
    assert made.heatmap.shape == (28, 28)
    assert abs(made.heatmap).max() > 0


def test_what_cannot_be_explained_says_so(wardrobe: Any, vim: xai.OODDetector) -> None:
    found = calibrated(GapCnn().eval(), "hbos")
    with pytest.raises(UnsupportedModelError, match="use occlusion"):
        found.explain(pictures(1), "saliency")
    with pytest.raises(NameLookupError, match="setting of occlusion 'windows'"):
        vim.explain(wardrobe.digits[:1], "occlusion", windows=3)
    with pytest.raises(UnsupportedModelError, match="leave `target`"):
        vim.explain(wardrobe.digits[:1], "occlusion", target=3)


def test_adversarial_pictures_and_attacks_on_the_score(wardrobe: Any, vim: xai.OODDetector, tmp_path: Path) -> None:
    images, labels = wardrobe.test.images[:40], wardrobe.test.labels[:40]
    found = vim.attack(images, labels, wardrobe.digits[:20], eps=8 / 255, steps=8, seed=1)
    assert int(found.success.sum()) > 20
    share, low, high = found.flagged
    assert low <= share <= high
    assert share == pytest.approx(float((found.adversarial_scores[found.success] > found.limit).double().mean()))
    assert found.evaded[0] > 0.5  # the score is differentiable: it is no defence
    torch.testing.assert_close(found.clean_scores, vim.score(images), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.ood_scores, vim.score(wardrobe.digits[:20]), rtol=1e-5, atol=1e-5)
    assert bool((found.evading_scores <= found.ood_scores + 1e-6).all())
    assert "out-of-distribution images rejected, the attack on the score makes" in found.sentence
    json.dumps(found.to_dict())
    found.save(tmp_path)
    assert xai.results.OODAttack.load(tmp_path).to_dict() == found.to_dict()
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(RecordError):
        xai.results.OODAttack.load(tmp_path)


def test_an_attack_without_foreign_pictures_or_without_success() -> None:
    found = calibrated(GapCnn().eval(), "energy")
    made = pictures(3, seed=5)
    labels = GapCnn().eval()(made).argmax(1)
    report = found.attack(made, labels, eps=1e-6, steps=1)
    assert report.evaded == (0.0, 0.0, 1.0)
    assert report.auroc == (0.5, 0.0, 1.0)
    assert "0 of 3 images" in report.sentence
    with pytest.raises(InputError, match=r"Nothing can be rejected at alpha 0\.01"):
        found.attack(made, labels, alpha=0.01)
    with pytest.raises(NameLookupError, match="Near: steps"):
        found.attack(made, labels, stepss=3)
