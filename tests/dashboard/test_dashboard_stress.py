"""The page "Stress" without a browser: what it shows is what the library answers."""

from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from pages import FASHION, bars, captions, counted, opened, results, run_code, script_of, shirt, stop

import xai
from xai.dashboard.pages.stress.page import CHOICES, KINDS, LABELS
from xai.dashboard.text.words import percent
from xai.dashboard.widgets.corruptions import SEVERITIES, CorruptedImage
from xai.dashboard.widgets.gallery import as_pixels, magnified
from xai.robust.attacks.autoattack import VERSIONS
from xai.robust.attacks.search import LOSSES

ROBUST = "example:fashion-robust"


@pytest.fixture(scope="module")
def fashion():
    return xai.load(FASHION)


def said(title, one):
    return f"{title}\\: {one.label}, {percent(one.probability)}".replace(" %", "\N{NO-BREAK SPACE}%")


def test_a_corrupted_image_is_what_the_library_makes(fashion):
    app = opened("stress", model=FASHION, severity="2.5", corruption="Fog")
    clean = fashion.prepare(shirt()).inputs
    changed = fashion.predict(xai.corrupt(clean, "fog", 2.5))[0]
    shown = captions(app)
    assert shown[:2] == [said("Clean", fashion.predict(clean)[0]), said("Severity 2.5", changed)]
    assert shown[2].startswith("Difference")
    for label, share in changed.top(3):
        assert f"{label} · {percent(share)}" in bars(app)
    for whole, caption in zip(range(6), shown[3:], strict=True):
        assert caption == said(str(whole), fashion.predict(xai.corrupt(clean, "fog", whole))[0])


def test_the_slider_changes_the_image_and_computes_nothing(monkeypatch):
    calls = counted(monkeypatch, "corrupt")
    app = opened("stress", model=FASHION)
    assert len(calls) == len(SEVERITIES)
    before = captions(app)
    app.slider(key="severity").set_value(0.25).run()
    assert not app.exception
    assert len(calls) == len(SEVERITIES)
    assert captions(app)[0] == before[0]
    assert captions(app)[1].startswith("Severity 0.25\\: T-shirt/top")


def test_the_chart_of_severities_is_offered_as_a_table(fashion, monkeypatch):
    files = {}
    monkeypatch.setattr(
        "xai.dashboard.widgets.results.offer_download", lambda _label, make, name, *_: files.update({name: make()})
    )
    opened("stress", model=FASHION, corruption="Fog")
    table = pd.read_csv(BytesIO(files["t-shirt-top_by-severity.csv"]))
    clean = fashion.prepare(shirt()).inputs
    assert table["severity"].tolist() == list(SEVERITIES)
    for k in (0, 9, 20):
        one = fashion.predict(xai.corrupt(clean, "fog", SEVERITIES[k]))[0]
        assert table["prediction"][k] == one.label
        assert table["probability"][k] == pytest.approx(float(one.probabilities[0, 0]), abs=1e-6)


def test_the_first_severity_that_flips_is_named(fashion):
    app = opened("stress", model=FASHION)
    clean = fashion.prepare(shirt()).inputs
    answers = [fashion.predict(xai.corrupt(clean, "gaussian_noise", s))[0].label for s in SEVERITIES]
    k = next(k for k, label in enumerate(answers) if label != answers[0])
    (text,) = [m.value for m in app.markdown if m.value.startswith("The prediction first changes")]
    assert f"at severity **{SEVERITIES[k]:g}** (tried in steps of 0.25): from" in text
    assert f"to **{answers[k]}**" in text


@pytest.mark.parametrize(
    ("answers", "flips", "returns"),
    [([0] * 21, None, False), ([0] * 5 + [1] * 16, 1.25, False), ([0, 0, 2] + [0] * 18, 0.5, True)],
)
def test_flips_and_returns(answers, flips, returns):
    prediction = SimpleNamespace(index=torch.tensor(answers))
    found = CorruptedImage(np.zeros((21, 2, 2, 3), np.uint8), prediction)
    assert (found.flips_at, found.returns) == (flips, returns)


def test_the_code_of_a_corruption_gives_what_is_shown(fashion, tmp_path):
    app = opened("stress", model=FASHION, corruption="Motion blur", severity="4.25", corruption_seed="7")
    wanted = fashion.predict(xai.corrupt(fashion.prepare(shirt()).inputs, "motion_blur", 4.25, 7))[0]
    assert said("Severity 4.25", wanted) in captions(app)
    assert run_code(script_of(app), tmp_path) == str(wanted.top(3))


def attacked(fashion, method="pgd", eps=8 / 255, **asked):
    image = shirt()
    return xai.attack(fashion, image, fashion.predict(image).index, method, eps, **asked)


def test_an_attacked_image_is_what_the_library_finds(fashion):
    app = opened("stress", model=FASHION, way="Attacks", eps_linf="6")
    found = attacked(fashion, eps=6 / 255)
    changed = fashion.predict(found.adversarial)[0]
    shown = captions(app)
    assert shown[1] == said("Attacked", changed)
    assert shown[2] == "Difference times 10 (grey: no change)"
    texts = [m.value for m in app.markdown]
    before = fashion.predict(found.clean)[0].label
    size = f"no pixel changes by more than {255 * float(found.distance[0]):.3g}/255"
    assert f"The prediction changes from **{before}** to **{changed.label}**: {size}." in texts
    nearest = attacked(fashion, "fmn", None)
    assert said("FMN", fashion.predict(nearest.adversarial)[0]) in shown
    assert any(f"{255 * float(nearest.distance[0]):.3g}/255." in text for text in texts)


def test_the_strip_shows_each_radius(fashion):
    app = opened("stress", model=FASHION, way="Attacks")
    shown, enough = captions(app), []
    for eps in (1, 2, 4, 8, 16, 32):
        found = attacked(fashion, eps=eps / 255)
        assert said(f"{eps}/255", fashion.predict(found.adversarial)[0]) in shown
        enough += [eps] if bool(found.success[0]) else []
    assert f"is **{enough[0]}/255**." in "".join(m.value for m in app.markdown)
    assert shown.count("32/255") == 1  # its difference


def test_another_radius_computes_only_itself(monkeypatch):
    calls = counted(monkeypatch, "attack")
    app = opened("stress", model=FASHION, way="Attacks")
    assert [arguments[3] for arguments, _ in calls] == ["pgd", "fmn", *["pgd"] * 6]
    app.slider(key="eps_linf").set_value(2.5).run()
    app.slider(key="eps_linf").set_value(8.0).run()
    assert not app.exception
    assert [arguments[4] for arguments, _ in calls[8:]] == [2.5 / 255]
    assert app.slider(key="eps_linf").value == 8


def test_the_code_of_an_attack_gives_what_is_shown(fashion, tmp_path):
    app = opened("stress", model=FASHION, way="Attacks", norm="l2", eps_l2="1", attack_seed="3")
    found = attacked(fashion, eps=1.0, norm="l2", seed=3)
    top = str(fashion.predict(found.adversarial)[0].top(3))
    assert said("Attacked", fashion.predict(found.adversarial)[0]) in captions(app)
    assert run_code(script_of(app), tmp_path).endswith(top)


def test_an_attack_that_fails_is_no_proof():
    app = opened("stress", model=ROBUST, way="Attacks", eps_linf="0.5")
    assert any("This does not certify robustness" in m.value for m in app.markdown)


def test_a_class_to_reach(fashion):
    app = opened("stress", model=FASHION, way="Attacks", towards="Bag", eps_linf="32")
    assert "T-shirt/top" not in app.selectbox(key="towards").options  # it is the answer already
    found = attacked(fashion, eps=32 / 255, targeted="Bag")
    changed = fashion.predict(found.adversarial)[0]
    assert changed.label == "Bag"
    assert said("Attacked", changed) in captions(app)
    assert "targeted=8" in script_of(app)


def test_settings_of_an_attack_are_passed_on_and_written(fashion, tmp_path, monkeypatch):
    calls = counted(monkeypatch, "attack")
    app = opened("stress", model=FASHION, way="Attacks", eps_linf="2", **{"pgd.steps": "3", "pgd.loss": "margin"})
    asked = {"steps": 3, "loss": "margin"}
    passed = [(arguments[3], {name: more[name] for name in more if name in asked}) for arguments, more in calls]
    assert passed.count(("pgd", asked)) == 7
    assert passed.count(("fmn", {})) == 1 == len(passed) - 7  # the nearest change is looked for by another attack
    found = attacked(fashion, eps=2 / 255, **asked)
    assert said("Attacked", fashion.predict(found.adversarial)[0]) in captions(app)
    assert any("at most: 4 forward, 3 backward." in caption.value for caption in app.caption)
    assert "norm='linf', seed=0, steps=3, loss='margin')" in script_of(app)
    assert run_code(script_of(app), tmp_path).endswith(str(fashion.predict(found.adversarial)[0].top(3)))


def test_what_an_attack_refuses_is_a_sentence():
    app = opened("stress", model=FASHION, way="Attacks", **{"pgd.steps": "0"})
    assert "steps" in app.error[0].value
    app.number_input(key="pgd.steps").set_value(2).run()
    assert not app.error


def test_many_steps_make_a_long_strip_that_is_asked_for():
    app = opened("stress", model=FASHION, way="Attacks", **{"pgd.steps": "200"})
    assert [b for b in app.button if b.label == "Attack at 6 radii"]


def test_every_setting_of_every_attack_has_a_widget_with_words():
    settings = {name: value for info in xai.methods(kind="attack") for name, value in info.settings.items()}
    assert settings.keys() == LABELS.keys()
    assert {name for name, value in settings.items() if isinstance(value, str)} == CHOICES.keys()
    assert {"loss": tuple(LOSSES), "version": VERSIONS} == CHOICES
    nothing = {name for name, value in settings.items() if value is None}
    assert nothing == {"step_size", *KINDS}  # the one is a length, the others are counts


@pytest.mark.parametrize("title", ["Rotation and shift", "DeepFool"])
def test_attacks_without_a_radius_have_no_slider_and_no_strip(title):
    app = opened("stress", model=FASHION, way="Attacks", attack=title)
    assert app.slider(key="eps_linf").disabled
    assert not [m for m in app.markdown if "along eps" in m.value]
    (first, *_) = [m.value for m in app.markdown if m.value.startswith("The prediction changes")]
    assert ("no pixel changes" in first) == (title == "DeepFool")  # the size of a turned image says nothing
    assert "eps=" not in script_of(app)


def test_a_long_strip_is_asked_for(monkeypatch):
    calls = counted(monkeypatch, "attack")
    app = opened("stress", model=FASHION, way="Attacks", attack="APGD-CE")
    assert len(calls) == 2
    (button,) = [b for b in app.button if b.label == "Attack at 6 radii"]
    button.click().run()
    assert not app.exception
    assert len(calls) == 8
    assert not [b for b in app.button if b.label == "Attack at 6 radii"]


def test_a_stopped_attack_leaves_the_rest_and_can_go_on():
    app = opened("stress", model=FASHION, way="Attacks")
    stop(app, next(key for key in results(app) if key[3] == "fmn"))
    assert "FMN: stopped." in bars(app)
    assert not [c for c in captions(app) if c.startswith("FMN")]
    next(b for b in app.button if b.label == "Run it again").click().run()
    assert [c for c in captions(app) if c.startswith("FMN")]


def test_what_cannot_be_attacked_gives_a_sentence(monkeypatch):
    def attack(*_, **__):
        raise xai.XaiError("This model lets no gradient through.")

    monkeypatch.setattr(xai, "attack", attack)
    app = opened("stress", model=FASHION, way="Attacks")
    assert not app.exception
    assert {e.value.split("\\: ")[1] for e in app.error} == {"This model lets no gradient through."}


def test_differences_are_magnified_as_far_as_they_fit():
    clean = np.full((20, 20, 3), 100, np.uint8)
    small = clean.copy()
    small[0, 0] = 110
    shown, times = magnified(clean, small)
    assert times == 10
    assert shown[0, 0, 0] == round(127.5 + 50)
    assert shown[1, 1, 0] == 128
    large = clean + np.uint8(60)
    assert magnified(clean, large)[1] == 2  # 2 x 60 / 2 fits, 5 x 60 / 2 does not
    assert magnified(np.zeros_like(clean), np.full_like(clean, 255))[1] == 1


def test_pixels_are_rounded_and_grey_becomes_colour():
    found = as_pixels(torch.tensor([[[[0.0, 0.5], [1.0, 1.2]]]]))
    assert found.shape == (1, 2, 2, 3)
    assert found[0, :, :, 2].tolist() == [[0, 128], [255, 255]]
