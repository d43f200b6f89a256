"""`xai.report`: explanations on a page or on paper; names, notes and labels stay text, nothing is fetched."""

import base64
import dataclasses
import json
import re
from collections import Counter

import numpy as np
import pytest
from report_cases import HOSTILE, Page
from test_reports_hostile import UNSEEN
from test_reports_pdf import ACTIONS, inside, weasyprint

import xai
from xai.reports.messages import LANGUAGES


@pytest.fixture(scope="module")
def explained():
    """Two explanations and a rating: Grad-CAM of two classes, and saliency."""
    model, data = xai.load("example:fashion"), xai.load_data("example:fashion-test")
    two = xai.explain(model, data.images[0], target=[0, 1])
    one = xai.explain(model, data.images[1], "saliency")
    return [two, one], [None, rated(one, "stability", "doubt", "noise moves the map")]


def rated(one, name, verdict, reason):
    check = xai.results.MapCheck(name, verdict, reason, {"correlation": 0.4})
    return xai.results.Rating(
        ((check,),), (verdict,), one.method, one.target_names, one.image_names, ({},), provenance=one.provenance
    )


def written(explained, path, **settings):
    return xai.report(explained[0], path, ratings=explained[1], **settings)


def viewers(text):
    found = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    return [json.loads(one) for one in found]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_has_maps_notes_and_ratings(explained, tmp_path, language):
    path = written(explained, tmp_path / "r.html", notes=["The sole.\nNot the lace.", ""], language=language)
    page = Page(path.read_text())
    said = " ".join(" ".join(page.text).split())
    assert "The sole. Not the lace." in said
    assert {"en": "doubt", "es": "dudoso"}[language] in said
    assert said.count({"en": "Check of the map", "es": "Comprobación del mapa"}[language]) == 1
    overlay = {"en": "Overlay", "es": "Superposición"}  # of the viewer
    assert {name: f">{word}<" in path.read_text() for name, word in overlay.items()} == {
        name: name == language for name in overlay
    }
    assert len(page.images) == 6  # three maps beside their image
    assert all(image["alt"] for image in page.images)
    maps = viewers(path.read_text())
    assert [len(one["panels"]) for one in maps] == [1, 1, 1]
    values = np.frombuffer(base64.b64decode(maps[2]["panels"][0]["values"]), "<f4").reshape(28, 28)
    np.testing.assert_array_equal(values, explained[0][1].heatmap)


def test_the_same_explanations_give_the_same_bytes(explained, tmp_path):
    first, second = (written(explained, tmp_path / f"{k}.html").read_bytes() for k in range(2))
    assert first == second


def renamed(explained, name):
    """Return the explanations with a name wherever a text can come from a file, a network or a user."""
    every = []
    for one in explained[0]:
        named = {key: (name,) * len(one) for key in ("target_names", "predictions", "image_names")}
        model = {**one.model, "name": name, "preprocessing": {**one.model["preprocessing"], name: name}}
        texts = {"notes": (name, *one.notes), "layer": name, "unit": name}
        versions, settings = {**one.versions, name: name}, {**one.settings, name: name}
        source = dataclasses.replace(one.provenance, versions=versions, settings=settings, model=model)
        every.append(dataclasses.replace(one, **named, **texts, provenance=source))
    return every, [None, rated(every[1], name, "reject", name)]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_gets_no_node_from_a_name(explained, tmp_path, name):
    pages = []
    for text in ("word", name):
        notes = [text.replace("\n", " ")] * 2  # a line of a note is a paragraph
        path = written(renamed(explained, text), tmp_path / "r.html", notes=notes, title=text)
        pages.append(Page(path.read_text()))
        assert not UNSEEN.search(path.read_text())
    plain, found = pages
    assert Counter(found.tags) == Counter(plain.tags)
    assert Counter(name for _, name, _ in found.attributes) == Counter(name for _, name, _ in plain.attributes)
    for _, attribute, value in found.attributes:
        if attribute in {"src", "href"}:
            assert value.startswith(("data:image/", "#"))


def test_the_page_lets_only_its_own_script_run(explained, tmp_path):
    text = written(explained, tmp_path / "r.html").read_text()
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-" in text
    assert Page(text).tags.count("script") == 1 + len(viewers(text))


@pytest.mark.parametrize("language", LANGUAGES)
def test_on_paper_every_picture_has_a_text_and_nothing_acts(explained, tmp_path, language):
    weasyprint()
    every, ratings = renamed(explained, HOSTILE[1])
    held = inside(xai.report(every, tmp_path / "r.pdf", ratings=ratings, language=language).read_bytes())
    assert f"/Lang ({language})".encode() in held
    figures = len(re.findall(rb"/S /Figure", held))
    assert figures >= 6
    assert held.count(b"/Alt ") >= figures
    assert {word for word in ACTIONS if word in held} == set()


def test_twenty_large_explanations_of_three_classes_stay_small(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    large = xai.explain(xai.load("efficientnet_lite0"), noise, "saliency", target=[1, 2, 3])
    path = xai.report([large] * 20, tmp_path / "r.html")
    assert path.stat().st_size < 25_000_000
    assert len(viewers(path.read_text())) == 60


def test_more_than_25_megabytes_are_refused(explained, tmp_path, monkeypatch):
    monkeypatch.setattr("xai.reports.explanations.MOST_BYTES", 50_000)
    with pytest.raises(xai.XaiError, match=r"more than 0\.05\. Report fewer explanations"):
        written(explained, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_of_many_pictures_the_first_eight_are_shown(tmp_path):
    data = xai.load_data("example:fashion-test")
    text = xai.report(xai.explain(xai.load("example:fashion"), data.images[:11]), tmp_path / "r.html").read_text()
    assert len(viewers(text)) == 8
    assert "3 more maps" in text


def test_an_agreement_is_reported_and_one_explanation_too(explained, tmp_path):
    one = explained[0][1]
    both = xai.agreement([one, dataclasses.replace(one, method="other")])
    assert len(viewers(xai.report(both, tmp_path / "a.html").read_text())) == 2
    assert len(viewers(xai.report(one, tmp_path / "b.html").read_text())) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "r.txt"}, r"ends in \.html or \.pdf"),
        ({"explanations": []}, "Expected 1 to 20 explanations"),
        ({"explanations": 21}, "Expected 1 to 20 explanations"),
        ({"explanations": ["no explanation"]}, "Expected 1 to 20 explanations"),
        ({"explanations": None}, "Expected 1 to 20 explanations"),
        ({"notes": ["one"]}, "Expected `notes` as one for each of 2 explanations, but got 1"),
        ({"ratings": []}, "Expected `ratings` as one for each of 2 explanations, but got 0"),
        ({"ratings": "swapped"}, "in the order of the explanations"),
        ({"language": "tlh"}, "no language"),
    ],
)
def test_what_cannot_be_reported_is_one_line(explained, tmp_path, change, message):
    asked = {"explanations": explained[0], "path": "r.html"} | change
    if asked["explanations"] == 21:
        asked["explanations"] = explained[0][:1] * 21
    if asked.get("ratings") == "swapped":
        asked["ratings"] = explained[1][::-1]
    path = tmp_path / asked.pop("path")
    with pytest.raises(xai.XaiError, match=message) as caught:
        xai.report(asked.pop("explanations"), path, **asked)
    assert "\n" not in str(caught.value)
    assert not path.exists()
