"""The page "Robustness" without a browser: its figures, images and words are those of the library."""

from dataclasses import replace
from functools import partial, wraps
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pages import FASHION, bars, captions, opened, press, run_code, script_of, stop, values_of

import xai
from xai.dashboard.charts.accuracy import accuracy_by_severity, robust_accuracy
from xai.dashboard.pages.robustness.curve import radii, show_trust
from xai.dashboard.session.samples import DataSample
from xai.dashboard.text.words import interval, percent, radius
from xai.dashboard.widgets.gallery import as_pixels

COUNT, SEED = 12, 5  # two of them are wrong before any change
EPS = (2 / 255, 8 / 255)
LINK = {"model": FASHION, "count": str(COUNT), "sample_seed": str(SEED), "radii_linf": "2/255, 8/255"}


def quick(monkeypatch, name, **settings):
    """Let a verb of xai do less, and count its calls."""
    calls, real = [], getattr(xai, name)

    @wraps(real)
    def counting(*arguments, **more):
        calls.append((arguments, more))
        return real(*arguments, **(settings | more))

    monkeypatch.setattr(xai, name, counting)
    return calls


@pytest.fixture
def robustness_calls(monkeypatch):
    return quick(monkeypatch, "robustness", attacks=("fgsm", "pgd"), certificates=("ibp",), trust=False)


@pytest.fixture(scope="module")
def data():
    return xai.load_data("example:fashion-test").subset(COUNT, seed=SEED)


@pytest.fixture(scope="module")
def curve(data):
    return xai.robustness(xai.load(FASHION), data, eps=EPS, attacks=("fgsm", "pgd"), certificates=("ibp",), trust=False)


@pytest.fixture(scope="module")
def noise(data):
    names = [info.name for info in xai.methods(kind="corruption") if info.family == "noise"]
    return xai.corruption_robustness(xai.load(FASHION), data, names=names)


def measured(app):
    return press(app, "Measure")


def test_a_curve_is_measured_when_asked(robustness_calls, curve):
    app = opened("robustness", **LINK)
    assert not robustness_calls
    measured(app)
    assert len(robustness_calls) == 1
    assert robustness_calls[0][1]["eps"] == EPS
    text = next(box.value for box in (*app.success, *app.info) if box.value.startswith("Clean accuracy"))
    assert text.startswith(f"Clean accuracy {interval(curve.clean, *curve.intervals['clean'])} on {COUNT} images.")
    assert f"and {interval(curve.attacked[-1], *curve.intervals['attacked'][-1])} (best attack)" in text
    assert f"between {interval(curve.certified[-1], *curve.intervals['certified'][-1])} (certified)" in text
    (chart,) = app.get("vega_lite_chart")
    assert chart.proto.alt == text
    app.segmented_control(key="group").set_value("unproven").run()
    assert len(robustness_calls) == 1  # looking computes nothing


def test_the_chart_has_both_bounds_their_intervals_and_the_gap(curve):
    gap, bars_, _, points = robust_accuracy(curve).to_dict()["layer"]
    rows = [row for row in bars_["data"]["values"] if row["kind"] == "attacked"]
    assert [row["eps"] for row in rows] == pytest.approx([0, 2, 8])
    assert [row["accuracy"] for row in rows] == [curve.clean, *curve.attacked]
    assert [(row["low"], row["high"]) for row in rows[1:]] == [tuple(span) for span in curve.intervals["attacked"]]
    assert points["data"]["values"] == bars_["data"]["values"]
    assert gap["mark"]["type"] == "area"
    assert [gap["encoding"][name]["field"] for name in ("y", "y2")] == ["certified", "attacked"]
    assert [bars_["encoding"][name]["field"] for name in ("y", "y2")] == ["low", "high"]
    assert [row["certified"] for row in gap["data"]["values"]] == [curve.clean, *curve.certified]
    assert [row["attacked"] for row in gap["data"]["values"]] == [curve.clean, *curve.attacked]


def test_counterexamples_are_shown_and_open(robustness_calls, curve):
    app = measured(opened("robustness", **LINK))
    broken = [k for k in curve.changed if curve.verdicts[k, -1] == "violated"]
    assert len(captions(app)) == len(broken)
    k = broken[0]
    ground_truth, answer = (curve.class_names[int(part[k])] for part in (curve.labels, curve.predictions))
    within = radius(float(curve.distance[k]), "linf")
    assert captions(app)[0] == f"{k}\\: {ground_truth} \N{RIGHTWARDS ARROW} {answer}, {within}"
    app.button(key=f"counterexample {k}").click().run()
    assert not app.exception
    opened_ones = captions(app)[len(broken) :]
    assert opened_ones[:2] == [f"Clean\\: {ground_truth}", f"Adversarial\\: {answer}"]
    assert opened_ones[2] == "Difference times 10 (grey: no change)"
    names = [answer if verdict == "violated" else ground_truth for verdict in curve.verdicts[k]]
    words = {"violated": "changed by an attack", "unproven": "not certified", "verified": "certified"}
    wanted = [
        f"{radius(e, 'linf')}\\: {name}, {words[verdict]}"
        for e, name, verdict in zip(EPS, names, curve.verdicts[k], strict=True)
    ]
    assert opened_ones[3:] == wanted
    assert any(f"**Image {k}**, nearest adversarial example by {curve.broken_by[k]}" in m.value for m in app.markdown)


def test_a_link_opens_a_counterexample_once_it_is_found(robustness_calls, curve):
    k = next(k for k in curve.changed if curve.verdicts[k, 0] == "violated")
    app = measured(opened("robustness", **LINK | {"level": "2/255", "opened_counterexample": str(k)}))
    assert app.segmented_control(key="level").value == 0
    assert any(f"**Image {k}**, nearest adversarial example" in m.value for m in app.markdown)


def test_a_link_opens_an_image_of_the_matrix(monkeypatch, noise):
    quick(monkeypatch, "corruption_robustness")
    name, severity = noise.names[1], noise.severities[-2]
    k = int(np.flatnonzero(noise.clean_correct & ~noise.correct[1, -2])[0])
    link = {"matrix_name": name.replace("_", " "), "matrix_severity": str(severity), "opened_corrupted": str(k)}
    app = measured(opened("robustness", **LINK | link, question="Corruptions", families="noise"))
    assert (app.selectbox(key="matrix_name").value, app.select_slider(key="matrix_severity").value) == (name, severity)
    assert any(m.value.startswith(f"**Image {k}**") for m in app.markdown)


def test_the_shown_counterexample_is_that_of_the_image(curve):
    from xai.dashboard.pages.robustness.curve import changed_image

    for k in curve.changed:
        assert np.array_equal(changed_image(curve, k).pixels, as_pixels(curve.counterexamples[k, -1][None])[0])


def test_every_image_is_in_one_group(robustness_calls, curve):
    app = measured(opened("robustness", **LINK))
    app.segmented_control(key="level").set_value(0).run()
    counts = {label.split(": ")[0]: int(label.split(": ")[1]) for label in app.segmented_control(key="group").options}
    assert sum(counts.values()) == COUNT
    wrong = int((curve.clean_predictions != curve.labels).sum())
    assert counts["misclassified without perturbation"] == wrong
    assert counts["not certified"] == int((curve.verdicts[:, 0] == "unproven").sum())
    app.segmented_control(key="group").set_value("wrong").run()
    assert len(captions(app)) == wrong
    assert all("predicted as" in caption for caption in captions(app))


def test_a_point_of_the_curve_opens_its_images(robustness_calls, monkeypatch):
    from xai.dashboard.pages.robustness.curve import pick

    app = measured(opened("robustness", **LINK))
    state = {}
    monkeypatch.setattr("xai.dashboard.pages.robustness.curve.st.session_state", state)
    pick({"level": 1, "bound": "attacked"})
    assert state == {"level": 0, "group": "violated"}
    pick({"level": 2, "bound": "certified"})
    assert state == {"level": 1, "group": "verified"}
    pick({"level": 0, "bound": "attacked"})
    assert state == {"level": 0, "group": "wrong"}
    monkeypatch.undo()
    for name, value in state.items():
        app.session_state[name] = value
    app.run()
    assert not app.exception
    assert all("predicted as" in caption for caption in captions(app))


def test_classes_and_confusions_are_those_of_the_curve(robustness_calls, curve):
    app = measured(opened("robustness", **LINK))
    classes, mistaken, every, stages = (frame.value for frame in app.dataframe)
    own = curve.per_class[curve.per_class["eps"] == EPS[-1]]
    assert classes["class"].tolist() == own["class"].tolist()
    np.testing.assert_allclose(classes["attacked_high"], 100 * own["attacked_high"])
    confusion = curve.confusion(EPS[-1])
    assert mistaken["images"].tolist() == sorted(mistaken["images"], reverse=True)
    for _, row in mistaken.iterrows():
        assert confusion.loc[row["class"], row["prediction"]] == row["images"]
    assert mistaken["images"].sum() == confusion.to_numpy().sum() - np.trace(confusion.to_numpy())
    assert every["radius"].tolist() == ["2/255", "8/255"]
    assert stages["name"].tolist() == ["fgsm", "ibp", "pgd"]


def test_the_code_names_the_same_radii(robustness_calls):
    app = measured(opened("robustness", **LINK))
    code = script_of(app)
    compile(code, "code", "exec")
    assert f"data = xai.load_data('example:fashion-test').subset({COUNT}, seed={SEED})" in code
    assert "xai.robustness(clf, data, eps=[2 / 255, 8 / 255], norm='linf', budget=60)" in code


def test_attacks_certificates_and_seed_are_passed_on_and_written(monkeypatch):
    calls = quick(monkeypatch, "robustness")
    link = {
        "curve_attacks_linf": ["BIM", "FGSM"],
        "curve_certificates": "IBP",
        "curve_seed": "3",
        "curve_trust": "false",
    }
    app = opened("robustness", **LINK | link | {"budget": "0"})
    assert not calls
    measured(app)
    asked = {"attacks": ("fgsm", "bim"), "seed": 3, "trust": False, "certificates": ("ibp",)}
    assert {name: calls[0][1][name] for name in (*asked, "budget")} == {**asked, "budget": None}
    stages = next(frame.value for frame in app.dataframe if "name" in frame.value)
    assert stages["name"].tolist() == ["fgsm", "bim", "ibp"]
    rest = "norm='linf', budget=None, attacks=('fgsm', 'bim'), seed=3, trust=False, certificates=('ibp',))"
    assert rest in script_of(app)
    assert not app.warning


def test_only_attacks_of_the_norm_are_offered():
    app = opened("robustness", **LINK | {"curve_norm": "l1"})
    able = [info.title for info in xai.methods(kind="attack") if "l1" in info.norms]
    assert app.multiselect(key="curve_attacks_l1").options == able
    assert "C&W" not in able


def test_flags_are_told_with_the_next_step(curve, monkeypatch):
    shown = {name: [] for name in ("success", "warning", "table")}
    for name, calls in shown.items():
        monkeypatch.setattr(
            f"xai.dashboard.pages.robustness.curve.st.{name}", lambda said, calls=calls, **_: calls.append(said)
        )
    check = partial(SimpleNamespace, value=1.0, threshold=0.0)
    checks = (
        check(name="zero_gradients", status="fired", reason="The gradient is 0.", next_step="Use 'square'"),
        check(name="loss_still_rising", status="explained", reason="It rises.", next_step="More steps."),
        check(name="train_mode", status="passed", reason="The model is in training mode.", next_step="eval()"),
    )
    show_trust(xai.results.Trust(checks))
    assert shown["warning"] == ["**Zero gradients.** The gradient is 0.\n\n**Next:** Use 'square'."]
    assert not shown["success"]
    lines = shown["table"][0]
    assert [line["Observation"] for line in lines] == ["The gradient is 0.", "It rises.", ""]
    assert "follows from a flag" in lines[1]["Verdict"]
    show_trust(xai.results.Trust(checks[2:]))
    assert shown["success"] == ["Evaluation checks: no problem found (1 checks)."]


def test_the_real_evaluation_is_checked(monkeypatch):
    quick(monkeypatch, "robustness", attacks=("fgsm", "pgd"), certificates=("ibp",))
    app = measured(opened("robustness", **LINK | {"count": "10"}))
    assert [w.value.split(".")[0] for w in app.warning] == ["**Too few images"]
    assert "**Next:** Use at least 100 images" in app.warning[0].value
    assert len(app.table[0].value) == 19


def test_a_stopped_curve_can_go_on(robustness_calls):
    app = measured(opened("robustness", **LINK))
    (key,) = app.session_state["jobs"].requested
    stop(app, key)
    assert "Attacking and certifying: stopped." in bars(app)
    assert not app.get("vega_lite_chart")
    next(button for button in app.button if button.label == "Run it again").click().run()
    assert app.get("vega_lite_chart")


@pytest.mark.parametrize(
    ("text", "found"),
    [("1/255, 8/255", (1 / 255, 8 / 255)), ("0.5; 1", (0.5, 1.0)), (" 2 / 255 ,", (2 / 255,)), ("", ())],
)
def test_radii_are_read(text, found):
    assert radii(text) == found


@pytest.mark.parametrize("text", ["a", "1/0", "1/2/3", "1 2", "/255"])
def test_other_radii_are_refused(text):
    with pytest.raises(xai.XaiError, match="Expected radii such as 1/255"):
        radii(text)


@pytest.mark.parametrize(("text", "words"), [("x", "Expected radii such as"), ("8/255, 1/255", "increasing radii")])
def test_bad_radii_give_a_sentence(text, words):
    app = opened("robustness", **LINK | {"radii_linf": text})
    if not app.error:
        measured(app)
    assert words in app.error[0].value


def test_a_matrix_is_measured_when_asked(monkeypatch, noise):
    calls = quick(monkeypatch, "corruption_robustness")
    app = opened("robustness", **LINK, question="Corruptions", families="noise")  # quick enough to begin by itself
    assert len(calls) == 1
    worst = np.unravel_index(noise.accuracy.argmin(), noise.accuracy.shape)
    text = next(m.value for m in app.markdown if "on average when corrupted" in m.value)
    assert text.startswith(f"Accuracy {interval(noise.clean, *noise.clean_interval)}")
    assert percent(float(noise.accuracy.mean())) in text
    assert f"{noise.names[worst[0]].replace('_', ' ')} at severity {noise.severities[worst[1]]:g}" in text
    assert interval(noise.accuracy[worst], *noise.intervals[worst]) in text
    assert app.dataframe[0].value["accuracy"].tolist() == noise.table["accuracy"].tolist()


def test_the_matrix_has_a_cell_for_each_figure(noise):
    cells = values_of(accuracy_by_severity(noise))
    assert len(cells) == noise.accuracy.size
    for cell in cells:
        place = cell["row"], cell["column"]
        assert cell["accuracy"] == noise.accuracy[place]
        assert cell["corruption"] == noise.names[place[0]].replace("_", " ")
        assert cell["severity"] == f"{noise.severities[place[1]]:g}"
        low, high = noise.intervals[place]
        assert cell["span"] == f"{100 * low:.0f}\N{EN DASH}{100 * high:.0f}"


def test_images_that_turn_wrong_are_those_that_were_measured(noise, data):
    turned = noise.clean_correct & ~noise.correct
    different = np.argwhere((turned.sum(2) > 0) & (turned.sum(2) < (~noise.correct).sum(2)))  # some were wrong before
    row, column = different[-1]
    name, severity = noise.names[row], noise.severities[column]
    app = measured(opened("robustness", **LINK, question="Corruptions", families="noise"))
    app.selectbox(key="matrix_name").set_value(name).run()
    app.select_slider(key="matrix_severity").set_value(severity).run()
    wrong = np.flatnonzero(turned[row, column]).tolist()
    assert len(captions(app)) == len(wrong) > 0
    k = wrong[0]
    ground_truth, answer = (
        data.class_names[int(data.labels[k])],
        data.class_names[int(noise.predictions[row, column, k])],
    )
    assert captions(app)[0] == f"{k}\\: {ground_truth}, predicted as {answer}"
    app.button(key=f"corrupted {k}").click().run()
    assert not app.exception
    fashion = xai.load(FASHION)
    one = fashion.predict(xai.corrupt(fashion.prepare(data.images[k]).inputs, name, severity))[0]
    assert one.label == answer
    said = f"Severity {severity:g}\\: {one.label}, {percent(one.probability)}"
    assert captions(app)[len(wrong) + 1] == said.replace(" %", "\N{NO-BREAK SPACE}%")


def test_the_code_of_a_matrix_gives_its_figures(noise, tmp_path):
    app = measured(opened("robustness", **LINK, question="Corruptions", families="noise"))
    text = script_of(app).replace("result.plot()", "print(result.accuracy.tolist())")
    assert run_code(text, tmp_path) == str(noise.accuracy.tolist())


def test_a_cell_opens_its_images(noise, monkeypatch):
    from xai.dashboard.pages.robustness.page import pick

    state = {}
    monkeypatch.setattr("xai.dashboard.pages.robustness.page.st.session_state", state)
    pick(noise, {"row": 1, "column": 2})
    assert state == {"matrix_name": noise.names[1], "matrix_severity": noise.severities[2]}


def test_without_a_family_it_asks_for_one():
    app = opened("robustness", **LINK, question="Corruptions", families="noise")
    app.pills(key="families").set_value([]).run()
    assert "Choose a family" in app.info[0].value


def test_a_model_without_data_says_what_to_do():
    app = opened("robustness", model="efficientnet_lite0")
    assert "xai dashboard --data FOLDER" in app.info[0].value
    assert not app.segmented_control


def test_a_data_set_that_cannot_be_read_gives_a_sentence(monkeypatch):
    monkeypatch.setenv("XAI_DASHBOARD_DATA", "no-such-folder")
    app = opened("robustness", model=FASHION)
    assert "no-such-folder" in app.error[0].value


def test_the_data_set_given_at_the_start_comes_first(monkeypatch, tmp_path):
    from PIL import Image

    for name in ("Bag", "Coat"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((28, 28), 90, np.uint8)).save(tmp_path / name / "a.png")
    monkeypatch.setenv("XAI_DASHBOARD_DATA", str(tmp_path))
    app = opened("robustness", model=FASHION)
    assert app.selectbox(key="data").options[:2] == [str(tmp_path), "example:fashion-test"]
    assert "2 images sampled" in app.caption[1].value


def test_labels_go_by_name_where_the_model_counts_otherwise(data):
    same = SimpleNamespace(classifier=SimpleNamespace(class_names=data.class_names))
    other = SimpleNamespace(classifier=SimpleNamespace(class_names=data.class_names[::-1]))
    sample = DataSample("s", COUNT, 0, data)
    assert sample.ground_truth(same) == [int(k) for k in data.labels]
    assert sample.code_of_labels(same) == ""
    assert sample.ground_truth(other) == [data.class_names[int(k)] for k in data.labels]
    assert sample.code_of_labels(other) == ", [data.class_names[k] for k in data.labels]"


def test_a_curve_of_another_norm_has_its_own_radii(monkeypatch):
    calls = quick(monkeypatch, "robustness", attacks=("fgsm",), certificates=(), trust=False)
    app = measured(opened("robustness", **LINK, curve_norm="l2"))
    assert calls[0][1]["eps"] == (0.1, 0.25, 0.5, 1.0, 2.0)
    assert app.segmented_control(key="level").options == ["0.1", "0.25", "0.5", "1", "2"]
    assert "eps=[0.1, 0.25, 0.5, 1, 2], norm='l2'" in script_of(app)
    app.text_input(key="radii_l2").set_value("0.5").run()  # fewer radii than the one that was chosen
    measured(app)
    assert app.segmented_control(key="level").value == 0


def test_charts_of_another_norm_are_not_in_255ths(curve):
    spec = robust_accuracy(replace(curve, norm="l2")).to_dict()
    assert spec["layer"][1]["encoding"]["x"]["axis"]["title"] == "eps (l2)"
    assert spec["layer"][1]["data"]["values"][2]["eps"] == pytest.approx(8 / 255)


def test_results_on_the_desk_are_weighed(curve, noise):
    from xai.dashboard.session.tasks import size_of

    assert size_of(curve) > curve.adversarial.nbytes + curve.originals.nbytes
    assert size_of(noise) >= noise.predictions.nbytes
    assert size_of(({"a": "text" * 10}, torch.zeros(4))) == 40 + 16
