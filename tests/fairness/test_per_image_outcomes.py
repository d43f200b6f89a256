"""Who is attacked, rejected or badly explained first: per image as each verb alone says, and found per group."""

import numpy as np
import pytest
import torch

import xai
from xai.cli import main
from xai.errors import InputError, NameLookupError, Stopped

COUNT = 300


@pytest.fixture(scope="module")
def data() -> xai.Dataset:
    return xai.load_data("example:fashion-test").subset(COUNT, seed=2)


@pytest.fixture(
    scope="module", params=["example:fashion", pytest.param("example:fashion-shortcut", marks=pytest.mark.slow)]
)
def classifier(request: pytest.FixtureRequest) -> xai.Classifier:
    return xai.load(request.param)


def test_robust_accuracy_is_that_of_the_attack(classifier: xai.Classifier, data: xai.Dataset) -> None:
    seen: list[tuple[int, int]] = []
    data = data.subset(40, seed=3)
    found = xai.treatment(classifier, data, eps=4 / 255, progress=lambda done, total: seen.append((done, total)))
    alone = xai.attack(classifier, data.images[:], data.labels, "pgd", eps=4 / 255)
    np.testing.assert_array_equal(found["robust accuracy"], (alone.predictions == data.labels).double().numpy())
    assert found["robust accuracy"].mean() == pytest.approx(alone.robust_accuracy)
    assert seen[-1] == (40, 40)
    assert list(found) == ["robust accuracy"]


def test_the_group_that_is_attacked_first_is_found(data: xai.Dataset) -> None:
    """Faint images keep their answers more often than their robustness."""
    classifier = xai.load("example:fashion-robust")
    images, faint = data.images[:], torch.arange(COUNT) % 2 == 1
    images[faint] = 0.25 * images[faint]
    part = np.where(faint.numpy(), "faint", "plain")
    extra = xai.treatment(classifier, images, data.labels, eps=8 / 255)
    found = xai.bias(classifier, images, {"part": part}, labels=data.labels, extra=extra, metrics=["accuracy"], seed=0)
    gaps = [gap for gap in found.findings if gap.metric == "robust accuracy"]
    assert gaps
    assert gaps[0].verdict == "unfair"
    assert extra["robust accuracy"][faint].mean() < extra["robust accuracy"][~faint].mean() - 0.2
    same = xai.bias(
        classifier,
        images,
        {"part": np.where(np.arange(COUNT) % 4 < 2, "a", "b")},
        labels=data.labels,
        extra=extra,
        metrics=["accuracy"],
    )
    assert not same.findings


def test_rejections_are_those_of_the_detector(data: xai.Dataset) -> None:
    classifier = xai.load("example:fashion")
    train = xai.load_data("example:fashion-train")
    held = xai.load_data("example:fashion-test").part("calibration").subset(200, seed=1)
    detector = xai.fit_ood(classifier, train.subset(300), held, "msp")
    found = xai.treatment(classifier, data, attack=None, detector=detector)
    verdicts = detector.judge(data.images[:]).verdicts
    np.testing.assert_array_equal(found["false rejection"], [verdict == "out-of-distribution" for verdict in verdicts])


def test_explanations_are_rated(data: xai.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai.fairness.per_image_outcomes._FEW", 1)  # so that the two are explained in two calls
    classifier = xai.load("example:fashion")
    found = xai.treatment(classifier, data, attack=None, method="gradcam", samples=2, seed=4)
    sane, believed = found["explanation passes the sanity check"], found["explanation is not rejected"]
    chosen = np.flatnonzero(np.isfinite(believed))
    assert len(chosen) == 2
    assert set(np.unique(sane[chosen])) <= {0.0, 1.0}
    images = data.images[chosen.tolist()]
    rating = xai.rate_explanation(classifier, images, xai.explain(classifier, images, "gradcam", seed=4), seed=4)
    np.testing.assert_array_equal(believed[chosen], [verdict != "reject" for verdict in rating.verdicts])
    again = xai.treatment(classifier, data, attack=None, method="gradcam", samples=2, seed=4)
    np.testing.assert_array_equal(again["explanation is not rejected"], believed)


def test_errors_and_stopping(data: xai.Dataset) -> None:
    classifier = xai.load("example:fashion")
    with pytest.raises(InputError, match="None for all"):
        xai.treatment(classifier, data, attack=None)
    with pytest.raises(NameLookupError, match="pgd"):
        xai.treatment(classifier, data, attack="pdg")
    with pytest.raises(InputError, match="labels"):
        xai.treatment(classifier, data.images[:])
    for settings in ({}, {"attack": None, "method": "gradcam"}):
        with pytest.raises(Stopped):
            xai.treatment(classifier, data, should_stop=lambda: True, **settings)


def test_command_line(tmp_path, capsys: pytest.CaptureFixture) -> None:
    line = ["bias", "--model", "example:fashion", "--data", "example:fashion-test", "--count", "120"]
    more = ["--groups", "part", "--attack", "pgd", "--eps", "4/255", "--metrics", "accuracy", "--json"]
    assert main([*line, *more]) == 0
    assert "robust accuracy" in capsys.readouterr().out
    assert main([*line, "--eps", "4/255"]) == 2
    assert "--attack" in capsys.readouterr().err
