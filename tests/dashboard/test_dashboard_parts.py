"""The parts of the dashboard that need no page: words, files, what the viewer gets, how the server is started."""

import base64
import io
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pages import run_code
from PIL import Image

import xai
from xai.dashboard.server.launch import FLAGS, command, launch
from xai.dashboard.session.tasks import ResultCache
from xai.dashboard.text import correlation, t
from xai.dashboard.text.code import call_for, code_for, file_stem
from xai.dashboard.text.words import (
    _SPOKEN,
    UPLOAD_PREFIX,
    describe_map,
    describe_preprocessing,
    number_list,
    percent,
    safe,
    sentence,
)
from xai.dashboard.widgets.gallery import MapPanel, pack, shown_pixels
from xai.dashboard.widgets.results import agreement_zip, image_png, map_npy, result_zip

CONFIG = Path(__file__).parents[2] / ".streamlit" / "config.toml"


@pytest.fixture(scope="module")
def explanation():
    pixels = np.linspace(0, 1, 28 * 28, dtype=np.float32).reshape(28, 28)
    return xai.explain(xai.load("example:fashion"), pixels, target="Bag")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("T-shirt/top", "T-shirt/top"),
        ("![x](http://evil.example/x)", "\\!\\[x\\]\\(http\\:\u2060//evil.example/x\\)"),
        ("www.evil.example me@evil.example", "www\u2060.evil.example me@\u2060evil.example"),
        ("<img src=x>", r"\<img src=x\>"),
        (":red[hi] $x$ `code`", r"\:red\[hi\] \$x\$ \`code\`"),
        ("a\x1b[31mb\nc", r"a \[31mb c"),
        ("x" * 500, "x" * 399 + "…"),
    ],
)
def test_safe_text_is_literal(text, shown):
    assert safe(text) == shown


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (1.0, "100 %"), (0.0002, "<0.1 %"), (0.9996, ">99.9 %"), (0.0153, "1.5 %"), (0.473, "47 %")],
)
def test_percentages_do_not_round_to_certainty(share, text):
    assert percent(share) == text


def test_sentences_have_a_capital_and_an_end():
    assert sentence("the map is 0") == "The map is 0."
    assert sentence("Done!") == "Done!"


def test_the_sentence_about_a_map_says_where_it_lies():
    spot = np.zeros((30, 60), np.float32)
    spot[0:5, 0:9] = 2.0
    assert describe_map("Grad-CAM", "espresso", spot) == (
        "Grad-CAM for espresso: half of the attribution lies in 1.3 % of the image, centre upper left."
    )
    even = np.ones((30, 30), np.float32)
    assert describe_map("X", "y", even).endswith("lies in 50 % of the image, centre in the middle.")
    signed = np.where(np.arange(30) < 15, -1, 9).astype(np.float32)[None].repeat(30, 0)
    assert describe_map("X", "y", signed).endswith("centre middle right; 10 % of it is evidence against the class.")
    assert describe_map("X", "y", 0 * even) == "X for y: the map is 0 everywhere."


def test_preprocessing_is_said_in_words():
    said = describe_preprocessing(xai.load("example:fashion").preprocessing)
    assert said.startswith("Images become 28 x 28 pixels (grey): ")
    assert "mean 0.286 and std 0.353" in said


def test_the_code_makes_the_image(tmp_path):
    code = "xai.load_data('example:fashion-test').images[0]"
    text = code_for("xai.load('example:fashion')", code, [call_for("gradcam", "Bag", 0, {"layer": "features.2"})])
    run_code(text, tmp_path)
    with Image.open(tmp_path / "explanation.png") as picture:
        assert picture.format == "PNG"


def test_the_code_of_several_methods_makes_one_image(tmp_path):
    extras = {"versus": "Coat", "score": "probability"}
    calls = [call_for(method, ["Bag", "Shirt"], 0, extras) for method in ("gradcam", "occlusion")]
    text = code_for("xai.load('example:fashion')", "xai.load_data('example:fashion-test').images[0]", calls)
    run_code(text, tmp_path)
    with Image.open(tmp_path / "side_by_side.png") as picture:
        assert picture.format == "PNG"


def test_names_in_the_code_stay_strings():
    text = code_for("xai.load('m')", repr("'); import os; ('"), [call_for("gradcam", "it's", 3, {})])
    assert (
        """image = "'); import os; ('"\ne = xai.explain(clf, image, method='gradcam', target="it's", seed=3)\n"""
        in text
    )


def test_file_names_are_tame():
    assert file_stem("../../etc/passwd", "T-shirt/top", "gradcam") == "etc-passwd_t-shirt-top_gradcam"
    assert file_stem("…", "") == "explanation"
    assert file_stem("gradcam++") == "gradcamplusplus"


def test_figures_have_their_names():
    assert number_list({"gap": -0.42204, "random maps": 12345.0}) == "gap \N{MINUS SIGN}0.422, random maps 1.23e+04"


def test_the_image_is_a_png(explanation):
    assert Image.open(io.BytesIO(image_png(explanation))).size[0] > 500


def test_the_raw_map_is_the_map(explanation):
    loaded = np.load(io.BytesIO(map_npy(explanation)), allow_pickle=False)
    np.testing.assert_array_equal(loaded, explanation.heatmap)


def test_the_zip_loads_again_and_is_the_same_each_time(explanation, tmp_path):
    content = result_zip(explanation)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["manifest.json", "overlay.png", "values.npz"]
        archive.extractall(tmp_path)
    np.testing.assert_array_equal(xai.Explanation.load(tmp_path).heatmap, explanation.heatmap)
    assert len(result_zip(explanation)) == len(content)


def test_all_methods_fit_into_one_zip(explanation, tmp_path):
    other = xai.explain(xai.load("example:fashion"), explanation.images[0], "hirescam", "Bag")
    with zipfile.ZipFile(io.BytesIO(agreement_zip(xai.agreement([explanation, other])))) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path)
    folders = [f"{name}/{file}" for name in ("gradcam", "hirescam") for file in ("manifest.json", "values.npz")]
    assert {"side_by_side.png", "gradcam.png", "hirescam.png", *folders} <= set(names)
    np.testing.assert_array_equal(xai.Explanation.load(tmp_path / "hirescam").heatmap, other.heatmap)


def test_maps_of_several_classes_are_saved_together():
    found = xai.explain(xai.load("example:fashion"), np.zeros((28, 28), np.float32), target=[1, 2, 3])
    assert np.load(io.BytesIO(map_npy(found)), allow_pickle=False).shape == (3, 28, 28)


def test_what_is_kept_forgets_what_was_used_longest_ago(explanation, monkeypatch):
    kept = ResultCache()
    monkeypatch.setattr("xai.dashboard.session.tasks._MOST_BYTES", 0)
    for k in range(12):
        kept.keep((k,), explanation)
    assert kept.find((0,)) is explanation  # used again
    kept.keep((12,), explanation)
    assert kept.find((1,)) is None
    assert kept.find((0,)) is kept.find((12,)) is explanation


def unpacked(data, k=0):
    flat = np.frombuffer(base64.b64decode(data["panels"][k]["values"]), "<f4")
    return flat.reshape(data["image"]["height"], data["image"]["width"])


def picture_of(data):
    return Image.open(io.BytesIO(base64.b64decode(data["image"]["src"].split(",", 1)[1])))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_small_image_is_sent_as_it_is(channels):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (20, 30, channels), np.uint8)
    values = rng.standard_normal((20, 30)).astype(np.float32)
    data = pack(picture, [MapPanel("t", values, "u", "a")], (0, 0, 20, 30))
    np.testing.assert_array_equal(unpacked(data), values)
    np.testing.assert_array_equal(np.asarray(picture_of(data)).reshape(picture.shape), picture)
    assert (data["panels"][0]["low"], data["panels"][0]["high"]) == (values.min(), values.max())


@pytest.mark.parametrize(("panels", "most"), [(1, 1024), (2, 1024), (3, 640), (7, 400)])
def test_a_large_image_is_shown_smaller_with_values_unchanged(panels, most):
    values = np.arange(1500 * 3000, dtype=np.float32).reshape(1500, 3000)
    data = pack(np.zeros((1500, 3000, 3), np.uint8), [MapPanel("t", values, "u", "a")] * panels, (0, 0, 1500, 3000))
    assert (data["image"]["width"], data["image"]["height"]) == (most, most // 2)
    assert (data["image"]["columns"], data["image"]["rows"]) == (3000, 1500)
    assert picture_of(data).size == (most, most // 2)
    rows, columns = (shown_pixels(side, (1500, 3000), panels) for side in (1500, 3000))
    np.testing.assert_array_equal(unpacked(data, panels - 1), values[np.ix_(rows, columns)])
    assert columns[0] == int(0.5 * 3000 / most)


def test_thin_images_keep_a_pixel():
    data = pack(
        np.zeros((1, 5000, 3), np.uint8), [MapPanel("t", np.ones((1, 5000), np.float32), "u", "a")], (0, 0, 1, 5000)
    )
    assert (data["image"]["width"], data["image"]["height"]) == (1024, 1)


def test_the_server_is_started_safely():
    line = command(8600, headless=True)
    assert line[:4] == [sys.executable, "-m", "xai.dashboard.server.launch", "run"]
    assert Path(line[4]).is_file()
    for flag in (
        "--server.address=127.0.0.1",
        "--server.allowedHosts=localhost",
        "--server.allowedHosts=127.0.0.1",
        "--server.enableCORS=true",
        "--server.enableXsrfProtection=true",
        "--server.enableStaticServing=false",
        "--server.maxUploadSize=200",
        "--server.fileWatcherType=none",
        "--browser.gatherUsageStats=false",
        "--client.showErrorDetails=none",
        "--server.headless=true",
        "--server.port=8600",
    ):
        assert flag in line


def test_the_checkout_is_configured_in_the_same_way():
    config = tomllib.loads(CONFIG.read_text(encoding="utf-8"))
    flat = {}

    def walk(table, prefix):
        for name, value in table.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{name}.")
            else:
                flat[prefix + name] = tuple(value) if isinstance(value, list) else value

    walk(config, "")
    assert flat == dict(FLAGS)


def test_it_does_not_open_to_others():
    with pytest.raises(xai.XaiError, match="listens on this machine only"):
        launch(public=True)


def test_model_and_data_reach_the_server(monkeypatch):
    seen = {}

    class Server:
        def __init__(self, line, env):
            seen.update(env)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def wait(self):
            return 0

        def terminate(self):
            pass

    monkeypatch.setattr("xai.dashboard.server.launch.subprocess.Popen", Server)
    assert launch(None, "weights.safetensors", "images/") == 0
    assert seen["XAI_DASHBOARD_MODEL"] == "weights.safetensors"
    assert seen["XAI_DASHBOARD_DATA"] == "images/"


@pytest.mark.parametrize("port", [0, -1, 70_000])
def test_impossible_ports_are_refused(port):
    with pytest.raises(xai.XaiError, match="port from 1 to 65535"):
        launch(port)


def test_bad_arguments_give_one_line_and_exit_code_2():
    run = subprocess.run(
        [sys.executable, "-m", "xai.dashboard", "--public"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert run.stderr.startswith("xai: The dashboard listens on this machine only")


def test_where_uploads_are_kept_is_not_shown():
    place = f"/somewhere/{UPLOAD_PREFIX}a1_b/images-{'0123456789abcdef' * 4}/cat/1.png"
    assert safe(f"{place}: no image") == "cat/1.png\\: no image"
    assert safe("my-xai-dashboard-notes/1.png") == "my-xai-dashboard-notes/1.png"


def test_numbers_of_a_spanish_page_have_the_form_of_the_language():
    token = _SPOKEN.set("es")
    try:
        assert percent(0.0498) == "5,0 %"
        assert correlation(-0.498) == "\N{MINUS SIGN}0,50"
        assert t("Seed {n:,}", n=4652008) == "Seed 4.652.008"
    finally:
        _SPOKEN.reset(token)
    assert percent(0.0498) == "5.0 %"
