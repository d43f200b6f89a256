"""The page "Explain" without a browser: explanations that are kept for a report."""

import re

import numpy as np
import pytest
from pages import FASHION, opened, shirt
from streamlit.testing.v1 import AppTest

import xai
from xai.dashboard.pages.explain import result as kept
from xai.dashboard.session.models import ExplanationRequest, PageExplanation
from xai.dashboard.widgets import audit_view


def explained(**parameters):
    return opened("explain", model=FASHION, **parameters)


def entries(app):
    return app.session_state["report_basket"].entries


def report(app):
    """Return the label of the place, without its icon."""
    return next(block.proto.popover.label for block in app.get("popover"))


def written(app, kind="html", language="en"):
    return kept._written(entries(app), kind, language)


def test_an_explanation_is_added_once_with_its_note_and_removed():
    app = explained()
    assert report(app) == "Report · 0"
    app.button(key="keep gradcam").click().run()
    assert report(app) == "Report · 1"
    assert app.button(key="keep gradcam").disabled
    app.text_area(key="note 0").set_value("The collar, <b>not</b> the print.").run()
    assert "The collar, &lt;b&gt;not&lt;/b&gt; the print." in written(app).decode()
    assert "Grad-CAM para T-shirt/top" in written(app, language="es").decode()
    app.button(key="remove 0").click().run()
    assert not app.exception
    assert report(app) == "Report · 0"
    assert not app.button(key="keep gradcam").disabled


def test_other_answers_join_and_notes_stay_with_theirs():
    app = explained(method="gradcam,layercam")
    app.button(key="keep gradcam").click().run()
    app.button(key="keep layercam").click().run()
    app.text_area(key="note 1").set_value("second").run()
    app.pills(key="garment").select("Bag").run()
    app.button(key="keep gradcam").click().run()
    app.button(key="remove 0").click().run()
    assert [(entry.title, entry.note) for entry in entries(app)] == [
        ("LayerCAM for T-shirt/top", "second"),
        ("Grad-CAM for Bag", ""),
    ]
    assert app.text_area(key="note 1").value == "second"
    wanted = xai.explain(xai.load(FASHION), shirt(), "layercam")
    np.testing.assert_allclose(entries(app)[0].explanation.heatmap, wanted.heatmap, atol=1e-5)


def test_a_rating_that_comes_later_goes_along():
    app = explained()
    app.button(key="keep gradcam").click().run()
    assert entries(app)[0].rating is None
    app.button(key="check_maps").click().run()
    app.run()
    assert not app.exception
    assert entries(app)[0].rating.target_names == ("T-shirt/top",)
    assert "Check of the map (T-shirt/top)" in written(app).decode()


def test_only_so_many_fit(monkeypatch):
    monkeypatch.setattr(kept, "MOST", 1)
    app = explained(method="gradcam,layercam")
    app.button(key="keep gradcam").click().run()
    assert app.button(key="keep layercam").disabled
    assert app.button(key="keep layercam").help.startswith("The report is full")
    app.button(key="remove 0").click().run()
    assert not app.button(key="keep layercam").disabled


def test_what_is_kept_has_a_limit_in_memory(monkeypatch):
    method = next(info for info in xai.methods() if info.name == "saliency")
    found = xai.explain(xai.load(FASHION), shirt(), "saliency")
    answer = PageExplanation(ExplanationRequest(method, (), None, "logit", {}, 0), found, ("explanation",))
    basket = kept.ReportBasket()
    assert basket.room_for(answer.explanation)
    monkeypatch.setattr(kept, "_MOST_BYTES", kept.size_of(found) - 1)
    assert not basket.room_for(answer.explanation)


def test_sessions_do_not_see_each_other():
    first, second = explained(), explained()
    first.button(key="keep gradcam").click().run()
    assert report(second.run()) == "Report · 0"


def test_without_weasyprint_the_command_is_named(monkeypatch):
    real = audit_view.find_spec
    monkeypatch.setattr(audit_view, "find_spec", lambda name: None if name == "weasyprint" else real(name))
    app = explained()
    app.button(key="keep gradcam").click().run()
    html, pdf = (one for one in app.get("download_button") if one.proto.label.startswith(("HTML", "PDF")))
    assert not html.proto.disabled
    assert pdf.proto.disabled
    assert "xai-toolkit[pdf]" in pdf.proto.help


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "![x](http://evil.example/x.png)"])
def test_names_are_text_on_the_page_and_in_the_file(name):
    def page(name):
        import dataclasses

        import xai
        from xai.dashboard.pages.explain.result import offer_to_add, report_basket, show_basket
        from xai.dashboard.session.models import ExplanationRequest, PageExplanation

        picture = xai.load_data("example:fashion-test").images[0]
        found = xai.explain(xai.load("example:fashion"), picture)
        found = dataclasses.replace(found, target_names=(name,), image_names=(name,), predictions=(name,))
        method = next(info for info in xai.methods() if info.name == "gradcam")
        answer = PageExplanation(ExplanationRequest(method, (), None, "logit", {}, 0), found, ("explanation", name))
        if not report_basket().entries:
            report_basket().add(answer)
        offer_to_add(answer)
        show_basket()

    app = AppTest.from_function(page, default_timeout=60, kwargs={"name": name}).run()
    assert not app.exception
    assert "http:" not in app.markdown[0].value
    assert re.findall(r"(?<!\\)[<\[]", app.markdown[0].value) == []
    text = written(app).decode()
    assert "<script>alert" not in text
    assert 'src="http' not in text
    assert text.count(" alt=") == 2
