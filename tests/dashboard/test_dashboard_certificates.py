"""The page "Stress", certificates, without a browser: verdicts, bounds and radii are those of the library."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pages import FASHION, counted, opened, run_code, script_of, shirt

import xai
from xai.dashboard.charts.accuracy import spans
from xai.dashboard.pages.stress.certificates import RUNGS, CertifiedReach, largest_certified
from xai.dashboard.pages.stress.certification import METHODS, NOISE, _reached
from xai.dashboard.text.words import number_text
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
    return opened("stress", model=model, way="Certificates", **link)


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
        "**Certified** by CROWN: as long as no pixel changes by more than 1/255, the prediction stays **T-shirt/top**."
    )
    assert f"The closest other class is {fashion.class_names[int(margins.argmin())]};" in verdict
    assert f"the lower bound of the margin is {number_text(float(found.margin[0]))}." in verdict
    clean = fashion.prepare(shirt()).inputs
    low, high = xai.output_bounds(fashion, (clean - ONE).clamp(0, 1), (clean + ONE).clamp(0, 1), "crown")
    others = np.delete(high[0].numpy(), 0)
    assert f"The lower bound of T-shirt/top, {number_text(float(low[0, 0]))}, is above" in "".join(texts(app))
    assert f"the largest is {number_text(others.max())} of" in "".join(texts(app))
    table = app.dataframe[0].value
    np.testing.assert_allclose(table["lower_bound"], low[0])
    np.testing.assert_allclose(table["upper_bound"], high[0])
    np.testing.assert_allclose(table["certified_margin"], found.margins[0])
    np.testing.assert_allclose(table["clean_margin"], table["clean_logit"][0] - table["clean_logit"])
    assert [chart.proto.alt for chart in app.get("vega_lite_chart")] == [
        text for text in texts(app) if text.startswith(("The lower bound of", "No other class"))
    ]
    said = re.sub(r"print\(xai.output.*", "", script_of(app))
    assert run_code(said, tmp_path) == f"{found.verified} {found.margin}"
    compile(script_of(app), "code", "exec")


def test_what_is_not_proven_is_no_counterexample(fashion):
    app = proofs(certificate="IBP")
    found = certified(fashion, ONE, method="ibp")
    (verdict,) = [one.value for one in app.warning]
    assert verdict.startswith("**Not certified** by IBP: while no pixel changes by more than 1/255")
    assert number_text(float(found.margin[0])) in verdict
    assert "That is no adversarial example" in verdict
    assert any(text == "9 of 9 classes may overtake it according to the bounds." for text in texts(app))


def test_a_proof_may_be_tighter_than_the_bounds_of_two_logits():
    app = proofs(model=ROBUST, certificate="CROWN-IBP", certificate_eps_linf="0.25")
    assert app.success[0].value.startswith("**Certified** by CROWN-IBP")
    assert any("and still the prediction is certified" in text for text in texts(app))


def test_other_norms_have_margins_and_no_bounds_of_logits(fashion):
    app = proofs(certificate_norm="l2", certificate_eps_l2="0.0625", certificate="CROWN")
    found = certified(fashion, 0.0625, norm="l2")
    verdict = next(one.value for one in (*app.success, *app.warning))
    assert ("**Certified**" in verdict) == bool(found.verified[0])
    assert "the l2 norm of the perturbation is at most 0.0625" in verdict
    assert len(app.get("vega_lite_chart")) == 1
    assert "output_bounds" not in script_of(app)
    assert "norm='l2', method='crown'" in script_of(app)


def test_smoothing_says_the_radius_and_its_chance(fashion):
    link = {"smoothing.sigma": "0.05", "smoothing.samples": "500", "certificate_seed": "3"}
    app = proofs(certificate_norm="l2", certificate="Smoothing", certificate_eps_l2="0.0625", **link)
    found = certified(fashion, 0.0625, norm="l2", method="smoothing", sigma=0.05, samples=500, seed=3)
    assert bool(found.verified[0])
    (verdict,) = [one.value for one in app.success]
    assert f"up to an l2 norm of {float(found.margin[0]) + 0.0625:.3g}; 0.0625 was requested" in verdict
    assert "with an error probability of at most 0.001" in verdict
    assert "seed=3, sigma=0.05, samples=500" in script_of(app)
    assert not app.get("vega_lite_chart")
    app.slider(key="certificate_eps_l2").set_value(0.5).run()
    assert "only up to an l2 norm of" in app.warning[0].value


def test_smoothing_that_answers_something_else(fashion):
    app = proofs(certificate_norm="l2", certificate="Smoothing")
    other = int(certified(fashion, 0.25, norm="l2", method="smoothing").predictions[0])
    assert other > 0  # 0 is the answer to the clean image
    assert f"predicts **{fashion.class_names[other]}**, not **T-shirt/top**" in app.warning[0].value


def test_smoothing_that_abstains():
    app = proofs(
        certificate_norm="l2", certificate="Smoothing", **{"smoothing.samples": "2", "smoothing.sigma": "0.05"}
    )
    assert "the smoothed model makes no prediction" in app.warning[0].value


def test_a_model_without_bounds_gives_the_sentence_and_the_way_on():
    app = proofs(model="efficientnet_lite0")
    assert "No bounds for ZeroPad2d" in app.error[0].value
    app.button(key="take_smoothing").click().run()
    assert not app.exception
    assert not app.error
    assert (app.selectbox(key="certificate").value, app.selectbox(key="certificate_norm").value) == ("smoothing", "l2")
    assert [b.label for b in app.button if b.label == "Certify"] == ["Certify"]  # long, so it is asked for


def test_the_largest_radius_is_looked_for_when_asked(fashion, monkeypatch):
    calls = counted(monkeypatch, "certify")
    app = proofs(certificate="CROWN-IBP", model=ROBUST)
    before = len(calls)
    next(b for b in app.button if b.label == "Find the largest certified radius").click().run()
    assert not app.exception
    assert 0 < len(calls) - before <= 4
    robust = xai.load(ROBUST)
    proven = [bool(certified(robust, eps, method="crown_ibp").verified[0]) for eps in RUNGS["linf"]]
    assert proven == sorted(proven, reverse=True)
    (text,) = [text for text in texts(app) if text.startswith("Certified up to")]
    first, second = (255 * RUNGS["linf"][sum(proven) + k] for k in (-1, 0))
    assert text == f"Certified up to **{first:.3g}/255**; not certified at {second:.3g}/255, the next radius tried."


@pytest.mark.parametrize("rungs_proven", range(len(RUNGS["l1"]) + 1))
def test_the_ladder_is_halved_to_its_end(monkeypatch, rungs_proven):
    rungs, tried = RUNGS["l1"], []

    def certify(_model, _images, _labels, eps, **_):
        tried.append(eps)
        return SimpleNamespace(verified=torch.tensor([rungs.index(eps) < rungs_proven]))

    monkeypatch.setattr(xai, "certify", certify)

    network = SimpleNamespace(prepare=lambda _: SimpleNamespace(inputs=0), predict=lambda _: SimpleNamespace(index=0))
    found = largest_certified(network, SimpleNamespace(open=lambda: None), "l1", {}, None)
    ends = (None, *rungs, None)
    assert (found.certified, found.open) == (ends[rungs_proven], ends[rungs_proven + 1])
    assert len(tried) <= 4


def test_the_ends_of_the_ladder_are_said():
    assert "Not certified even at the smallest radius tried, 0.1" in _reached(CertifiedReach(None, 0.1), "l1")
    assert "**24**, the largest radius tried" in _reached(CertifiedReach(24.0, None), "l1")


def test_looking_again_proves_nothing_anew(monkeypatch):
    calls = counted(monkeypatch, "certify")
    app = proofs(certificate="CROWN-IBP")
    app.slider(key="certificate_eps_linf").set_value(2.5).run()
    app.slider(key="certificate_eps_linf").set_value(1.0).run()
    assert [arguments[3] for arguments, _ in calls] == [0.0, ONE, 2.5 / 255]


def test_the_chart_has_each_span_and_the_line():
    rows = [{"class": "Bag", "low": -1.0, "high": 2.0, "clean": 0.5, "own": True}]
    bars, points, line = spans(rows, 0.25, "logit").to_dict()["layer"]
    assert bars["data"]["values"] == points["data"]["values"] == rows
    assert (bars["encoding"]["x"]["field"], bars["encoding"]["x2"]["field"]) == ("low", "high")
    assert points["encoding"]["x"]["field"] == "clean"
    assert line["encoding"]["x"] == {"datum": 0.25}
