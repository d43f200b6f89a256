"""The page "Out of distribution" without a browser: its figures, images and words are those of the library."""

import zipfile
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pages import FASHION, bars, captions, opened, press, run_code, script_of, stop, values_of
from scipy import stats

import xai
from xai.dashboard.charts.scores import histogram, reliability, risk_by_coverage, shares_of_classes
from xai.dashboard.pages.ood.detector import DetectorPlan, DetectorResult
from xai.dashboard.session.samples import DataSample
from xai.dashboard.text.words import counted
from xai.dashboard.widgets.gallery import as_pixels
from xai.dashboard.widgets.results import result_zip

EACH, SEED = 120, 3
LINK = {"model": FASHION, "each": str(EACH), "sample_seed": str(SEED), "detector": "Virtual-logit matching"}


def texts(app):
    return [one.value for one in app.markdown]


@pytest.fixture(scope="module")
def drawn():
    """The images that the page draws: to learn from, to calibrate on, kept back, foreign."""
    ordinary = xai.load_data("example:fashion-test").subset(EACH, seed=SEED)
    halves = [ordinary.take(range(first, EACH, 2)) for first in (0, 1)]
    fit, digits = (xai.load_data(f"example:{name}").subset(EACH, seed=SEED) for name in ("fashion-train", "digits"))
    return SimpleNamespace(fit=fit, calibration=halves[0], test=halves[1], digits=digits)


@pytest.fixture(scope="module")
def vim(drawn):
    return xai.fit_ood(xai.load(FASHION), drawn.fit, drawn.calibration, "vim", SEED)


@pytest.fixture
def forwards(monkeypatch):
    """Count the calls of modules: of the network, of its layers and of any copy of them."""
    calls, real = [], torch.nn.Module.__call__

    def counting(module, *arguments, **settings):
        calls.append(type(module).__name__)
        return real(module, *arguments, **settings)

    monkeypatch.setattr(torch.nn.Module, "__call__", counting)
    return calls


def test_a_small_example_is_asked_at_once_and_once(forwards):
    app = opened("ood", **LINK)
    assert f"{EACH} to fit, {EACH // 2} to calibrate, {EACH // 2} held out." in app.caption[1].value
    assert forwards
    del forwards[:]
    opened("ood", **LINK)
    assert not forwards


def test_nothing_long_runs_before_it_is_asked_for(forwards):
    opened("ood", **LINK | {"each": "5000"})  # loads the model, which is looked at once
    del forwards[:]
    app = opened("ood", **LINK | {"each": "5000"})
    assert not forwards
    assert any(button.label == "Fit a detector" for button in app.button)


def test_promise_and_rates_are_those_of_the_library(drawn, vim):
    app = press(opened("ood", **LINK), "Fit a detector")
    share = stats.beta(3, EACH // 2 + 1 - 3)  # floor(0.05 x 61) images score as high as the threshold
    low, high = 100 * share.ppf(0.025), 100 * share.ppf(0.975)
    assert f"Expect {low:.0f} to {high:.0f} of 100" in texts(app)[0]
    inside, outside = vim.judge(drawn.test), vim.judge(drawn.digits)
    alarms, caught = (judged.verdicts.count("out-of-distribution") for judged in (inside, outside))
    said = next(text for text in texts(app) if text.startswith("At this threshold"))
    assert f"{counted(alarms, EACH // 2)} of the held-out in-distribution images are rejected" in said
    assert f"and {counted(caught, EACH)} of the out-of-distribution ones (example\\:digits)." in said
    (chart,) = app.get("vega_lite_chart")
    assert said in chart.proto.alt


def test_the_threshold_moves_and_nothing_is_computed(drawn, vim, forwards):
    app = press(opened("ood", **LINK), "Fit a detector")
    before = len(forwards)
    for alpha in (20.0, 50.0, 0.5):
        app.slider(key="alpha").set_value(alpha).run()
        assert not app.exception
    app.segmented_control(key="boundary").set_value("kept").run()
    assert len(forwards) == before
    assert "Nothing can be rejected at alpha 0.005 with 60 calibration images" in texts(app)[0].replace("\\", "")
    assert f"0 of {EACH}, 0 %" in next(text for text in texts(app) if text.startswith("At this threshold"))
    app.slider(key="alpha").set_value(20.0).run()
    alarms = vim.judge(drawn.test, 0.2).verdicts.count("out-of-distribution")
    assert counted(alarms, EACH // 2) in next(text for text in texts(app) if text.startswith("At this threshold"))


def test_the_images_next_to_the_threshold_come_first(drawn, vim):
    app = press(opened("ood", **LINK, alpha="20"), "Fit a detector")
    app.segmented_control(key="boundary").set_value("alarm").run()
    judged, limit = vim.judge(drawn.test, 0.2), vim.threshold(0.2)
    rejected = [k for k, verdict in enumerate(judged.verdicts) if verdict == "out-of-distribution"]
    rejected.sort(key=lambda k: float(judged.scores[k]) - limit)
    assert len(rejected) > 1
    shown = captions(app)
    assert len(shown) == min(12, len(rejected))
    for k, caption in zip(rejected, shown, strict=False):
        assert caption == f"{k}\\: p {float(judged.p_values[k]):.2g}, predicted as {judged.predictions[k]}"
    counts = {one.split(": ")[0]: int(one.split(": ")[1]) for one in app.segmented_control(key="boundary").options}
    assert counts["in-distribution, rejected"] == len(rejected)
    assert sum(counts.values()) == EACH + EACH // 2


def test_an_image_is_opened_judged_and_explained(drawn, vim, tmp_path):
    app = press(opened("ood", **LINK), "Fit a detector")
    app.segmented_control(key="boundary").set_value("caught").run()
    button = next(button for button in app.button if button.label.startswith("Open"))
    k = int(button.label.split()[1])
    button.click().run()
    judged = vim.judge(drawn.digits.images[k])
    (said,) = [box.value for box in app.warning]
    assert "**Out-of-distribution: do not use its prediction.**" in said
    assert f"predicted as **{judged.predictions[0]}**: p = {judged.p_value:.3g}, at most 0.05." in said.replace(
        "\\", ""
    )
    reasons = next(text for text in texts(app) if text.startswith("- Residual"))
    assert len(reasons.splitlines()) == len(judged.parts)
    near = vim.neighbours(drawn.digits.images[k])
    wanted = [
        f"{number}\\: {drawn.fit.class_names[int(drawn.fit.labels[number])]}, distance {distance:.2f}"
        for number, distance in zip(near["number"], near["distance"], strict=True)
    ]
    assert captions(app)[-5:] == wanted
    press(app, "Show them")
    code = script_of_map(app).replace("e.save('ood.png')", "e.heatmap.sum()")
    assert run_code(code, tmp_path) == f"{judged.verdict} {judged.p_value}"
    app.slider(key="alpha").set_value(1.0).run()
    assert app.success  # 1 / 61 is above 0.01: nothing is rejected
    assert not app.warning


def script_of_map(app):
    return next(one.value for one in app.code if "d.explain" in one.value)


def test_the_map_is_that_of_the_score(drawn, vim, monkeypatch):
    shown = []
    monkeypatch.setattr("xai.dashboard.widgets.show_small_maps", lambda packed, **_: shown.append(packed))
    app = press(opened("ood", **LINK), "Fit a detector")
    app.segmented_control(key="boundary").set_value("caught").run()
    button = next(button for button in app.button if button.label.startswith("Open"))
    k = int(button.label.split()[1])
    press(button.click().run(), "Show them")
    heatmap = vim.explain(drawn.digits.images[k], "occlusion", seed=SEED).heatmap
    (panel,) = shown[-1]["panels"]
    assert (panel["low"], panel["high"]) == (float(heatmap.min()), float(heatmap.max()))
    assert "for an in-distribution image" in panel["alt"] or heatmap.min() >= 0


def test_an_uploaded_image_is_judged():
    from PIL import Image

    stream = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)).save(stream, "PNG")
    app = press(opened("ood", **LINK), "Fit a detector")
    assert any("upload your own" in caption.value for caption in app.caption)
    app.file_uploader(key="image").upload("odd.png", stream.getvalue(), "image/png").run()
    assert not app.exception
    assert "odd.png, predicted as" in app.warning[0].value
    app.file_uploader(key="image").upload("bad.png", b"no image", "image/png").run()
    assert not app.exception
    assert "Evaluating" in app.error[0].value


def test_the_choice_is_told_with_its_table(drawn):
    app = press(opened("ood", **(LINK | {"detector": "chosen for this model"})), "Fit a detector")
    auto = xai.fit_ood(xai.load(FASHION), drawn.fit, drawn.calibration, seed=SEED)
    table = app.dataframe[0].value
    assert table["method"].tolist() == auto.table["method"].tolist()
    np.testing.assert_allclose(table["auroc"], auto.table["auroc"])
    assert table.loc[table["chosen"] != "", "method"].tolist() == [auto.choice.chosen]
    assert any(text.startswith(f"**The method: {auto.fitted.detector.title}**") for text in texts(app))
    assert any("no evidence that" in text or "detects best" in text for text in texts(app))


def test_all_methods_are_compared_when_asked(drawn):
    app = press(opened("ood", **LINK), "Fit a detector")
    assert not app.dataframe
    press(app, "Compare all methods")
    wanted = xai.compare_ood(
        xai.load(FASHION), drawn.fit, drawn.calibration, drawn.test, {"d": drawn.digits}, seed=SEED
    ).table
    table = app.dataframe[0].value
    assert table["method"].tolist() == wanted["method"].tolist()
    np.testing.assert_allclose(table["auroc"], wanted["auroc"])
    assert table.loc[table["chosen"] != "", "method"].tolist() == ["vim"]


def test_ood_images_can_be_made_of_in_distribution_ones(drawn, vim):
    app = press(opened("ood", **LINK, ood="made from in-distribution images: inversion"), "Fit a detector")
    made = 1 - drawn.test.images[:]
    caught = vim.judge(made).verdicts.count("out-of-distribution")
    said = next(text for text in texts(app) if text.startswith("At this threshold"))
    assert f"{counted(caught, EACH // 2)} of the out-of-distribution ones (inversion)." in said
    assert "ood_images = d.shifted(test, 'inversion')" in script_of(app)


def test_a_shifted_image_is_the_one_that_was_judged(drawn, vim):
    samples = [DataSample("s", EACH, SEED, data) for data in (drawn.fit, drawn.calibration, drawn.test)]
    foreign = vim.shifted(drawn.test, "blur")
    found = DetectorResult(
        DetectorPlan(*samples, None, "blur", "vim"), vim, vim.judge(drawn.test), vim.judge(foreign), foreign
    )
    picture = found.image(is_ood=True, k=5)
    assert float(vim.score(picture.open())[0]) == pytest.approx(float(found.outside.scores[5]))
    assert picture.code == "ood_images[5]"
    assert found.image(is_ood=False, k=5).code.endswith(".images[5]")
    assert as_pixels(picture.open()[None]).shape == (1, 28, 28, 3)


def test_the_same_data_set_twice_is_divided():
    link = LINK | {"fit": "example:fashion-test", "calibration": "example:fashion-test"}
    app = press(opened("ood", **link), "Fit a detector")
    assert not app.error
    code = script_of(app)
    whole = f"xai.load_data('example:fashion-test').subset({2 * EACH}, seed={SEED})"
    assert f"fit = {whole}.take(range(0, {2 * EACH}, 2))" in code
    assert f"calibration = {whole}.take(range(1, {2 * EACH}, 2)).take(range(0, {EACH}, 2))" in code


def test_parts_of_a_data_set_are_offered_and_overlap_is_refused():
    app = opened("ood", **LINK)
    assert "example:fashion-test@calibration" in app.selectbox(key="calibration").options
    app = opened(
        "ood", **LINK | {"fit": "example:fashion-test", "calibration": "example:fashion-test@test", "each": "5000"}
    )
    press(app, "Fit a detector")
    assert "are among the fit images" in app.error[0].value


def test_the_code_gives_the_verdicts(vim, drawn, tmp_path):
    app = press(opened("ood", **LINK), "Fit a detector")
    assert run_code(script_of(app), tmp_path) == f"{vim.judge(drawn.test)} {vim.judge(drawn.digits)}"


def test_the_detector_can_be_kept(vim, tmp_path):
    with zipfile.ZipFile(BytesIO(result_zip(vim))) as archive:
        for name in archive.namelist():
            (tmp_path / name).write_bytes(archive.read(name))
    again = xai.OODDetector.load(tmp_path, xai.load(FASHION))
    assert again.threshold() == vim.threshold()


def test_a_model_without_data_says_what_to_do():
    app = opened("ood", model="efficientnet_lite0")
    assert "xai dashboard --data FOLDER" in app.info[0].value


def test_a_few_images_can_reject_nothing_and_say_so():
    app = press(opened("ood", **LINK | {"each": "10"}), "Fit a detector")
    assert "Nothing can be rejected at alpha 0.05 with 5 calibration images" in texts(app)[0]
    assert not app.error


def test_a_stopped_fit_can_go_on():
    app = press(opened("ood", **LINK), "Fit a detector")
    (key,) = app.session_state["jobs"].requested
    stop(app, key)
    assert "Fitting and evaluating: stopped." in bars(app)
    assert not app.get("vega_lite_chart")
    press(app, "Run it again")
    assert app.get("vega_lite_chart")


@pytest.mark.parametrize("limit", [0.0, 9.0, np.inf])
def test_histograms_hold_every_image_and_the_threshold(limit):
    rng = np.random.default_rng(0)
    groups = {"in-distribution": rng.normal(0, 1, 400), "out-of-distribution": rng.normal(3, 1, 300)}
    groups["in-distribution"][0] = -1e6  # beyond the axis, and counted at its end
    chart = histogram(groups, limit, "score")
    layers = chart.to_dict()["layer"]
    for name, scores in groups.items():
        rows = [row for row in values_of(chart) if row["kind"] == name]
        assert sum(row["images"] for row in rows) == len(scores)
        assert sum(row["share"] for row in rows) == pytest.approx(1)
        low = min(row["low"] for row in rows)
        assert low > -10
    assert len(layers) == (1 if limit == np.inf else 2)
    if limit == 0:
        assert layers[1]["encoding"]["x"] == {"datum": 0.0}


def test_equal_scores_have_a_histogram():
    chart = histogram({"a": np.zeros(5), "b": np.zeros(4)}, np.inf, "score")
    assert [row["images"] for row in values_of(chart)] == [5, 4]


def test_probabilities_are_measured():
    app = opened("ood", model="example:fashion-shortcut", ood_about="Calibration", probabilities="400")
    clf = xai.load("example:fashion-shortcut")
    found = xai.calibration(clf, xai.load_data("example:fashion-test").subset(400, seed=0))
    assert found.verdict == "overconfident"
    (said,) = [box.value for box in app.warning]
    assert said.startswith("**Overconfident: its confidence is higher than its accuracy.**")
    assert f"(ECE) is {found.ece:.3f}" in said
    assert f"{found.ece_interval[0]:.3f} to {found.ece_interval[1]:.3f}" in said
    warm = found.temperature
    assert f"temperature {warm.value:.2f} ({warm.low:.2f} to {warm.high:.2f})" in said
    assert app.dataframe[0].value["value"].tolist() == found.table.round(4)["value"].tolist()
    points = reliability(found).to_dict()["layer"][2]
    assert points["encoding"]["y"]["field"] == "right"
    rows = [row for row in values_of(reliability(found), 2) if row["kind"] == "as it is"]
    assert [row["right"] for row in rows] == [one.accuracy for one in found.before.ece.bins]
    assert [(row["low"], row["high"]) for row in rows] == [(one.low, one.high) for one in found.before.ece.bins]
    assert len(values_of(risk_by_coverage(found))) == len(found.risk_coverage)
    compile(script_of(app), "code", "exec")


def test_drift_is_looked_for(tmp_path):
    app = opened("ood", model=FASHION, ood_about="Drift", drift_b="example:digits", drift_count="100")
    press(app, "Compare the data")
    first, second = (xai.load_data(f"example:{name}").subset(100, seed=0) for name in ("fashion-test", "digits"))
    found = xai.drift(xai.load(FASHION), first, second)
    assert app.warning[0].value == "**The two data sets differ by more than chance.**"
    assert app.dataframe[0].value["p_value"].tolist() == found.table.round(4)["p_value"].tolist()
    pairs, points = (values_of(shares_of_classes(found, ["a", "b"]), k) for k in range(2))
    assert [(row["low"], row["high"]) for row in pairs] == [(one.share_a, one.share_b) for one in found.class_shares]
    assert [row["share"] for row in points if row["kind"] == "b"] == [one.share_b for one in found.class_shares]
    code = script_of(app).replace("result.plot()", "print(result.verdict)")
    assert run_code(code, tmp_path) == "drift"


def test_a_data_set_compared_with_itself_is_halved():
    app = opened("ood", model=FASHION, ood_about="Drift", drift_b="example:fashion-test", drift_count="60")
    assert "60 and 60 images." in app.caption[1].value
    press(app, "Compare the data")
    assert "differ by more than chance" not in "".join(box.value for box in (*app.success, *app.info, *app.warning))
