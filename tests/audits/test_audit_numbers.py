"""What an audit says of numbers that differ, of one check alone, and with which images it backs a finding."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import GapCnn, LinearModel, pictures

import xai
from xai.audits.checks.base import CHECKS
from xai.cli import main
from xai.errors import CheckpointError, InputError, NameLookupError

DRIFT = [{"metric": "explanation_drift", "method": "saliency", "at_least": 0.0}]


def data(count: int, start: int = 0) -> xai.Dataset:
    images = pictures(count + start)[start:]
    with torch.no_grad():
        labels = GapCnn()(images).argmax(1).numpy()
    path = Path(data.folder) / f"{start}-{count}.npz"
    np.savez(path, images=(images.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8), labels=labels)
    return xai.load_data(path, class_names=list("abcd"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> None:
    data.folder = tmp_path


@pytest.mark.parametrize("net", [LinearModel(classes=4), GapCnn()])
def test_a_baseline_of_another_number_of_images_is_compared_and_told(net: torch.nn.Module) -> None:
    clf = xai.Classifier(net, list("abcd"), (16, 16))
    before = xai.audit(model=clf, data=data(12), checks=[*DRIFT, {"metric": "accuracy"}])
    after = xai.audit(model=clf, data=data(20), checks=[*DRIFT, {"metric": "accuracy"}], baseline=before)
    check = after["explanation_drift"]["measured"]
    assert (check["n"], check["value"]) == (12, pytest.approx(1.0))  # the same model on the twelve that are shared
    assert "maps of 12 images and this audit of 20; 12 are in both" in check["claim"]
    assert any(
        "first audit is of 12 images and the second of 20; 12 are in both" in note
        for note in xai.compare(before, after).notes
    )
    same = xai.audit(model=clf, data=data(12), checks=DRIFT, baseline=before)
    assert "are in both" not in same["explanation_drift"]["measured"]["claim"]
    assert xai.compare(before, before).notes == ()


def test_why_no_map_can_be_compared_is_told() -> None:
    clf = xai.Classifier(GapCnn(), list("abcd"), (16, 16))
    before = xai.audit(model=clf, data=data(12), checks=DRIFT)
    told = {
        "None of the 12 images whose maps the baseline has is among these 9": (data(9, 50), DRIFT),
        "maps are of saliency, these of gradcam": (data(12), [{"metric": "explanation_drift", "method": "gradcam"}]),
    }
    for words, (images, checks) in told.items():
        found = xai.audit(model=clf, data=images, checks=checks, baseline=before)
        assert words in found["explanation_drift"]["measured"]["claim"]
    without = xai.audit(model=clf, data=data(12), checks=["accuracy"])
    found = xai.audit(model=clf, data=data(12), checks=DRIFT, baseline=without)
    assert "There are no maps of a baseline" in found["explanation_drift"]["measured"]["claim"]
    drop = [{"metric": "accuracy", "max_drop_vs_baseline": 0.1}]
    away = xai.audit(model=clf, data=data(9, 50), checks=drop, baseline=without)
    assert "none of the images of the baseline's check is among these" in away["accuracy"]["why"]


def test_a_finding_on_a_class_shows_images_of_that_class() -> None:
    """One class is always wrong and unsure, another often wrong and sure: the surest mistakes are the other's."""

    class Sure(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            kind = (images[:, 0, 0, 0] * 255).round()
            logits = torch.zeros(len(images), 3)
            logits[:, 0] = torch.where(kind == 1, 9.0, 0.1)  # class 1 is surely taken for 0, class 2 hardly so
            logits[:, 1] = torch.where(kind == 3, 9.0, 0.0)
            return logits

    kinds = np.array([0] * 20 + [1] * 8 + [3] * 20 + [2] * 6)
    images = np.repeat(kinds.astype(np.uint8), 5 * 7 * 3).reshape(-1, 5, 7, 3)
    images[:, 4, :, 0] = np.arange(len(kinds), dtype=np.uint8)[:, None]  # no two alike
    labels = np.array([0] * 20 + [1] * 28 + [2] * 6)
    site = np.where(labels == 2, "south", "north")
    np.savez(Path(data.folder) / "s.npz", images=images, labels=labels, site=site)
    clf = xai.Classifier(Sure(), ["zero", "one", "two"], (5, 7))
    asked = {"metric": "accuracy", "worst_class_at_least": 0.9, "worst_group_at_least": 0.9, "at_least": 0.99}
    found = xai.audit(model=clf, data=str(Path(data.folder) / "s.npz"), checks=[asked])
    by = {finding.condition: [one["facts"]["label"] for one in finding.evidence] for finding in found.findings}
    assert set(by["worst_class_at_least"]) == {"two"}
    assert set(by["worst_group_at_least"]) == {"two"}  # the group south is that class
    assert "one" in by["at_least"]


def test_a_dry_run_of_one_check_plans_that_check_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clf = xai.Classifier(GapCnn(), list("abcd"), (16, 16))
    asked = {"model": clf, "data": data(12), "checks": ["accuracy", *DRIFT]}
    whole, one = xai.Audit.plan(**asked), xai.Audit.plan(**asked, only=["accuracy"])
    assert [check.id for check in one.checks] == ["accuracy"]
    assert one.rows == 12 < whole.rows
    with pytest.raises(NameLookupError, match="accuracy"):
        xai.Audit.plan(**asked, only=["acuracy"])
    file = tmp_path / "xai.toml"
    file.write_text('[model]\nsource = "example:fashion"\n[data]\nsource = "example:fashion-test"\nn = 20\n')
    assert main(["audit", str(file), "--dry-run", "--only", "accuracy"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["accuracy"]


def test_a_model_that_is_not_there_is_refused_by_init(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model, words in {
        "missing.onnx": "no such file",
        "example:fashoin": "example:fashion",
        "nothing": "There is no",
    }.items():
        assert main(["init", str(tmp_path / "new"), "--model", model]) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    with pytest.raises(CheckpointError):
        xai.Audit.init(tmp_path / "new", str(tmp_path / "weights.pt"))
    assert len(xai.Audit.init(tmp_path / "new", "torchvision:resnet18")) == 3


def test_a_check_of_too_few_images_is_not_run_and_no_error():
    """The numbers are those below which the studies refuse."""
    for metric, fewest, study in (
        ("shortcuts", 40, xai.shortcuts),
        ("slices", 80, xai.slices),
    ):
        few = data(fewest - 1)
        classifier = xai.Classifier(GapCnn(), class_names=list("abcd"), input_size=(16, 16))
        check = xai.audit(model=classifier, data=few, checks=[metric]).checks[0]
        assert (check["verdict"], check["error"]) == ("not run", None)
        assert check["why"] == f"Not run: it needs at least {fewest} images, and there are {fewest - 1}."
        with pytest.raises(InputError, match=f"at least {fewest}"):
            study(classifier, few)
        assert CHECKS[metric].fewest == fewest
