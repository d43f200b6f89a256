"""The page "Explain" with several fills for what is hidden, and how long work reports and stops."""

import base64
import json
from functools import wraps

import numpy as np
import pytest
from pages import FASHION, bars, opened, shirt, stop

import xai
from xai.dashboard.pages.explain.variants import describe_fills, fills_of
from xai.dashboard.session.jobs import progress_arguments, progress_in_turn, progress_parts
from xai.dashboard.text.words import safe

FIVE = ("mean", "zero", "blur", "inpaint", "noise")


def asked(app):
    return [button for button in app.button if button.label == "Does the replacement value matter?"]


def viewers(app):
    return [json.loads(viewer.proto.json) for viewer in app.get("bidi_component")]


def values(data, k):
    flat = np.frombuffer(base64.b64decode(data["panels"][k]["values"]), "<f4")
    return flat.reshape(data["image"]["height"], data["image"]["width"])


@pytest.fixture(scope="module")
def wanted():
    return xai.compare_baselines(xai.load(FASHION), shirt(), "occlusion", FIVE)


def test_fills_are_compared_when_asked(monkeypatch, wanted):
    calls, real = [], xai.compare_baselines

    @wraps(real)
    def counting(*arguments, **settings):
        calls.append(arguments)
        return real(*arguments, **settings)

    monkeypatch.setattr(xai, "compare_baselines", counting)
    app = opened("explain", model=FASHION, method="occlusion")
    assert not calls
    asked(app)[0].click().run()
    assert not app.exception
    assert not asked(app)
    assert len(calls) == 1
    _, data = viewers(app)
    titles = [f"{name} for T-shirt/top" for name in (*FIVE, "Disagreement")]
    assert [panel["title"] for panel in data["panels"]] == titles
    maps = [*(e.heatmap for e in wanted.explanations), wanted.disagreements[0]]
    for k, heatmap in enumerate(maps):
        np.testing.assert_allclose(values(data, k), heatmap, atol=1e-5)
    assert describe_fills(wanted) in [m.value for m in app.markdown]
    code = app.code[0].value
    assert f"together = xai.compare_baselines(clf, image, method='occlusion', baselines={FIVE!r})" in code
    app.run()
    assert len(calls) == 1


def test_the_two_fills_that_differ_most_are_named(wanted):
    frame = wanted.table.where(~np.eye(len(wanted.names), dtype=bool)).stack()
    pair = frame.idxmin()
    text = describe_fills(wanted)
    assert all(f"**{name}**" in text for name in pair)
    assert f"rank correlation {frame.min():.2f}".replace("-", "\N{MINUS SIGN}") in text


def test_every_class_has_its_row():
    app = opened("explain", model=FASHION, method="occlusion")
    app.multiselect(key="class").set_value(["Bag", "Coat"]).run()
    asked(app)[0].click().run()
    assert not app.exception
    _, data = viewers(app)
    titles = [f"{name} for {label}" for label in ("Bag", "Coat") for name in (*FIVE, "Disagreement")]
    assert [panel["title"] for panel in data["panels"]] == titles
    assert "target=['Bag', 'Coat']" in app.code[0].value


@pytest.mark.parametrize("link", [{"versus": "Shirt"}, {"score": "probability"}])
def test_other_questions_than_the_logit_are_declined(link):
    app = opened("explain", model=FASHION, method="occlusion", **link)
    assert not asked(app)
    assert any("Replacement values can be compared for the logit" in caption.value for caption in app.caption)


def test_methods_that_hide_no_pixels_are_not_asked():
    assert not asked(opened("explain", model=FASHION, method="gradcam"))
    able = {info.name: fills_of(info) for info in xai.methods() if fills_of(info)}
    assert able == {
        "occlusion": FIVE,
        **dict.fromkeys(("kernelshap", "lime", "rise"), ("mean", "zero", "blur", "noise")),
    }


@pytest.mark.parametrize("name", ["lime", "kernelshap", "rise"])
def test_every_offered_fill_is_one_that_the_method_takes(name):
    info = next(info for info in xai.methods() if info.name == name)
    found = xai.compare_baselines(xai.load(FASHION), shirt(), name, fills_of(info), samples=40)
    assert found.names == fills_of(info)


def test_what_goes_wrong_is_a_sentence(monkeypatch):
    def fail(*_, **__):
        raise xai.XaiError("hiding changes [no] pixel")

    monkeypatch.setattr(xai, "compare_baselines", fail)
    app = opened("explain", model=FASHION, method="occlusion")
    asked(app)[0].click().run()
    assert not app.exception
    assert app.error[0].value.endswith(safe("hiding changes [no] pixel"))
    assert len(viewers(app)) == 1


def test_progress_of_fills_that_begin_anew_is_one_progress():
    seen = []
    report = progress_in_turn(lambda done, total: seen.append(done / total), 3)
    for _ in range(3):
        for done in (0, 5, 10):
            report(done, 10)
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] == 1
    assert progress_in_turn(None, 3) is None


def test_progress_of_parts_is_one_progress():
    seen = []
    for part in progress_parts(lambda done, total: seen.append(done / total), 4):
        part(1, 2)
        part(2, 2)
    assert seen == [k / 8 for k in range(1, 9)]
    assert progress_parts(None, 2) == [None, None]


def test_work_that_asks_whether_to_stop_is_looked_at():
    seen = []
    tools = progress_arguments(lambda done, total: seen.append((done, total)))
    tools["progress"](3, 9)
    assert not tools["should_stop"]()
    assert seen == [(3, 9), (3, 9)]
    assert progress_arguments(None) == {}


def test_stopping_leaves_through_the_work_and_gives_the_model_back():
    class Left(BaseException):
        """What Streamlit ends a run with."""

    def report(done, total):
        raise Left

    model = xai.load(FASHION)
    with pytest.raises(Left):
        xai.attack(model, shirt(), 0, "pgd", 8 / 255, **progress_arguments(report))
    assert not any(part.training for part in model.module.modules())
    assert all(p.grad is None for p in model.module.parameters())


def test_a_stopped_comparison_can_go_on():
    app = opened("explain", model=FASHION, method="occlusion")
    asked(app)[0].click().run()
    (key,) = app.session_state["jobs"].requested
    stop(app, key)
    assert "Occlusion sensitivity with 5 replacement values: stopped." in bars(app)
    next(button for button in app.button if button.label == "Run it again").click().run()
    assert len(viewers(app)) == 2
