"""A classifier under corruptions: accuracy, critical severities, records."""

import json

import numpy as np
import pytest
import torch
from model_state import assert_same, lived_in, snapshot
from small_models import BatchNormNet, GapCnn, InjectedError, LinearModel, pictures, with_raiser
from torch import nn

from xai.core.model.classifier import Classifier
from xai.core.results.result import Provenance
from xai.datasets.loading import load_data
from xai.errors import InputError, NameLookupError, RangeError, RecordError, ShapeError, Stopped, TargetError
from xai.robust.corruptions import robustness
from xai.robust.corruptions.base import corrupt
from xai.robust.corruptions.result import IMAGENET_C, CorruptionResult
from xai.robust.corruptions.robustness import corruption_robustness, critical_severities

NAMES = ("contrast", "gaussian_noise", "fog")
MODELS = {"linear": LinearModel, "cnn": GapCnn, "batch norm": BatchNormNet}


class Contrast(nn.Module):
    """Class 1 while the image's deviation is above a threshold: `contrast` alone brings it down, in a known place."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(threshold))

    def forward(self, images):
        over = images.flatten(1).std(1) - self.threshold
        return torch.stack([-over, over], 1)


def labelled(kind, count=24):
    """Return a classifier, images and labels of which it gets about three quarters right."""
    classifier, images = Classifier(MODELS[kind](), input_size=(16, 16)), pictures(count)
    last = [part for part in classifier.module.modules() if isinstance(part, nn.Linear)][-1]
    with torch.no_grad():
        last.bias -= classifier.logits(images).mean(0)  # so that no class is always the answer
    labels = classifier.predict(images).index.clone()
    labels[::4] = (labels[::4] + 1) % classifier.num_classes
    return classifier, images, labels


@pytest.mark.parametrize("kind", MODELS)
def test_answers_are_those_on_the_corrupted_pictures(kind):
    classifier, images, labels = labelled(kind)
    found = corruption_robustness(classifier, images, labels, NAMES, (1, 3.5, 5), seed=3)
    assert found.predictions.shape == (3, 3, 24)
    for name, rows in zip(NAMES, found.predictions, strict=True):
        for severity, answers in zip((1, 3.5, 5), rows, strict=True):
            worse = corrupt(images, name, severity, seed=3)
            assert torch.equal(answers, classifier.predict(worse).index), (name, severity)
    assert torch.equal(found.clean_predictions, classifier.predict(images).index)
    assert found.clean == pytest.approx(18 / 24)
    assert found.accuracy == pytest.approx((found.predictions == labels).double().mean(2).numpy())
    assert len({tuple(row.flatten().tolist()) for row in found.predictions}) > 1
    assert found.intervals[..., 0] == pytest.approx(found.intervals[..., 0].clip(0, 1))
    assert (found.intervals[..., 0] <= found.accuracy).all()
    assert (found.intervals[..., 1] >= found.accuracy).all()
    assert found.errors["fog"] == pytest.approx(1 - found.accuracy[2])


def test_the_model_comes_back_as_it_was():
    module = lived_in(BatchNormNet())
    images, labels = pictures(9), torch.zeros(9, dtype=torch.int64)
    before = snapshot(module)
    corruption_robustness(module, images, labels, ("snow",), (2,))
    critical_severities(module, images, labels, "fog")
    assert_same(before, snapshot(module))
    broken, _ = with_raiser(GapCnn(), "head", after=2)
    before = snapshot(broken)
    with pytest.raises(InjectedError, match="injected"):
        corruption_robustness(broken, images, labels, ("snow",), (2, 3))
    assert_same(before, snapshot(broken))


def test_chunks_and_order_change_nothing(monkeypatch):
    classifier, images, labels = labelled("cnn")
    wanted = corruption_robustness(classifier, images, labels, NAMES, (4,))
    monkeypatch.setattr(robustness, "_READ", 7)
    monkeypatch.setattr(Classifier, "row_limit", lambda _self, _inputs: 3)
    assert torch.equal(corruption_robustness(classifier, images, labels, NAMES, (4,)).predictions, wanted.predictions)
    turned = corruption_robustness(classifier, images.flip(0), labels.flip(0), NAMES, (4,))
    assert torch.equal(turned.predictions.flip(2), wanted.predictions)


def test_the_fifteen_are_the_default_and_mce_needs_imagenet():
    classifier, images, labels = labelled("linear", 4)
    found = corruption_robustness(classifier, images, labels)
    assert found.names == IMAGENET_C
    assert found.severities == (1, 2, 3, 4, 5)
    assert found.mce is None
    wide = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 1000))
    result = corruption_robustness(Classifier(wide, input_size=(16, 16)), images, torch.arange(4))
    error = result.mce
    assert error.mce == pytest.approx(np.mean(list(error.ce.values())))
    assert error.interval[0] <= error.mce <= error.interval[1]
    assert corruption_robustness(wide, images, torch.arange(4), IMAGENET_C, (1, 2)).mce is None


def test_a_data_set_brings_its_labels(tmp_path):
    chance = np.random.default_rng(0)
    values = chance.integers(0, 255, (10, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=values, labels=np.arange(10) % 4)
    data = load_data(tmp_path / "a.npz")
    classifier = Classifier(GapCnn(), input_size=(16, 16))
    found = corruption_robustness(classifier, data, names=NAMES, severities=(3,))
    plain = corruption_robustness(classifier, values, np.arange(10) % 4, NAMES, (3,))
    assert torch.equal(found.predictions, plain.predictions)
    assert torch.equal(found.labels, torch.arange(10) % 4)


def test_critical_severity_is_the_first_error_and_monotone():
    labels = torch.zeros(5, dtype=torch.int64)
    right = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 0], [1, 1, 0], [1, 1, 1]]).T  # severities by images
    clean = torch.tensor([0, 0, 0, 0, 3])
    found = CorruptionResult(
        ("fog",), (1.0, 2.5, 5.0), labels, clean, (1 - right)[None], 4, provenance=Provenance({}, {})
    )
    assert found.critical_severity[0] == pytest.approx([np.nan, 2.5, 1, 5, 0], nan_ok=True)
    assert found.first_errors("fog") == pytest.approx(found.critical_severity[0], nan_ok=True)
    with pytest.raises(NameLookupError, match="fog"):
        found.first_errors("frog")


def test_halving_finds_where_the_answer_turns():
    images = pictures(6, seed=4)
    limits = images.flatten(1).std(1)
    model = Contrast(float(limits.mean() * 0.25))  # between severity 2 (0.3 of the contrast) and 3 (0.2)
    ones = torch.ones(6, dtype=torch.int64)
    found = critical_severities(model, images, ones, "contrast", tolerance=1 / 64)
    kept = 0.25 * limits.mean() / limits
    assert found.tolist() == pytest.approx((2 + (0.3 - kept) / 0.1).tolist(), abs=0.15)  # per channel, so nearly
    for image, severity in zip(images, found.tolist(), strict=True):
        worse = [corrupt(image, "contrast", s) for s in (severity - 1 / 64, severity)]
        answers = [int(Classifier(model).predict(one).index) for one in worse]
        assert answers == [1, 0]
    assert critical_severities(model, images, 1 - ones, "contrast").tolist() == [0] * 6
    never = critical_severities(Contrast(0.0), images, ones, "contrast")
    assert never.isnan().all()


def test_saved_and_read_back(tmp_path):
    classifier, images, labels = labelled("cnn")
    found = corruption_robustness(classifier, images, labels, NAMES, (1, 5), seed=2)
    again = CorruptionResult.load(found.save(tmp_path / "run"))
    assert again.to_dict() == found.to_dict() == json.loads(json.dumps(found.to_dict()))
    assert torch.equal(again.predictions, found.predictions)
    assert again.accuracy == pytest.approx(found.accuracy)
    assert "24 image" in repr(found)
    (tmp_path / "run" / "values.npz").write_bytes(b"no")
    with pytest.raises(RecordError, match="damaged"):
        CorruptionResult.load(tmp_path / "run")


def test_table():
    classifier, images, labels = labelled("cnn")
    found = corruption_robustness(classifier, images, labels, NAMES, (1, 5))
    table = found.table
    assert list(table["corruption"]) == ["clean", *(name for name in NAMES for _ in range(2))]
    assert table["accuracy"][0] == pytest.approx(found.clean)
    assert list(table["accuracy"][1:]) == pytest.approx(list(found.accuracy.flatten()))
    assert (table["error"] + table["accuracy"] == 1).all()
    assert (table["low"] <= table["accuracy"]).all()


def test_progress_and_stop():
    classifier, images, labels = labelled("cnn")
    seen = []
    corruption_robustness(classifier, images, labels, NAMES, (1, 5), progress=lambda *done: seen.append(done))
    assert seen[-1] == (24 * 7, 24 * 7)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    with pytest.raises(Stopped, match="24 of 168"):
        corruption_robustness(classifier, images, labels, NAMES, (1, 5), should_stop=iter([False, True]).__next__)
    with pytest.raises(Stopped, match="rounds"):
        critical_severities(classifier, images, labels, "fog", should_stop=lambda: True)


def test_bad_requests():
    classifier, images, labels = labelled("linear", 4)
    with pytest.raises(NameLookupError, match="gaussian_blur"):
        corruption_robustness(classifier, images, labels, ("gausian_blur",))
    with pytest.raises(InputError, match="labels"):
        corruption_robustness(classifier, images)
    with pytest.raises(ShapeError, match="one label per image, 4"):
        corruption_robustness(classifier, images, labels[:3])
    with pytest.raises(TargetError, match="class index"):
        corruption_robustness(classifier, images, labels + 7)
    with pytest.raises(ShapeError, match="increasing"):
        corruption_robustness(classifier, images, labels, NAMES, (3, 1))
    with pytest.raises(ShapeError, match="increasing"):
        corruption_robustness(classifier, images, labels, NAMES, ())
    with pytest.raises(RangeError, match="severity"):
        corruption_robustness(classifier, images, labels, NAMES, (1, 6))
    with pytest.raises(RangeError, match="Leave it out"):
        corruption_robustness(classifier, images, labels, NAMES, (0, 1))
    with pytest.raises(RangeError, match="tolerance"):
        critical_severities(classifier, images, labels, "fog", tolerance=0)


def test_the_matrix_is_drawn_with_its_intervals():
    classifier, images, labels = labelled("cnn")
    found = corruption_robustness(classifier, images, labels, NAMES, (1, 5))
    axis = found.plot().axes[0]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["contrast", "gaussian noise", "fog"]
    low, high = found.intervals[2, 1]
    wanted = f"{100 * found.accuracy[2, 1]:.0f}\n{100 * low:.0f}\N{EN DASH}{100 * high:.0f}"
    assert next(text.get_text() for text in axis.texts if text.get_position() == (1, 2)) == wanted
    assert found.png().startswith(b"\x89PNG")
