"""Chromium looks at the viewer by itself: several maps together, and names that try to be more than text."""

import re

import pytest
from chromium import canvas_of, pixels, read, script

pytestmark = pytest.mark.browser
MINUS = "\u2212"
MANY = """
import numpy as np
import streamlit as st
from xai.dashboard.widgets.gallery import MapPanel, pack, show_maps
st.set_page_config(layout="wide")
rows, columns = np.mgrid[0:1500, 0:2000].astype(np.float32)
maps = [rows * columns, rows - columns, -1e-6 * columns]
panels = [MapPanel(f"map {k}", values, "logit", f"Sentence {k}.") for k, values in enumerate(maps)]
show_maps(pack(np.zeros((1500, 2000, 3), np.uint8), panels, (0, 0, 1500, 2000)), key="many")
"""


HOSTILE = """
from types import SimpleNamespace
import numpy as np
from xai.dashboard.pages.explain.page import choose_classes
from xai.dashboard.widgets.inputs import show_prediction
from xai.dashboard.widgets.gallery import MapPanel, pack, show_maps
from xai.dashboard.widgets.background import stop_on_error
import xai
evil = "<img src='http://evil.example/a' onerror='alert(1)'>![x](http://evil.example/b.png) :red[$x$]"
prediction = SimpleNamespace(label=evil, class_names=(evil, "b"), top=lambda k: [(evil, 0.9)])
choose_classes(prediction)
show_prediction(prediction)
values = np.ones((20, 20), np.float32)
show_maps(pack(np.zeros((20, 20, 3), np.uint8), [MapPanel(evil, values, evil, evil)], (0, 0, 20, 20)), key="evil")
with stop_on_error():
    raise xai.InputError(evil)
"""


def shown(page, name):
    """Return the text of an element, without the joiners that break links."""
    return page.get_by_test_id(name).inner_text().replace("\u2060", "")


def test_hostile_names_are_text(page, tmp_path):
    dialogs = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    with script(HOSTILE, tmp_path) as address:
        page.goto(address)
        canvas_of(page)
        evil = page.locator(".viewer .title").inner_text()
        assert evil.startswith("<img src='http://evil.example/a'")
        assert shown(page, "stAlert").endswith(evil)
        assert evil[:50] in shown(page, "stProgress")
        chooser = page.get_by_role("combobox", name="Why this class?")
        assert chooser.get_attribute("placeholder") == f"predicted: {evil}"
        chooser.press("ArrowDown")
        options = page.get_by_role("listbox").get_by_role("option")
        options.nth(1).wait_for()
        assert options.all_inner_texts() == [evil, "b"]
        assert page.locator("img, a[href*=evil]").count() == 0
        assert dialogs == []
        page.goto("about:blank")


def test_several_maps_move_together(page, tmp_path):
    with script(MANY, tmp_path) as address:
        page.goto(address)
        canvas = canvas_of(page)
        assert page.locator(".viewer canvas").count() == 3
        hint = page.locator(".hint").inner_text()
        assert re.search("Shown at 640 . 480; values are those of the original 2000 . 1500 pixels", hint)
        box = canvas.bounding_box()
        page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.6 * box["height"])
        page.mouse.wheel(0, -300)
        page.wait_for_timeout(300)
        column, row, _ = read(page)
        assert abs(column - 800) < 9
        assert abs(row - 900) < 9
        texts = page.locator(".tip .value").all_inner_texts()
        found = [float(text.replace(MINUS, "-")) for text in texts]
        assert found == [float(f"{value:.4g}") for value in (row * column, row - column, -1e-6 * column)]
        assert len({tip.bounding_box()["y"] for tip in page.locator(".tip").all()}) == 1
        assert page.locator(".ticks .low").all_inner_texts() == ["0", f"{MINUS}1999", f"{MINUS}0.001999"]
        before = pixels(page, 2)
        page.locator(".viewer .whole").click()
        assert pixels(page, 2) != before
        page.goto("about:blank")
