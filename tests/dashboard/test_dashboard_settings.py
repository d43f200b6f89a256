"""The page "Explain" without a browser: settings of methods, layers, and what is kept for a report."""

from functools import wraps

import numpy as np
import pytest
from pages import FASHION, bars, captions, opened, results, shirt, stop
from streamlit.testing.v1 import AppTest
from test_dashboard_app import packed, values

import xai
from xai.dashboard.session.models import ExplanationRequest
from xai.dashboard.text.code import read_length

WIDGETS = ("text_input", "number_input", "selectbox", "toggle", "multiselect")


def explained(**parameters):
    return opened("explain", model=FASHION, **parameters)


def keys(app):
    return {widget.key for kind in WIDGETS for widget in getattr(app, kind)}


@pytest.mark.parametrize("method", [info.name for info in xai.methods()])
def test_every_setting_of_every_method_is_offered(method):
    app = AppTest.from_function(_settings_alone, default_timeout=60, kwargs={"method": method}).run()
    assert not app.exception
    info = next(info for info in xai.methods() if info.name == method)
    assert {f"{name}_{method}" for name in info.settings} <= keys(app)
    assert app.json[0].value == "{}"  # as they are, they are the defaults


def _settings_alone(method):
    import streamlit as st

    import xai
    from xai.dashboard.pages.explain.page import choose_settings
    from xai.dashboard.session.models import load_model

    infos = [info for info in xai.methods() if info.name == method]
    st.json(choose_settings(load_model("example:fashion"), infos)[0][0])


def test_settings_reach_the_method_and_the_code():
    app = explained(method="occlusion")
    app.text_input(key="window_occlusion").set_value("0.3").run()
    app.selectbox(key="baseline_occlusion").select("blur").run()
    assert not app.exception
    wanted = xai.explain(xai.load(FASHION), shirt(), "occlusion", window=0.3, baseline="blur")
    np.testing.assert_allclose(values(app), wanted.heatmap, atol=1e-5)
    assert "xai.explain(clf, image, method='occlusion', window=0.3, baseline='blur')" in app.code[0].value


def test_settings_are_in_the_link():
    app = explained(
        method="lime",
        samples_lime="80",
        segments_lime="grid",
        stop_lime="false",
        width_lime="0.5",
        seed_lime="3",
    )
    assert not app.error
    call = "method='lime', seed=3, samples=80, segments='grid', width=0.5, stop=False)"
    assert app.code[0].value.splitlines()[-2].endswith(call)


def test_baselines_are_joined():
    app = explained(method="gradient_shap", samples_gradient_shap="4")
    app.multiselect(key="baseline_gradient_shap").set_value(["black", "mean"]).run()
    assert "samples=4, baseline='black+mean'" in app.code[0].value
    app.multiselect(key="baseline_gradient_shap").set_value([]).run()
    assert "baseline" not in app.code[0].value


def test_what_a_link_may_not_say_is_left_out():
    app = explained(method="rise", samples_rise="40", grid_rise="1000000", fill_rise="<b>", fast_rise="perhaps")
    assert not app.error
    assert app.number_input(key="grid_rise").value == 7
    assert app.number_input(key="grid_rise").max == 140
    assert "method='rise', samples=40)" in app.code[0].value


@pytest.mark.parametrize("wrong", ["a lot", "0", "-3", "1000", "nan", "0,15", "![x](http://evil.example/x.png)"])
def test_a_wrong_setting_gives_one_sentence(wrong):
    app = explained(method="occlusion", window_occlusion=wrong)
    assert len(app.error) == 1
    assert app.error[0].value.startswith("Occlusion sensitivity\\: Expected \\`window\\`")
    assert "http:" not in app.error[0].value
    app.text_input(key="window_occlusion").set_value("0.5").run()
    assert not app.error
    assert len(packed(app)["panels"]) == 1


def test_a_window_of_one_pixel_is_none_of_one_side():
    method = next(info for info in xai.methods() if info.name == "occlusion")
    pixel, side = (
        ExplanationRequest(method, (), None, "logit", {"window": read_length(text)}, 0) for text in ("1", "1.0")
    )
    assert pixel.key != side.key
    assert [read_length(text) for text in ("24", "0.15", "24, 12", "wide")] == [24, 0.15, (24, 12), "wide"]


def test_other_fills_are_compared_whichever_was_chosen():
    app = explained(method="occlusion", baseline_occlusion="zero", window_occlusion="0.5")
    next(button for button in app.button if button.label == "Does the replacement value matter?").click().run()
    assert not app.exception
    assert not app.error
    assert "baselines=('mean', 'zero', 'blur', 'inpaint', 'noise'), window=0.5)" in app.code[0].value


def strip(app):
    """Return the layers of the strip and whether each is chosen."""
    return {
        button.key.removeprefix("layer gradcam "): button.disabled
        for button in app.button
        if button.key and button.key.startswith("layer gradcam ")
    }


def test_other_layers_are_shown_when_asked_and_one_is_chosen():
    app = explained()
    assert strip(app) == {}
    app.session_state["strip gradcam"] = True
    app.run()
    assert not app.exception
    names = xai.layers(xai.load(FASHION), most=6)
    assert list(strip(app)) == names
    assert [name for name, chosen in strip(app).items() if chosen] == ["features"]
    shown = captions(app)
    assert [text.split("\n")[0] for text in shown] == names
    assert shown[0].endswith("28 x 28")
    app.button(key="layer gradcam features.2").click().run()
    assert app.selectbox(key="layer_gradcam").value == "features.2"
    wanted = xai.explain(xai.load(FASHION), shirt(), layer="features.2")
    np.testing.assert_allclose(values(app), wanted.heatmap, atol=1e-5)
    assert [name for name, chosen in strip(app).items() if chosen] == ["features.2"]


def test_a_layer_that_cannot_be_looked_at_does_not_hide_the_others(monkeypatch):
    real = xai.explain

    @wraps(real)
    def explain(*arguments, **settings):
        if settings.get("layer") == "features.2":
            raise xai.XaiError("no <b>such</b> map")
        return real(*arguments, **settings)

    monkeypatch.setattr(xai, "explain", explain)
    app = explained()
    app.session_state["strip gradcam"] = True
    app.run()
    assert "features.2" not in strip(app)
    assert len(strip(app)) == 5
    assert "features.2\n\nno \\<b\\>such\\</b\\> map" in [caption.value for caption in app.caption]


def test_looking_at_other_layers_can_be_stopped():
    app = explained(method="occlusion,layercam")
    assert [box.label for box in app.expander].count("At other layers") == 1
    app.session_state["strip layercam"] = True
    app.run()
    (key,) = (key for key in results(app) if key[0] == "strip")
    stop(app, key)
    assert "LayerCAM at other layers: stopped." in bars(app)
