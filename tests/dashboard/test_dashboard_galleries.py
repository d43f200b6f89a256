"""Galleries: the opened image is in the address, and all images can be taken along."""

import json
from io import BytesIO
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from xai.dashboard.widgets.results import images_zip


def page():
    import numpy as np
    import streamlit as st

    from xai.dashboard.widgets.gallery import GalleryImage, choose_image, show_row

    shots = {k: GalleryImage(np.full((2, 2, 3), k, np.uint8), f"Bag {k}", f"Image {k}") for k in (4, 7)}
    about = st.text_input("about", "one", key="about")
    st.write(f"opened: {choose_image(shots, 'wrong', about)}")
    show_row(list(shots.values()), "row")


def gallery(**link):
    app = AppTest.from_function(page, default_timeout=60)
    for name, value in link.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def opened(app):
    """Return which image is open, as the page says it and as the address does."""
    address = app.query_params.get("opened_wrong")
    return app.markdown[0].value.removeprefix("opened: "), address[0] if isinstance(address, list) else address


def test_a_click_opens_an_image_and_the_address_says_so():
    app = gallery()
    assert opened(app) == ("None", None)
    app.button(key="wrong 7").click().run()
    assert opened(app) == ("7", "7")
    app.button(key="wrong 4").click().run()
    assert opened(app) == ("4", "4")


def test_a_link_opens_the_same_image():
    app = gallery(opened_wrong="7")
    assert opened(app)[0] == "7"
    app.button(key="wrong 4").click().run()  # a click wins
    assert opened(app) == ("4", "4")


@pytest.mark.parametrize("text", ["", "x", "-1", "\N{SUPERSCRIPT TWO}", "9" * 5000, "5"])
def test_a_link_to_nothing_opens_nothing(text):
    assert opened(gallery(opened_wrong=text))[0] == "None"


def test_of_something_else_no_image_is_open():
    app = gallery(opened_wrong="7")
    app.text_input(key="about").set_value("two").run()
    assert opened(app) == ("None", None)
    app.text_input(key="about").set_value("one").run()
    assert opened(app) == ("7", "7")


def test_every_gallery_and_row_offers_its_images():
    app = gallery()
    assert [button.proto.label for button in app.get("download_button")] == ["Images (.zip)"] * 2


def test_the_files_are_the_images_and_what_they_show():
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    words = {"04": (pixels, "Camión → Bag"), "07": (pixels + 1, "=1/../x")}
    content = images_zip(words)
    with ZipFile(BytesIO(content)) as archive:
        captions = json.loads(archive.read("captions.json"))
        assert list(captions.values()) == ["Camión → Bag", "=1/../x"]
        assert sorted(archive.namelist()) == sorted([*captions, "captions.json"])
        assert all("/" not in name and name.endswith(".png") for name in captions)
        for name, (wanted, _) in zip(captions, words.values(), strict=True):
            assert np.array_equal(np.asarray(Image.open(BytesIO(archive.read(name)))), wanted)
    assert images_zip(words) == content
