"""The dashboard without a browser, page by page."""

import base64
import io
import json
from functools import wraps
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image
from streamlit.testing.v1 import AppTest

import xai
from xai.dashboard.work import load_model

APP = Path(__file__).parents[2] / "app.py"
FASHION = "example:fashion"


def opened(**parameters):
    app = AppTest.from_file(str(APP), default_timeout=60)
    for name, value in parameters.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def uploaded(app, name, content):
    app.file_uploader(key="picture").upload(name, content)
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


def values(app):
    data = packed(app)
    flat = np.frombuffer(base64.b64decode(data["panels"][0]["values"]), "<f4")
    return flat.reshape(data["picture"]["height"], data["picture"]["width"])


def bars(app):
    return [bar.text for bar in app.get("progress")]


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


def test_an_uploaded_picture_is_explained(tmp_path):
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
    app.file_uploader(key="picture").clear()
    second = values(uploaded(app, "same.png", encoded(ramp[:, ::-1])))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("words.png", b"this is no picture", "not a picture"),
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
    app = uploaded(opened(model=FASHION), name, b"no picture")
    assert app.error[0].value.startswith("\\!\\[x\\]\\(http\\:\u2060//evil.example/x.png\\).png")


def test_the_class_can_be_chosen_by_name():
    app = opened(model=FASHION)
    before = values(app)
    app.selectbox(key="class").select("Bag").run()
    assert packed(app)["panels"][0]["title"] == "Grad-CAM for Bag"
    assert not np.array_equal(values(app), before)
    classifier, data = xai.load(FASHION), xai.load_data("example:fashion-test")
    first = int(np.flatnonzero(np.asarray(data.labels) == 0)[0])
    wanted = xai.explain(classifier, data.images[first], target="Bag")
    np.testing.assert_allclose(values(app), wanted.heatmap, atol=1e-5)
    assert "target='Bag'" in app.code[0].value


def test_the_example_network_has_its_own_samples():
    app = opened(model=FASHION)
    names = app.pills(key="garment").options
    assert names == list(xai.load(FASHION).labels)
    app.pills(key="garment").select("Ankle boot").run()
    assert not app.exception
    assert bars(app)[0].startswith("Ankle boot")
    assert packed(app)["picture"]["width"] == 28


def test_every_registered_method_is_offered_and_works():
    app = opened(model=FASHION)
    chooser = app.selectbox(key="method")
    methods = {info.title: info for info in xai.methods()}
    assert chooser.options == list(methods)
    assert chooser.value == "gradcam"
    for title in methods:
        app.selectbox(key="method").select(title).run()
        assert not app.exception
        assert packed(app)["panels"][0]["title"].startswith(title)


def test_a_layer_can_be_chosen_and_the_reason_is_shown():
    app = opened(model=FASHION)
    assert app.selectbox(key="layer").options == ["automatic", *xai.layers(xai.load(FASHION))]
    assert "Layer 'features'\\: the last layer that is a map" in texts(app)
    before = values(app)
    app.selectbox(key="layer").select("features.2").run()
    assert "named by the caller" in texts(app)
    assert not np.array_equal(values(app), before)
    assert "layer='features.2'" in app.code[0].value


def test_a_link_opens_what_it_names():
    app = opened(**{"model": FASHION, "class": "Bag", "layer": "features.2"})
    assert packed(app)["panels"][0]["title"] == "Grad-CAM for Bag"
    assert app.selectbox(key="layer").value == "features.2"


def test_a_link_cannot_load_what_is_not_offered():
    app = opened(model="/etc/passwd")
    assert app.selectbox(key="model").value == "efficientnet_lite0"


def test_nothing_is_computed_twice(explain_calls):
    app = opened(model=FASHION, garment="Coat")
    app.run()
    app.selectbox(key="class").select("Bag").run()
    app.selectbox(key="class").select("Dress").run()
    app.selectbox(key="class").select("Bag").run()
    assert not app.exception
    assert [call[3] for call in explain_calls] == [None, 8, 3]


def test_one_session_at_a_time_uses_a_model(monkeypatch):
    real, locked = xai.explain, []

    @wraps(real)
    def watching(*arguments, **settings):
        locked.append(load_model(FASHION).lock.locked())
        return real(*arguments, **settings)

    monkeypatch.setattr(xai, "explain", watching)
    opened(model=FASHION)
    assert locked == [True]
    assert not load_model(FASHION).lock.locked()


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
    assert packed(app)["picture"]["width"] == 28


def test_a_model_that_cannot_be_loaded_gives_a_sentence(monkeypatch):
    monkeypatch.setenv("XAI_DASHBOARD_MODEL", "weights-that-are-not-there.safetensors")
    app = opened()
    assert len(app.error) == 1
    assert "weights-that-are-not-there.safetensors" in app.error[0].value
    app.selectbox(key="model").select(FASHION).run()
    assert not app.error
    assert packed(app)["picture"]["width"] == 28


def test_a_missing_package_gives_a_sentence(monkeypatch):
    def load(name, **settings):
        raise xai.XaiError("That network needs an optional package: pip install 'xai-toolkit[pretrained]'")

    monkeypatch.setattr(xai, "load", load)
    monkeypatch.setenv("XAI_DASHBOARD_MODEL", "needs-a-package")
    app = opened()
    assert "pip install" in app.error[0].value
    assert not app.get("bidi_component")
