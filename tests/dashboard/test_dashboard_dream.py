"""The page "Dream" without a browser."""

import io

import numpy as np
import pytest
from pages import FASHION, opened, results, run_code, script_of
from PIL import Image

import xai
from xai.dashboard.widgets.results import saved

SHORT = {"model": FASHION, "octaves_noise": "2", "steps_noise": "4", "octaves_an image": "2", "steps_an image": "3"}


def dreamt(**more):
    app = opened("dream", **SHORT, **more)
    next(button for button in app.button if button.label == "Generate the image").click().run()
    assert not app.exception
    return app


def result(app):
    (found,) = [one for one in results(app).values() if isinstance(one, xai.results.DeepDream)]
    return found


def words(app):
    return "\n".join(str(one.value) for one in (*app.markdown, *app.caption, *app.error))


def test_a_class_is_dreamt_as_xai_does_it(tmp_path):
    app = dreamt(dream_class="Bag")
    wanted = xai.deep_dream(xai.load(FASHION), target="Bag", octaves=2, steps=4)
    found = result(app)
    np.testing.assert_array_equal(found.image, wanted.image)
    assert "Bag" in words(app)
    assert "Objective, step by step" in words(app)
    pictures = [image for shown in app.get("image") for image in shown.proto.imgs]
    assert len(pictures) == 1 + len(found.frames)
    assert all(image.alt for image in pictures)
    run_code(script_of(app).replace("d.plot()", "print('done')"), tmp_path)
    with Image.open(tmp_path / "dream.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), found.pixels)


def test_a_channel_of_a_layer_from_an_image():
    layer = xai.layers(xai.load(FASHION))[-1]
    app = dreamt(dream_goal="a layer", dream_start="an image", dream_layer=layer, dream_channel="3", dream_seed="5")
    found = result(app)
    assert (found.layer, found.channel, found.seed) == (layer, 3, 5)
    assert found.start != "noise"
    assert f"layer='{layer}', channel=3, octaves=2, steps=3, seed=5" in script_of(app).replace(", size=28", "")


@pytest.mark.parametrize(("channel", "sentence"), [("x", "Expected the number of a channel"), ("99999", "channel")])
def test_an_impossible_channel_gives_a_sentence(channel, sentence):
    layer = xai.layers(xai.load(FASHION))[-1]
    app = opened("dream", **SHORT, dream_goal="a layer", dream_layer=layer, dream_channel=channel)
    if not app.error:
        next(button for button in app.button if button.label == "Generate the image").click().run()
    assert not app.exception
    assert sentence in app.error[0].value


def test_a_dream_stops_and_the_model_is_free_again(monkeypatch):
    seen = []

    def dream(model, **settings):
        seen.append(settings["should_stop"]())
        raise xai.Stopped("Stopped, as asked.")

    monkeypatch.setattr(xai, "deep_dream", dream)
    app = dreamt()
    assert seen == [False]
    assert "Stopped, as asked" in app.error[0].value


def test_image_and_film_are_saved():
    found = xai.deep_dream(xai.load(FASHION), target="Bag", octaves=2, steps=2)
    with Image.open(io.BytesIO(saved(found, "dream.gif"))) as film:
        assert film.n_frames == len(found.frames)
    with Image.open(io.BytesIO(saved(found, "dream.png"))) as picture:
        assert picture.size == found.pixels.shape[1::-1]
