"""The page "Bias" without a browser: its figures, images and words are those of the library."""

import numpy as np
import pytest
from pages import FASHION, bars, captions, opened, press, run_code, script_of, stop, values_of

import xai
from xai.dashboard.charts.accuracy import dose_response, right_by_group, right_by_slice
from xai.dashboard.text import safe, sentence
from xai.dashboard.text.words import counted, percent

SHORTCUT = "example:fashion-shortcut"
COUNT = 300


def texts(app):
    return [one.value for one in app.markdown]


@pytest.fixture(scope="module")
def held():
    return xai.load_data("example:fashion-test").subset(COUNT, seed=0)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Fashion with columns: images of "far" are dark, and so answered wrong; "coin" says nothing."""
    data = xai.load_data("example:fashion-test").subset(240, seed=1)
    side = np.where(np.arange(240) % 4 == 0, "far", "near")
    images = data.images[:].numpy()[:, 0] * np.where(side == "far", 0.12, 1.0)[:, None, None]
    path = tmp_path_factory.mktemp("data") / "planted.npz"
    np.savez(
        path,
        images=images.astype(np.float32),
        labels=data.labels.numpy(),
        classes=np.array(data.class_names),
        side=side,
        coin=np.where(np.random.default_rng(0).random(240) < 0.5, "heads", "tails"),
        number=np.arange(240),
        same=np.full(240, "one"),
    )
    return str(path)


@pytest.fixture
def grouped(planted, monkeypatch):
    monkeypatch.setenv("XAI_DASHBOARD_DATA", planted)
    return opened("bias", model=FASHION, bias_count="240")


def test_groups_that_fare_worse_are_found_and_shown(grouped, planted):
    assert grouped.multiselect(key="columns").value == ["side", "coin"]  # neither unique numbers nor one value
    app = press(grouped, "Compare the groups")
    data = xai.load_data(planted)
    found = xai.bias(xai.load(FASHION), data, ["side", "coin"])
    assert found.verdict == "unfair"
    (said,) = [box.value for box in app.warning]
    count = f"{len(found.findings)} of {len(found.gaps)} comparisons."
    assert said == f"**Some groups differ by more than chance.** {count}"
    headline = found.findings[0].headline
    assert any(headline[1:20] in text for text in texts(app))
    assert app.selectbox(key="column").value == found.findings[0].column
    app.selectbox(key="column").set_value("side").run()
    wrong = found.labels != found.predictions
    far = np.array(data.groups["side"]) == "far"
    place = found.columns.index("side")
    codes = found.codes[place]
    worst = app.selectbox(key="group side")
    k = int(codes[far][0])
    assert worst.options[0] == f"far: {counted(int((wrong & far).sum()), int(far.sum()))} misclassified"
    assert worst.value == k
    rows = np.flatnonzero(far & wrong)[:12]
    names = data.class_names
    assert captions(app) == [
        f"{row}\\: {names[found.labels[row]]}, predicted as {names[found.predictions[row]]}" for row in rows
    ]
    assert app.dataframe[0].value["gap"].tolist() == pytest.approx(found.table["gap"].tolist(), nan_ok=True)


def test_the_chart_of_groups_has_their_figures(planted):
    found = xai.bias(xai.load(FASHION), xai.load_data(planted), ["side", "coin"])
    chart = right_by_group(found, "side")
    own = {one.group: one for one in found.values if one.column == "side" and one.metric == "accuracy"}
    rows = values_of(chart, 1)
    assert [row["right"] for row in rows] == sorted(one.value for one in own.values())
    for row in rows:
        one = own[row["group"].split(" (")[0]]
        assert (row["right"], row["low"], row["high"]) == (one.value, one.low, one.high)
        assert row["kind"] == {"unfair": "differs by more than chance"}.get(one.verdict, row["kind"])
    line = chart.to_dict()["layer"][2]["encoding"]["x"]
    assert line == {"datum": float((found.labels == found.predictions).mean())}


def test_nothing_found_says_so_in_plain_words():
    app = press(opened("bias", model=FASHION, bias_count=str(COUNT)), "Compare the groups")
    said = "".join(box.value for box in (*app.success, *app.info))
    assert "No evidence of a difference between groups." in said or "Too few images to tell" in said
    assert not app.warning


def test_data_without_groups_say_so_and_offer_the_rest():
    app = opened("bias", model=FASHION, data="example:fashion-train", bias_count=str(COUNT))
    assert "no column that divides the images" in app.info[0].value
    assert not [button for button in app.button if button.label.startswith("Compare")]
    app.segmented_control(key="bias_about").set_value("Slices").run()
    assert any("weak slice" in box.value or "lower accuracy" in box.value for box in (*app.success, *app.warning))


def test_without_a_column_it_asks_for_one(grouped):
    grouped.multiselect(key="columns").set_value([]).run()
    assert grouped.info[0].value == "Choose a column."


def test_the_code_of_groups_gives_their_verdict(grouped, planted, tmp_path):
    app = press(grouped, "Compare the groups")
    code = script_of(app).replace("result.plot()", "print(repr(result))")
    assert run_code(code, tmp_path) == repr(xai.bias(xai.load(FASHION), xai.load_data(planted), ["side", "coin"]))


@pytest.fixture(scope="module")
def probes(held):
    return xai.shortcuts(xai.load(SHORTCUT), held)


@pytest.mark.slow
def test_a_shortcut_is_shown_with_its_images(probes, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("xai.dashboard.widgets.show_small_maps", lambda packed, **_: shown.append(packed))
    app = press(opened("bias", model=SHORTCUT, bias_about="Shortcuts", bias_count=str(COUNT)), "Search for shortcuts")
    (found,) = probes.findings
    assert app.warning[0].value == "**One shortcut found.**"
    assert any(safe(sentence(found.reason))[:40] in text for text in texts(app))
    number = probes.responses.index(found)
    assert app.selectbox(key="probe").value == number
    places = np.flatnonzero(probes.shown[:, 0] == number)
    truths = [probes.class_names[probes.labels[row]] for row in probes.shown[places, 1]]
    assert captions(app) == [*truths, *["Shirt"] * len(places)]
    (panel,) = shown[-1]["panels"]
    assert panel["high"] == pytest.approx(float(probes.heatmaps[places[0]].max()))
    app.button(key=f"probe_{number} 2").click().run()
    assert shown[-1]["panels"][0]["high"] == pytest.approx(float(probes.heatmaps[places[1]].max()))
    assert len(app.table[0].value) == len(probes)
    fragile = next(k for k, one in enumerate(probes.responses) if one.verdict == "fragile")
    app.selectbox(key="probe").set_value(fragile).run()
    assert not app.exception
    assert not captions(app)
    assert any("Errors of all kinds" in option for option in app.selectbox(key="probe").options[1:])


def test_the_chart_of_a_probe_has_its_doses(held):
    probes = xai.shortcuts(xai.load(SHORTCUT), held, probes=["corner_mark"])
    (found,) = probes.findings
    number = probes.responses.index(found)
    chart = values_of(dose_response(probes, number), 1)
    doses = probes.doses.iloc[number * len(probes.strengths) : (number + 1) * len(probes.strengths)]
    rows = [row for row in chart if row["kind"] == "flipped to Shirt"]
    assert [row["share"] for row in rows] == [0, *doses["attraction"]]
    assert [row["strength"] for row in rows] == [0, *probes.strengths]
    assert [row["high"] for row in rows] == [0, *doses["attraction_high"]]
    wrong = [row["share"] for row in chart if row["kind"] == "misclassified"]
    assert wrong == [0, *doses["flips"]]


@pytest.mark.slow
def test_without_a_shortcut_the_page_says_so(held):
    app = press(opened("bias", model=FASHION, bias_about="Shortcuts", bias_count="100"), "Search for shortcuts")
    found = xai.shortcuts(xai.load(FASHION), xai.load_data("example:fashion-test").subset(100, seed=0))
    assert not found.findings
    assert app.success[0].value == f"**No shortcut found** with {len(found)} probes."


def test_weak_slices_are_shown_with_their_mistakes(tmp_path):
    app = press(opened("bias", model=SHORTCUT, bias_about="Slices", bias_count="1000"), "Search for weak slices")
    found = xai.slices(xai.load(SHORTCUT), xai.load_data("example:fashion-test").subset(1000, seed=0))
    assert found.findings
    for number, one in enumerate(found.findings, 1):
        (text,) = [text for text in texts(app) if text.startswith(f"**{number}: ")]
        assert f"on {one.images} images, {percent(one.rest)} on all others." in text
    places = [k for one in found.findings for k in np.flatnonzero(found.shown[:, 0] == found.slices.index(one))]
    rows = found.shown[places, 1]
    names = found.class_names
    wanted = [f"{names[found.labels[row]]}, predicted as {names[found.predictions[row]]}" for row in rows]
    assert captions(app) == wanted
    rows = values_of(right_by_slice(found))
    assert [row["right"] for row in rows[::2]] == [one.accuracy for one in found.findings]
    assert [row["right"] for row in rows[1::2]] == [one.rest for one in found.findings]
    code = script_of(app).replace("result.plot()", "print(len(result.findings))")
    assert run_code(code, tmp_path) == str(len(found.findings))


def test_few_images_without_weak_slices_say_so():
    app = press(
        opened("bias", model="example:fashion-robust", bias_about="Slices", bias_count="100"), "Search for weak"
    )
    found = xai.slices(xai.load("example:fashion-robust"), xai.load_data("example:fashion-test").subset(100, seed=0))
    assert not found.findings
    assert f"among {len(found)} that were tested" in app.success[0].value
    few = sum(one.verdict == "too small to tell" for one in found.slices)
    assert f"{few} of them could not have shown it" in app.success[0].value


def test_faults_of_the_data_are_shown(monkeypatch, tmp_path):
    data = xai.load_data("example:fashion-test").subset(200, seed=2)
    images, labels = data.images[:].numpy()[:, 0], data.labels.numpy().copy()
    images[10], labels[10] = images[3, :, ::-1], labels[3]  # mirrored
    images[20] = 0.5
    path = tmp_path / "faulty.npz"
    np.savez(path, images=images, labels=labels, classes=np.array(data.class_names))
    monkeypatch.setenv("XAI_DASHBOARD_DATA", str(path))
    app = opened("bias", model=FASHION, bias_about="Data faults", bias_count="200")
    press(app, "Search for data faults")
    found = xai.data_faults(xai.load(FASHION), xai.load_data(path))
    assert {"duplicates", "broken"} <= {fault.kind for fault in found.findings}
    assert f"{len(found.findings)} kinds of faults** in 200 images." in app.warning[0].value
    shown = captions(app)
    (pair,) = found.pairs
    turned = f"data {pair.first_row} = data {pair.second_row}, {pair.turn}"
    assert shown[-1] == turned
    assert shown[: len(found.suspects)][0].startswith(f"{found.suspects[0].row}\\: labelled {found.suspects[0].given}")
    assert app.dataframe[-1].value["row"].tolist() == [20]


def test_leaks_are_looked_for_when_training_images_are_given():
    app = opened(
        "bias",
        model=FASHION,
        bias_about="Data faults",
        bias_count="100",
        train="example:fashion-test",
        train_count="300",
        sample_seed="4",
    )
    press(app, "Search for data faults")
    data, train = (xai.load_data("example:fashion-test").subset(n, seed=4) for n in (100, 300))
    found = xai.data_faults(xai.load(FASHION), data, train, seed=4)
    leak = next(fault for fault in found.findings if fault.kind == "leak")
    assert leak.count > 0
    assert any(leak.headline[:10] in text for text in texts(app))
    assert any(" = train " in caption for caption in captions(app))
    assert "xai.data_faults(clf, data, train, seed=4)" in script_of(app)


def test_a_stopped_search_can_go_on():
    app = press(opened("bias", model=FASHION, bias_about="Slices", bias_count="100"), "Search for weak slices")
    (key,) = app.session_state["jobs"].requested
    stop(app, key)
    assert "Searching for weak slices: stopped." in bars(app)
    press(app, "Run it again")
    assert app.success or app.warning


def test_what_goes_wrong_is_a_sentence():
    app = press(opened("bias", model=FASHION, bias_about="Slices", bias_count="30"), "Search for weak slices")
    assert "at least 80 images" in app.error[0].value


def test_a_model_without_data_says_what_to_do():
    app = opened("bias", model="efficientnet_lite0")
    assert "xai dashboard --data FOLDER" in app.info[0].value


def test_another_installation_without_fairlearn_and_cleanlab_shows_the_same(monkeypatch):
    import sys

    for package in ("fairlearn", "fairlearn.metrics", "cleanlab"):
        monkeypatch.setitem(sys.modules, package, None)
    app = press(opened("bias", model=FASHION, bias_count="100"), "Compare the groups")
    assert app.get("vega_lite_chart")
    app.segmented_control(key="bias_about").set_value("Data faults").run()
    press(app, "Search for data faults")
    assert not app.error


def test_a_model_without_images_here_offers_one_that_has_some():
    app = opened("bias", model="efficientnet_lite0")
    assert any("No data set here" in one.value for one in app.info)
    press(app, "Use example:fashion")
    assert app.selectbox(key="model").value == FASHION
    assert not app.info or not any("No data set here" in one.value for one in app.info)
