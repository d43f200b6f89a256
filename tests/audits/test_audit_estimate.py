"""The time that `--dry-run` says: against what the audit takes, counted in rows through the model and in CPU time."""

import time

import numpy as np
import pytest
import torch
from small_models import GapCnn, LinearModel, pictures

import xai
from xai.audits.execution import estimate as timing

CHECKS = [
    {"metric": "accuracy"},
    {"metric": "robust_accuracy", "attack": "pgd", "steps": 20, "trust": 0},
    {"metric": "corruption_accuracy", "corruptions": ["brightness", "contrast"], "severities": [1, 3]},
    {"metric": "faithfulness", "method": "occlusion", "images": 24},
]


@pytest.fixture
def rows(monkeypatch):
    """Count rows through linear layers, of the model and of prepared copies of it, and take them for the time."""
    seen = [0]
    real = torch.nn.functional.linear

    def counting(inputs, *others):
        seen[0] += len(inputs)
        return real(inputs, *others)

    monkeypatch.setattr(torch.nn.functional, "linear", counting)
    monkeypatch.setattr(timing, "clock", lambda: seen[0] / 10_000)  # rows in a second
    return seen


def asked(module, count=90):
    """Return a model, and images with labels that are its predictions."""
    images = pictures(count)
    classifier = xai.Classifier(module.eval(), input_size=(16, 16))
    labels = classifier.logits(images).argmax(1).numpy()
    arrays = (images.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    return {"model": classifier, "data": (arrays, labels)}


def data_of(arrays, labels, folder):
    np.savez(folder / "data.npz", images=arrays, labels=labels)
    return xai.load_data(folder / "data.npz", class_names=[str(k) for k in range(int(labels.max()) + 1)])


@pytest.mark.parametrize("eps", ["0.1/255", "60/255"])
@pytest.mark.parametrize("kind", [LinearModel, GapCnn])
def test_the_estimate_is_near_whether_an_attack_ends_soon_or_not(tmp_path, rows, kind, eps):
    given = asked(kind(seed=0))
    checks = [{**check, "eps": eps} if "attack" in check else check for check in CHECKS[:3]]
    asking = {"model": given["model"], "data": data_of(*given["data"], tmp_path), "checks": checks}
    plan = xai.Audit.plan(**asking)
    before = rows[0]
    xai.audit(**asking)
    taken = (rows[0] - before) / 10_000
    assert taken / 1.5 < plan.seconds < 1.5 * taken


@pytest.mark.slow
@pytest.mark.parametrize("model", ["example:fashion", "example:fashion-robust"])
def test_the_estimate_is_near_in_cpu_time(model, monkeypatch):
    monkeypatch.setattr(timing, "clock", time.process_time)
    data = xai.load_data("example:fashion-test").part("test").subset(300)
    checks = [{**check, "method": "gradcam"} if "method" in check else check for check in CHECKS]
    checks += ["shortcuts", "slices", "data_faults"]
    plan = xai.Audit.plan(model=model, data=data, checks=checks)
    began = time.process_time()
    xai.audit(model=model, data=data, checks=checks)
    taken = time.process_time() - began
    assert taken / 1.6 < plan.seconds < 1.6 * taken
