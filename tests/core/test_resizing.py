"""Which way of resizing fits: models whose sign lies where only one way shows it, and p-values counted by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import binom
from small_models import GapCnn
from torch import Tensor, nn
from torch.nn import functional as F

import xai
from xai.errors import InputError

SIZE = (8, 8)


class Column(nn.Module):
    """Answers 1 where the given columns of the input are brighter than the rest."""

    def __init__(self, columns: slice) -> None:
        super().__init__()
        self.columns, self.scale = columns, nn.Parameter(torch.tensor(40.0))

    def forward(self, images: Tensor) -> Tensor:
        bright = self.scale * (images[..., self.columns].mean((1, 2, 3)) - 0.5)
        return torch.stack([-bright, bright], 1)


def wide(count: int, flipped: int = 0) -> SimpleNamespace:
    """Return images 12 x 36: of class 1 the left end is bright, and the middle says nothing; some labels are wrong."""
    source = torch.Generator().manual_seed(3)
    labels = torch.arange(count) % 2
    images = torch.rand(count, 3, 12, 36, generator=source)
    images[..., :5] = labels[:, None, None, None] * 0.8 + 0.1
    told = labels.clone()
    told[:flipped] = 1 - told[:flipped]
    return SimpleNamespace(images=images, labels=told, classes=["dark", "bright"], name="wide")


def right_by_hand(data: SimpleNamespace, way: str) -> np.ndarray:
    """Resize with torch alone and answer by the first column."""
    if way == "squash":
        small = F.interpolate(data.images, SIZE, mode="bilinear", antialias=True)
    elif way == "crop":  # the shorter side to 8 / 0.875 = 9, then the middle 8 x 8
        small = F.interpolate(data.images, (9, 27), mode="bilinear", antialias=True)[:, :, 0:8, 10:18]
    else:
        inner = F.interpolate(data.images, (3, 8), mode="bilinear", antialias=True)
        small = torch.full((len(inner), 3, 8, 8), 0.5)
        small[:, :, 3:6] = inner
    return ((small[..., 0].mean((1, 2)) > 0.5).long() == data.labels).numpy()


def test_the_way_that_fits_is_found_and_its_p_value_is_mcnemars() -> None:
    data = wide(60, flipped=4)
    clf = xai.load(Column(slice(0, 1)), input_size=SIZE)
    found = xai.compare_resizing(clf, data)
    assert (found.current, found.best, found.verdict) == ("crop", "squash", "another way fits better")
    assert found.accuracy["squash"] == pytest.approx(56 / 60)
    right = {way: right_by_hand(data, way) for way in ("squash", "pad", "crop")}
    assert abs(found.accuracy["crop"] - right["crop"].mean()) < 0.05  # which row is cut is a matter of rounding
    p_values = {}
    for way in ("squash", "pad"):
        other = xai.load(Column(slice(0, 1)), input_size=SIZE, resize=way)
        hits = (other.logits_of(other.prepare(data.images).inputs).argmax(1) == data.labels).numpy()
        assert abs(hits.mean() - right[way].mean()) < 0.05
        before = (clf.logits_of(clf.prepare(data.images).inputs).argmax(1) == data.labels).numpy()
        won, lost = int((hits & ~before).sum()), int((before & ~hits).sum())
        p_values[way] = min(1.0, 2 * float(binom.cdf(min(won, lost), won + lost, 0.5)))
    low, high = sorted(p_values, key=p_values.get)
    assert found.p_values[low] == pytest.approx(min(1, 2 * p_values[low]), rel=1e-6)
    assert found.p_values[high] == pytest.approx(max(min(1, 2 * p_values[low]), p_values[high]), rel=1e-6)
    assert "resize='squash' predicts 93.3% of 60 images, the current 'crop'" in found.reason


def test_the_right_way_is_left_alone() -> None:
    squashed = xai.load(Column(slice(0, 1)), input_size=SIZE, resize="squash")
    found = xai.compare_resizing(squashed, wide(60))
    assert (found.best, found.verdict) == ("squash", "no evidence of a better way")
    assert found.reason == "resize='squash' is the most accurate: 100.0% of 60 images"


def test_chance_alone_is_no_evidence() -> None:
    source = torch.Generator().manual_seed(0)
    wrong = 0
    for seed in range(20):
        images = torch.rand(40, 3, 14, 20, generator=source)
        labels = torch.randint(0, 4, (40,), generator=source)
        clf = xai.Classifier(GapCnn(seed=seed), input_size=(12, 12))
        wrong += xai.compare_resizing(clf, images, labels).verdict == "another way fits better"
    assert wrong <= 2  # 5 % of 20, at most


def test_images_of_the_models_size_do_not_differ() -> None:
    clf = xai.Classifier(GapCnn(), input_size=(12, 36))
    found = xai.compare_resizing(clf, wide(8))
    assert found.verdict == "no difference"
    assert len(set(found.accuracy.values())) == 1
    with pytest.raises(InputError, match="an `input_size`; this one takes images as they are"):
        xai.compare_resizing(GapCnn(), wide(8))
    with pytest.raises(InputError, match="Expected `labels`"):
        xai.compare_resizing(clf, wide(8).images)


def test_verbs_with_labels_say_so_only_where_it_matters() -> None:
    data = wide(60)
    site = {"site": ["a", "b", "a"] * 20}
    for resize, says in (("crop", True), ("squash", False)):
        clf = xai.load(Column(slice(0, 1)), input_size=SIZE, resize=resize)
        results = [xai.calibration(clf, data), xai.bias(clf, data, groups=site, replicates=200)]
        for result in results:
            noted = [note for note in result.notes if "resize='squash' predicts 100.0% of 60 images" in note]
            assert bool(noted) is says, result.notes
