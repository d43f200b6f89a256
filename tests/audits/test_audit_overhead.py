"""What runner and store cost: CPU time of an audit against the same checks called directly, in one process."""

import time

import pytest

import xai

N = 1000
ASKED = [
    "accuracy",
    {"metric": "robust_accuracy", "attack": "apgd-ce", "steps": 20, "trust": 0},
    {"metric": "corruption_accuracy", "severities": [1, 3, 5], "images": 300},
    {"metric": "faithfulness", "images": 16},
    "shortcuts",
    "slices",
]


def by_hand(model, data):
    """Call what the checks call, on as many images."""
    model.predict(data.images[:])
    xai.attack(model, data.images[:], data.labels, "apgd-ce", eps=8 / 255, steps=20)
    xai.corruption_robustness(model, data.subset(300), severities=(1, 3, 5))
    some = data.subset(16).images[:]
    xai.rate_explanation(model, some, xai.explain(model, some))
    xai.shortcuts(model, data)
    xai.slices(model, data)


def cpu_time(call, *arguments, **named):
    began = time.process_time()
    call(*arguments, **named)
    return time.process_time() - began


@pytest.mark.slow
def test_runner_and_store_cost_little(tmp_path):
    model, data = xai.load("example:fashion"), xai.load_data("example:fashion-test", part="test").subset(N)
    by_hand(model, data.subset(100))  # warm
    ratios = []
    for k in range(3):
        audited = cpu_time(xai.audit, model=model, data=data, checks=ASKED, out=tmp_path / str(k))
        ratios.append(audited / cpu_time(by_hand, model, data))
    assert sorted(ratios)[1] <= 1.10, ratios
    again = cpu_time(xai.audit, model=model, data=data, checks=ASKED, out=tmp_path / "0")
    assert again <= 0.02 * cpu_time(by_hand, model, data)
