"""The dashboard without a browser, page by page."""

import base64
import io
import json
from functools import wraps
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from pages import FASHION, bars, results, shirt, stop
from pages import opened as page_of
from PIL import Image
from streamlit.testing.v1 import AppTest

import xai
from xai.dashboard.session.models import load_model
from xai.dashboard.widgets.background import page_file

APP = Path(__file__).parents[2] / "app.py"
START = "Start"


def opened(**parameters):
    return page_of("explain", **parameters)


def uploaded(app, name, content):
    app.file_uploader(key="image").upload(name, content)
    app.run()
    assert not app.exception
    return app


def encoded(pixels, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def packed(app):
    (viewer,) = app.get("bidi_component")
    return json.loads(viewer.proto.json)


def values(app, k=0):
    data = packed(app)
    flat = np.frombuffer(base64.b64decode(data["panels"][k]["values"]), "<f4")
    return flat.reshape(data["image"]["height"], data["image"]["width"])


def texts(app):
    found = [*app.markdown, *app.caption, *app.error, *app.code, *app.text]
    return "\n".join(str(element.value) for element in found) + json.dumps(packed(app)["panels"][0]["alt"])


@pytest.fixture
def explain_calls(monkeypatch):
    """Count what is really computed."""
    calls, real = [], xai.explain

    @wraps(real)
    def counting(*arguments, **settings):
        calls.append(arguments)
        return real(*arguments, **settings)

    monkeypatch.setattr(xai, "explain", counting)
    return calls


def test_it_opens_with_a_sample_explained():
    app = opened()
    assert bars(app)[0].startswith("espresso · 9")
    data = packed(app)
    assert data["panels"][0]["title"] == "Grad-CAM for espresso"
    assert data["panels"][0]["high"] == values(app).max() > 0


def test_an_uploaded_image_is_explained(tmp_path):
    coffee = skimage.data.coffee()
    app = uploaded(opened(), "mug.png", encoded(coffee))
    assert bars(app)[0].startswith("espresso")
    assert not app.pills
    Image.fromarray(coffee).save(tmp_path / "mug.png")
    wanted = xai.explain(xai.load("efficientnet_lite0"), tmp_path / "mug.png")
    np.testing.assert_allclose(values(app), wanted.heatmap, atol=1e-5 * wanted.heatmap.max())
    assert "image = 'mug.png'\ne = xai.explain(clf, image, method='gradcam')\n" in app.code[0].value


def test_the_content_counts_and_not_the_name():
    app = opened(model=FASHION)
    ramp = np.tile(np.arange(28, dtype=np.uint8) * 9, (28, 1))
    first = values(uploaded(app, "same.png", encoded(ramp)))
    app.file_uploader(key="image").clear()
    second = values(uploaded(app, "same.png", encoded(ramp[:, ::-1])))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("words.png", b"this is no image", "not an image"),
        (
            "half.jpg",
            encoded(np.arange(40_000, dtype=np.uint8).reshape(200, 200), "JPEG")[:900],
            "truncated or damaged",
        ),
        ("nothing.png", b"", "the file is empty"),
        ("bomb.gif", b"GIF89a" + b"\xff\xff\xff\xff" + b"\x00" * 20, "bomb.gif"),
    ],
)
def test_a_hostile_upload_gives_one_sentence(name, content, sentence):
    app = uploaded(opened(model=FASHION), name, content)
    assert len(app.error) == 1
    assert name in app.error[0].value
    assert sentence in app.error[0].value
    assert not app.get("bidi_component")


def test_names_are_shown_literally():
    name = "![x](http://evil.example/x.png).png"
    app = uploaded(opened(model=FASHION), name, b"no image")
    assert app.error[0].value.startswith("\\!\\[x\\]\\(http\\:\u2060//evil.example/x.png\\).png")


def test_the_class_can_be_chosen_by_name():
    app = opened(model=FASHION)
    before = values(app)
    app.multiselect(key="class").set_value(["Bag"]).run()
    assert packed(app)["panels"][0]["title"] == "Grad-CAM for Bag"
    assert not np.array_equal(values(app), before)
    wanted = xai.explain(xai.load(FASHION), shirt(), target="Bag")
    np.testing.assert_allclose(values(app), wanted.heatmap, atol=1e-5)
    assert "target='Bag'" in app.code[0].value


def test_the_example_model_has_its_own_samples():
    app = opened(model=FASHION)
    names = app.pills(key="garment").options
    assert names == list(xai.load(FASHION).class_names)
    app.pills(key="garment").select("Ankle boot").run()
    assert not app.exception
    assert bars(app)[0].startswith("Ankle boot")
    assert packed(app)["image"]["width"] == 28


def test_every_registered_method_is_offered_and_works():
    app = opened(model=FASHION)
    chooser = app.multiselect(key="methods")
    methods = {info.name: info for info in xai.methods()}
    for option, info in zip(chooser.options, methods.values(), strict=True):
        assert option.startswith(f"{info.title} (")
    assert chooser.value == ["gradcam"]
    cheap = [name for name, info in methods.items() if info.forward + info.backward < 200]
    for name in cheap:
        app.multiselect(key="methods").set_value([name]).run()
        assert not app.exception
        if app.error:
            assert "no attention was seen" in app.error[0].value
            assert not app.get("bidi_component")
        else:
            assert packed(app)["panels"][0]["title"].startswith(methods[name].title)


def test_methods_are_shown_side_by_side():
    app = opened(model=FASHION, method="gradcam,occlusion")
    data = packed(app)
    titles = [f"{name} for T-shirt/top" for name in ("Grad-CAM", "Occlusion sensitivity", "Disagreement")]
    assert [panel["title"] for panel in data["panels"]] == titles
    wanted = [xai.explain(xai.load(FASHION), shirt(), name) for name in ("gradcam", "occlusion")]
    agreement = xai.agreement(wanted)
    for k, heatmap in enumerate([*(e.heatmap for e in wanted), agreement.disagreements[0]]):
        np.testing.assert_allclose(values(app, k), heatmap, atol=1e-5)
    table = app.table[0].value
    assert list(table.columns)[1:] == ["Grad-CAM", "Occlusion sensitivity"]
    assert float(table.iloc[0, 2].replace("\N{MINUS SIGN}", "-")) == pytest.approx(
        agreement.rank_correlation[0, 1], abs=0.006
    )
    code = app.code[0].value
    assert "    xai.explain(clf, image, method='occlusion'),\n]\ntogether = xai.agreement(explanations)" in code
    labels = [button.label for button in app.get("download_button")]
    assert labels == ["All methods (.zip)", *["Image (.png)", "Everything (.zip)", "Raw map (.npy)"] * 2]


def test_a_link_names_the_methods():
    app = opened(model=FASHION, method="hirescam,no such method,gradcam,hirescam")
    assert app.multiselect(key="methods").value == ["hirescam", "gradcam"]
    app.multiselect(key="methods").set_value(["gradcam"]).run()
    assert app.query_params["method"] == "gradcam"


def test_without_a_method_it_asks_for_one():
    app = opened(model=FASHION)
    app.multiselect(key="methods").set_value([]).run()
    assert not app.exception
    assert "Choose a method" in app.info[0].value


def test_several_classes_give_a_row_each():
    app = opened(model=FASHION, method="gradcam,hirescam")
    app.multiselect(key="class").set_value(["Bag", "Coat"]).run()
    names = ("Grad-CAM", "HiResCAM", "Disagreement")
    assert [p["title"] for p in packed(app)["panels"]] == [f"{n} for {c}" for c in ("Bag", "Coat") for n in names]
    assert "target=['Bag', 'Coat']" in app.code[0].value
    wanted = xai.explain(xai.load(FASHION), shirt(), target="Coat")
    np.testing.assert_allclose(values(app, 3), wanted.heatmap, atol=1e-5)


def test_one_class_rather_than_another():
    app = opened(model=FASHION)
    alone = values(app)
    versus = app.selectbox(key="versus")
    assert "T-shirt/top" not in versus.options  # it is the one explained
    versus.select("Shirt").run()
    assert packed(app)["panels"][0]["title"] == "Grad-CAM for T-shirt/top compared with Shirt"
    assert not np.array_equal(values(app), alone)
    assert "versus='Shirt'" in app.code[0].value
    wanted = xai.explain(xai.load(FASHION), shirt(), versus="Shirt")
    np.testing.assert_allclose(values(app), wanted.heatmap, atol=1e-5)


def test_the_score_can_be_chosen():
    app = opened(model=FASHION, versus="Shirt")
    app.selectbox(key="score").select("margin").run()
    assert not app.exception
    assert not app.error
    assert app.selectbox(key="versus").disabled  # the margin has its other class
    wanted = xai.explain(xai.load(FASHION), shirt(), score="margin")
    np.testing.assert_allclose(values(app), wanted.heatmap, atol=1e-5)
    assert "score='margin'" in app.code[0].value


@pytest.mark.parametrize(("verdict", "word"), [("trust", "Trust"), ("doubt", "Doubt"), ("reject", "Reject")])
def test_an_explanation_is_rated_when_asked(monkeypatch, verdict, word):
    asked = []

    def rate(model, image, explanation, *, progress):
        asked.append(explanation)
        progress(30, 100)
        check = xai.results.MapCheck("stability", verdict, "what was found", {"correlation": -0.5})
        return xai.results.Rating(
            ((check,),), (verdict,), "gradcam", ("Bag",), ("x",), ({},), provenance=explanation.provenance
        )

    monkeypatch.setattr(xai, "rate_explanation", rate)
    app = opened(model=FASHION)
    assert not asked
    app.button(key="check_maps").click().run()
    app.run()
    assert not app.exception
    kinds = {"trust": app.success, "doubt": app.warning, "reject": app.error}
    assert kinds[verdict][0].value.startswith(f"**{word}**\\: ")
    assert "faithful to this model" in kinds[verdict][0].value
    assert "- What was found." in texts(app)
    line = app.table[0].value.iloc[0]
    assert line["Check"] == "stability"
    assert line["Verdict"].endswith(f": {verdict}")
    assert line["Values"] == "correlation \N{MINUS SIGN}0.5"
    assert len(asked) == 1


def test_each_class_has_its_verdict():
    app = opened(model=FASHION)
    app.multiselect(key="class").set_value(["Bag", "Coat"]).run()
    app.button(key="check_maps").click().run()
    assert not app.exception
    (said,) = [*app.success, *app.warning, *app.error]
    assert "Bag\\: " in said.value
    assert "Coat\\: " in said.value
    assert set(app.table[0].value["Class"]) == {"Bag", "Coat"}


def test_a_stopped_method_leaves_the_others_and_can_go_on(monkeypatch):
    app = opened(model=FASHION, method="gradcam,occlusion")
    (key,) = (key for key in results(app) if key[4] == "occlusion")
    stop(app, key)
    assert [panel["title"] for panel in packed(app)["panels"]] == ["Grad-CAM for T-shirt/top"]
    assert "Occlusion sensitivity: stopped." in bars(app)
    next(button for button in app.button if button.label == "Run it again").click().run()
    assert len(packed(app)["panels"]) == 3


def test_a_method_that_cannot_be_used_is_explained():
    app = opened(model=FASHION, method="attention_rollout,gradcam")
    assert [panel["title"] for panel in packed(app)["panels"]] == ["Grad-CAM for T-shirt/top"]
    assert app.error[0].value.startswith("Attention rollout\\: Attention rollout cannot be read from")


def test_methods_are_tried_when_asked():
    app = opened(model=FASHION)
    next(button for button in app.button if button.label == "Try all methods").click().run()
    assert not app.exception
    why = dict(zip(app.table[0].value["Method"], app.table[0].value["Why"], strict=True))
    assert "no attention was seen" in next(text for name, text in why.items() if name.startswith("Attention rollout"))
    options = app.multiselect(key="methods").options
    assert "Attention rollout (instant) · not advised here" in options


def test_a_layer_can_be_chosen_and_the_reason_is_shown():
    app = opened(model=FASHION)
    assert app.selectbox(key="layer_gradcam").options == ["automatic", *xai.layers(xai.load(FASHION))]
    assert "Layer 'features'\\: the last layer with the shape of a map" in texts(app)
    before = values(app)
    app.selectbox(key="layer_gradcam").select("features.2").run()
    assert "named by the caller" in texts(app)
    assert not np.array_equal(values(app), before)
    assert "layer='features.2'" in app.code[0].value


def test_a_link_opens_what_it_names():
    app = opened(**{"model": FASHION, "class": "Bag", "layer_gradcam": "features.2"})
    assert packed(app)["panels"][0]["title"] == "Grad-CAM for Bag"
    assert app.selectbox(key="layer_gradcam").value == "features.2"


def test_a_link_cannot_load_what_is_not_offered():
    app = opened(model="/etc/passwd")
    assert app.selectbox(key="model").value == "efficientnet_lite0"


def test_nothing_is_computed_twice(explain_calls):
    app = opened(model=FASHION, garment="Coat")
    app.run()
    for label in ("Bag", "Dress", "Bag"):
        app.multiselect(key="class").set_value([label]).run()
    assert not app.exception
    assert [call[3] for call in explain_calls] == [None, 8, 3]


def test_another_method_computes_only_itself(explain_calls):
    app = opened(model=FASHION, garment="Coat")
    for methods in (["gradcam", "hirescam"], ["gradcam", "hirescam", "layercam"], ["layercam"]):
        app.multiselect(key="methods").set_value(methods).run()
    assert [call[2] for call in explain_calls] == ["gradcam", "hirescam", "layercam"]


def test_one_session_at_a_time_uses_a_model(monkeypatch):
    real, locked = xai.explain, []

    @wraps(real)
    def watching(*arguments, **settings):
        locked.append(load_model(FASHION).lender.lent())
        return real(*arguments, **settings)

    monkeypatch.setattr(xai, "explain", watching)
    opened(model=FASHION)
    assert locked == [True]
    assert not load_model(FASHION).lender.lent()


def test_sessions_do_not_see_each_other():
    pixels = np.full((40, 40, 4), 90, np.uint8)  # half transparent: a note names the file
    first = uploaded(opened(model=FASHION), "secret.png", encoded(pixels))
    assert "secret.png\\: transparent parts are shown on white" in texts(first)
    second = uploaded(opened(model=FASHION), "other.png", encoded(pixels))
    assert "other.png\\: transparent parts are shown on white" in texts(second)
    assert "secret" not in texts(second).lower()


def test_the_model_given_at_the_start_comes_first(monkeypatch):
    monkeypatch.setenv("XAI_DASHBOARD_MODEL", FASHION)
    app = opened()
    assert app.selectbox(key="model").options[0] == FASHION
    assert packed(app)["image"]["width"] == 28


def test_a_model_that_cannot_be_loaded_gives_a_sentence(monkeypatch):
    monkeypatch.setenv("XAI_DASHBOARD_MODEL", "weights-that-are-not-there.safetensors")
    app = opened()
    assert len(app.error) == 1
    assert "weights-that-are-not-there.safetensors" in app.error[0].value
    app.selectbox(key="model").select(FASHION).run()
    assert not app.error
    assert packed(app)["image"]["width"] == 28


def test_a_missing_package_gives_a_sentence(monkeypatch):
    def load(name, **settings):
        raise xai.XaiError("That network needs an optional package: pip install 'xai-toolkit[pretrained]'")

    monkeypatch.setattr(xai, "load", load)
    monkeypatch.setenv("XAI_DASHBOARD_MODEL", "needs-a-package")
    app = opened()
    assert "pip install" in app.error[0].value
    assert not app.get("bidi_component")


@pytest.mark.parametrize("page", ["explain", "stress", "robustness", "ood", "bias"])
def test_the_other_pages_are_reached_from_the_first_and_keep_its_model(page):
    app = AppTest.from_file(str(APP), default_timeout=60)
    app.query_params["model"] = FASHION
    app.run()
    app.switch_page(str(page_file(page))).run()
    assert not app.exception
    assert app.title[0].value != START
    assert app.selectbox(key="model").value == FASHION
    app.selectbox(key="model").select("example:fashion-robust").run()
    assert app.selectbox(key="model").value == "example:fashion-robust"
