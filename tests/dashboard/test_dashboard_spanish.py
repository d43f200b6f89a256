"""Every page in Spanish with a result on it: nothing that the library or the page says is left in English."""

import time

import numpy as np
import pages
import pytest
from pages import FASHION, opened
from seen_texts import english_words, seen

import xai
from xai.dashboard.session.jobs import open_audits
from xai.dashboard.text import words as language

SECONDS = 300
FEW = ("accuracy", "calibration", "data_faults", "slices", "speed")
PROPER = frozenset(["Score-CAM", "SCALE", "Square", "Energy"])  # names of methods that are also words


@pytest.fixture(autouse=True)
def _spanish(monkeypatch):
    """Without a browser, Streamlit's test asks for labels outside of the page's run, where there is no link."""
    monkeypatch.setattr(language, "language", lambda: "es")


@pytest.fixture(scope="module")
def names():
    """Names that are the same in every language: classes, layers, methods by the name of the code, checks."""
    methods = [xai.methods(kind=kind) for kind in ("explanation", "attack", "detector")]
    return {
        *xai.load_data("example:fashion-test").class_names,
        *(name for name, _ in xai.load(FASHION).module.named_modules()),
        *(info.name for infos in methods for info in infos),
        *(info.name for info in xai.Audit.available_checks()),
        *PROPER,
        *("mean", "zero", "blur", "inpaint", "noise", "drop", "inside"),  # values of settings, as the code has them
        *("part", "side", "far", "near"),  # columns of the data, and what is in them
        "data",  # a table of xai.toml, beside the names of its images
    }


def left(app, names):
    return {text: words for text in seen(app) if (words := english_words(text, names))}


def said(text):
    return language.in_language(text, "es")


def page(name, **more):
    return opened(name, lang="es", **({"model": FASHION} | more))


def press(app, label):
    """Press a button by the beginning of its English label."""
    return pages.press(app, said(label).partition("{")[0])


def explained():
    app = press(page("explain", method="gradcam,occlusion"), "Check all maps")
    return press(press(app, "Does the replacement value matter?"), "Try all methods")


def robust(monkeypatch):
    real = xai.robustness

    def quick(*arguments, **more):
        return real(*arguments, **({"attacks": ("fgsm", "pgd"), "certificates": ("ibp",)} | more))

    monkeypatch.setattr(xai, "robustness", quick)
    return press(page("robustness", count="8", radii_linf="2/255, 8/255", budget="5"), "Measure robust accuracy")


def matrix():
    app = page("robustness", count="12", question=said("Corruptions"))
    return press(app, "Measure {count} corruptions")


def biased(monkeypatch, folder):
    data = xai.load_data("example:fashion-test").subset(240, seed=1)
    side = np.where(np.arange(240) % 4 == 0, "far", "near")
    images = data.images[:].numpy()[:, 0] * np.where(side == "far", 0.12, 1.0)[:, None, None]
    path = folder / "planted.npz"
    np.savez(path, images=images, labels=data.labels.numpy(), classes=np.array(data.class_names), side=side)
    monkeypatch.setenv("XAI_DASHBOARD_DATA", str(path))
    return press(page("bias", bias_count="240"), "Compare the groups")


def audited(monkeypatch, folder, checks):
    """Run an audit on its page; return the page, with its plan, when it has ended."""
    monkeypatch.setenv("XAI_DASHBOARD_AUDITS", str(folder))
    titles = {info.name: said(info.title) for info in xai.Audit.available_checks()}
    app = page("audit", checks=[titles[name] for name in checks], audit_n="100")
    app = press(app, "Estimate the time")
    app.button(key="run_audit").click().run()
    end = time.monotonic() + SECONDS
    while open_audits() and time.monotonic() < end:
        time.sleep(0.05)
    app.run()
    assert not app.exception
    return app


RESULTS = {
    "start": lambda: page("start"),
    "explain": explained,
    "stress": lambda: page("stress"),
    "attacks": lambda: page("stress", way=said("Attacks")),
    "certificates": lambda: page("stress", way=said("Certificates")),
    "robustness": robust,
    "corruptions": matrix,
    "foreign": lambda: press(page("ood", each="120"), "Fit a detector"),
    "probabilities": lambda: press(
        page("ood", ood_about=said("Calibration"), probabilities="300"), "Measure the calibration"
    ),
    "drift": lambda: press(page("ood", ood_about=said("Drift")), "Compare the data"),
    "groups": biased,
    "shortcuts": lambda: press(
        page("bias", model="example:fashion-shortcut", bias_about=said("Shortcuts"), bias_count="60"),
        "Search for shortcuts",
    ),
    "slices": lambda: press(page("bias", bias_about=said("Slices"), bias_count="600"), "Search for weak slices"),
    "faults": lambda: press(page("bias", bias_about=said("Data faults"), bias_count="300"), "Search for data faults"),
    "networks": lambda: press(
        page("compare", other="example:fashion-robust", compare_count="200"), "Compare the models"
    ),
    "dream": lambda: press(page("dream"), "Generate the image"),
    "audit": lambda monkeypatch, folder: audited(monkeypatch, folder, FEW),
    "every check": lambda monkeypatch, folder: audited(
        monkeypatch, folder, [info.name for info in xai.Audit.available_checks()]
    ),
}
SLOW = {"every check"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in RESULTS]
)
def test_nothing_is_left_in_english(name, names, monkeypatch, tmp_path):
    make = RESULTS[name]
    given = {"monkeypatch": monkeypatch, "folder": tmp_path}
    app = make(**{key: given[key] for key in make.__code__.co_varnames[: make.__code__.co_argcount]})
    assert [box.value for box in app.error if box.icon == ":material/error:"] == []
    assert left(app, names) == {}


def test_a_case_opens_what_it_promises():
    links = [one.proto for one in page("start").get("page_link")]
    assert any(f"way={said('Attacks')}" in link.query_string for link in links)
    app = page("stress", way=said("Attacks"))
    assert said("Attack") in [box.label for box in app.selectbox]


def test_english_would_be_found(names, monkeypatch):
    app = page("stress")
    assert left(app, names) == {}
    monkeypatch.setattr(language, "told", str)
    monkeypatch.setattr(language, "_told", lambda text, _: text)
    found = left(page("stress"), names)
    assert any("as a sensor does" in text for text in found)
    assert "Gaussian noise" in found


@pytest.mark.parametrize("kind", ["explanation", "attack", "detector", "corruption"])
def test_every_method_is_told(kind, names):
    for info in xai.methods(kind=kind):
        spoken = [info.name.replace("_", " ")] if kind == "corruption" else []
        for text in (info.title, info.family, info.unit, info.summary, *spoken):
            assert english_words(language.told(text), names) == [], text
