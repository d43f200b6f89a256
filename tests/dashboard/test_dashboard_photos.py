"""Images of one's own: kept for other pages, for a reload and for a link."""

from pathlib import Path

import numpy as np
from pages import FASHION, bars, opened
from streamlit.testing.v1 import AppTest
from test_dashboard_app import encoded, uploaded

from xai.dashboard.session import uploads as photos

APP = Path(__file__).parents[2] / "app.py"


def test_an_image_of_ones_own_has_a_link_and_goes_along_to_other_pages():
    app = AppTest.from_file(str(APP), default_timeout=60)
    app.query_params["model"] = FASHION
    app.run()
    app.switch_page("xai/dashboard/pages/explain/page.py").run()
    uploaded(app, "my coat.png", encoded(np.tile(np.arange(28, dtype=np.uint8) * 9, (28, 1))))
    said, link = bars(app)[0], app.query_params["upload"]
    assert link == "upload:my-coat-" + link[-16:]
    again = opened("explain", model=FASHION, upload=link)  # another session, by the link
    assert bars(again)[0] == said
    assert ":material/image: my coat.png" in [one.value for one in again.markdown]
    app.switch_page("xai/dashboard/pages/stress/page.py").run()
    assert not app.exception
    assert app.query_params["upload"] == link
    assert bars(app)[0] == said
    next(button for button in app.button if button.label == "Remove").click().run()
    assert "upload" not in app.query_params
    assert bars(app)[0] != said
    app.switch_page("xai/dashboard/pages/explain/page.py").run()
    assert bars(app)[0] != said


def test_taking_the_file_out_of_the_uploader_takes_the_image_away():
    app = opened("explain", model=FASHION)
    said = bars(app)[0]
    uploaded(app, "ramp.png", encoded(np.tile(np.arange(28, dtype=np.uint8) * 9, (28, 1))))
    assert bars(app)[0] != said
    app.file_uploader(key="image").clear()
    app.run()
    assert bars(app)[0] == said
    assert "upload" not in app.query_params


def test_an_image_that_is_not_there_any_more_is_none():
    app = opened("explain", model=FASHION)
    sample = bars(app)[0]
    assert bars(opened("explain", model=FASHION, upload="upload:nothing-0123456789abcdef"))[0] == sample


def test_the_upload_store_keeps_only_some_images(monkeypatch):
    monkeypatch.setattr(photos, "_MOST_IMAGES", 2)
    kept = [photos.add_image(f"{k}.png", bytes([k])) for k in range(3)]
    assert [one.path.exists() for one in kept] == [False, True, True]
    same = photos.add_image("other.png", bytes([2]))
    assert same.path == kept[2].path
    assert same.open().open().read() == bytes([2])
