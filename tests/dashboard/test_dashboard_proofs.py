"""The page "Stress", proofs, without a browser: verdicts, bounds and radii are those of the library."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pages import FASHION, counted, opened, run_code, script_of, shirt

import xai
from xai.dashboard.charts import spans
from xai.dashboard.proofs import RUNGS, Reach, _reach
from xai.dashboard.proven import METHODS, NOISE, _reached
from xai.dashboard.words import figure
from xai.robust.certification.certify import EVERY
from xai.robust.certification.smoothing import SmoothingNoise

ROBUST = "example:fashion-robust"
ONE = 1 / 255


@pytest.fixture(scope="module")
def fashion():
    return xai.load(FASHION)


def certified(network, eps, **asked):
    clean = network.prepare(shirt()).inputs
    return xai.certify(network, clean, network.predict(clean).index, eps, **asked)


def proofs(model=FASHION, **link):
    return opened("stress", model=model, way="Proofs", **link)


def texts(app):
    return [one.value for one in (*app.success, *app.warning, *app.markdown)]


def test_every_method_of_the_library_is_offered():
    assert sorted(METHODS) == sorted(EVERY)
    assert vars(SmoothingNoise()) == NOISE


def test_a_proof_says_what_the_library_proves(fashion, tmp_path):
    app = proofs()
    found = certified(fashion, ONE, method="auto")
    margins = found.margins[0].nan_to_num(nan=np.inf)
    (verdict,) = [one.value for one in app.success]
    assert verdict.startswith(
        "**Proven** by CROWN: as long as no pixel changes by more than 1/255, the answer stays **T-shirt/top**."
    )
    assert f"{fashion.labels[int(margins.argmin())]} comes nearest" in verdict
    assert f"at least {figure(float(found.margin[0]))} below" in verdict
    clean = fashion.prepare(shirt()).inputs
    low, high = xai.output_bounds(fashion, (clean - ONE).clamp(0, 1), (clean + ONE).clamp(0, 1), "crown")
    others = np.delete(high[0].numpy(), 0)
    assert f"The lowest of T-shirt/top, {figure(float(low[0, 0]))}, is above" in "".join(texts(app))
    assert f"all others, {figure(others.max())} of" in "".join(texts(app))
    table = app.dataframe[0].value
    np.testing.assert_allclose(table["lower_bound"], low[0])
    np.testing.assert_allclose(table["upper_bound"], high[0])
    np.testing.assert_allclose(table["proven_margin"], found.margins[0])
    np.testing.assert_allclose(table["clean_margin"], table["clean_logit"][0] - table["clean_logit"])
    assert [chart.proto.alt for chart in app.get("vega_lite_chart")] == [
        text for text in texts(app) if text.startswith(("The lowest of", "None of 9"))
    ]
    said = re.sub(r"print\(xai.output.*", "", script_of(app))
    assert run_code(said, tmp_path) == f"{found.verified} {found.margin}"
    compile(script_of(app), "code", "exec")


def test_what_is_not_proven_is_no_counterexample(fashion):
    app = proofs(proof="IBP")
    found = certified(fashion, ONE, method="ibp")
    (verdict,) = [one.value for one in app.warning]
    assert verdict.startswith("**Not proven** by IBP: while no pixel changes by more than 1/255")
    assert figure(float(found.margin[0])) in verdict
    assert "That is no counterexample" in verdict
    assert any(text == "9 of 9 classes may come ahead as far as is proven." for text in texts(app))


def test_a_proof_may_be_tighter_than_the_bounds_of_two_logits():
    app = proofs(model=ROBUST, proof="CROWN-IBP", proof_eps_linf="0.25")
    assert app.success[0].value.startswith("**Proven** by CROWN-IBP")
    assert any("and still the answer is proven" in text for text in texts(app))


def test_other_norms_have_margins_and_no_bounds_of_logits(fashion):
    app = proofs(proof_norm="l2", proof_eps_l2="0.0625", proof="CROWN")
    found = certified(fashion, 0.0625, norm="l2")
    verdict = next(one.value for one in (*app.success, *app.warning))
    assert ("**Proven**" in verdict) == bool(found.verified[0])
    assert "the l2 length of the change is at most 0.0625" in verdict
    assert len(app.get("vega_lite_chart")) == 1
    assert "output_bounds" not in script_of(app)
    assert "norm='l2', method='crown'" in script_of(app)


def test_smoothing_says_the_radius_and_its_chance(fashion):
    link = {"smoothing.sigma": "0.05", "smoothing.samples": "500", "proof_seed": "3"}
    app = proofs(proof_norm="l2", proof="Smoothing", proof_eps_l2="0.0625", **link)
    found = certified(fashion, 0.0625, norm="l2", method="smoothing", sigma=0.05, samples=500, seed=3)
    assert bool(found.verified[0])
    (verdict,) = [one.value for one in app.success]
    assert f"up to an l2 length of {float(found.margin[0]) + 0.0625:.3g}, and 0.0625 was asked for" in verdict
    assert "wrong with a chance of at most 0.001" in verdict
    assert "seed=3, sigma=0.05, samples=500" in script_of(app)
    assert not app.get("vega_lite_chart")
    app.slider(key="proof_eps_l2").set_value(0.5).run()
    assert "only up to an l2 length of" in app.warning[0].value


def test_smoothing_that_answers_something_else(fashion):
    app = proofs(proof_norm="l2", proof="Smoothing")
    other = int(certified(fashion, 0.25, norm="l2", method="smoothing").predictions[0])
    assert other > 0  # 0 is the answer to the clean picture
    assert f"mostly answers **{fashion.labels[other]}**, not **T-shirt/top**" in app.warning[0].value


def test_smoothing_that_abstains():
    app = proofs(proof_norm="l2", proof="Smoothing", **{"smoothing.samples": "2", "smoothing.sigma": "0.05"})
    assert "the smoothed network gives no answer" in app.warning[0].value


def test_a_network_without_bounds_gives_the_sentence_and_the_way_on():
    app = proofs(model="efficientnet_lite0")
    assert "No bounds for ZeroPad2d" in app.error[0].value
    app.button(key="take_smoothing").click().run()
    assert not app.exception
    assert not app.error
    assert (app.selectbox(key="proof").value, app.selectbox(key="proof_norm").value) == ("smoothing", "l2")
    assert [b.label for b in app.button if b.label == "Prove"] == ["Prove"]  # long, so it is asked for


def test_the_largest_radius_is_looked_for_when_asked(fashion, monkeypatch):
    calls = counted(monkeypatch, "certify")
    app = proofs(proof="CROWN-IBP", model=ROBUST)
    before = len(calls)
    next(b for b in app.button if b.label == "Look for the largest proven radius").click().run()
    assert not app.exception
    assert 0 < len(calls) - before <= 4
    robust = xai.load(ROBUST)
    proven = [bool(certified(robust, eps, method="crown_ibp").verified[0]) for eps in RUNGS["linf"]]
    assert proven == sorted(proven, reverse=True)
    (text,) = [text for text in texts(app) if text.startswith("Proven up to")]
    first, second = (255 * RUNGS["linf"][sum(proven) + k] for k in (-1, 0))
    assert text == f"Proven up to **{first:.3g}/255**; {second:.3g}/255, the next radius tried, is not."


@pytest.mark.parametrize("rungs_proven", range(len(RUNGS["l1"]) + 1))
def test_the_ladder_is_halved_to_its_end(monkeypatch, rungs_proven):
    rungs, tried = RUNGS["l1"], []

    def certify(_model, _images, _labels, eps, **_):
        tried.append(eps)
        return SimpleNamespace(verified=torch.tensor([rungs.index(eps) < rungs_proven]))

    monkeypatch.setattr(xai, "certify", certify)
    from contextlib import nullcontext

    network = SimpleNamespace(prepare=lambda _: SimpleNamespace(inputs=0), predict=lambda _: SimpleNamespace(index=0))
    model = SimpleNamespace(borrowed=lambda: nullcontext(network))
    found = _reach(model, SimpleNamespace(open=lambda: None), "l1", {}, None)
    ends = (None, *rungs, None)
    assert (found.proven, found.open) == (ends[rungs_proven], ends[rungs_proven + 1])
    assert len(tried) <= 4


def test_the_ends_of_the_ladder_are_said():
    assert "Not even the smallest radius tried, 0.1," in _reached(Reach(None, 0.1), "l1")
    assert "**24**, the largest radius tried" in _reached(Reach(24.0, None), "l1")


def test_looking_again_proves_nothing_anew(monkeypatch):
    calls = counted(monkeypatch, "certify")
    app = proofs(proof="CROWN-IBP")
    app.slider(key="proof_eps_linf").set_value(2.5).run()
    app.slider(key="proof_eps_linf").set_value(1.0).run()
    assert [arguments[3] for arguments, _ in calls] == [0.0, ONE, 2.5 / 255]


def test_the_chart_has_each_span_and_the_line():
    rows = [{"class": "Bag", "low": -1.0, "high": 2.0, "clean": 0.5, "own": True}]
    spec = spans(rows, 0.25, "logit")
    bars, points, line = spec["layer"]
    assert spec["data"]["values"] == rows
    assert (bars["encoding"]["x"]["field"], bars["encoding"]["x2"]["field"]) == ("low", "high")
    assert points["encoding"]["x"]["field"] == "clean"
    assert line["encoding"]["x"] == {"datum": 0.25}
