"""Chromium drives the real dashboard: upload, explain, hover, looks, zoom, keyboard, downloads."""

import http.client
import re
import zipfile

import numpy as np
import pytest
import skimage.data
from chromium import WAIT, canvas_of, pixels, read, slide
from PIL import Image

import xai

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "my coffee.png"
    Image.fromarray(skimage.data.coffee()).save(path)
    return path


@pytest.fixture(scope="module")
def wanted(photo):
    return xai.explain(xai.load("efficientnet_lite0"), photo)


def upload(page, photo):
    page.locator("input[type=file]").set_input_files(photo)
    page.locator("figcaption", has_text="espresso").wait_for()
    return canvas_of(page)


def digits(value):
    return format(float(f"{value:.4g}"), "g")


def test_upload_explain_hover_looks_and_downloads(page, address, photo, wanted, tmp_path):
    sent = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    page.goto(f"{address}/explain?photo=chelsea")
    canvas_of(page)
    assert "espresso" not in page.locator(".viewer .title").first.inner_text()
    canvas = upload(page, photo)
    assert (
        page.locator(".viewer .title").first.inner_text()
        == f"Grad-CAM for {wanted.target_names[0]}"
        == "Grad-CAM for espresso"
    )
    hover_reads_the_values(page, canvas, wanted)
    looks_compute_nothing(page, sent)
    downloads_open(page, wanted, tmp_path)


def hover_reads_the_values(page, canvas, wanted):
    box = canvas.bounding_box()
    seen = []
    for across, down in [(0.5, 0.5), (0.4, 0.3), (0.6, 0.45), (0.51, 0.62), (0.02, 0.5)]:
        page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
        page.wait_for_timeout(100)
        column, row, text = read(page)
        height, width = wanted.heatmap.shape
        assert abs(column - across * width) <= 1
        assert abs(row - down * height) <= 1
        assert float(text) == pytest.approx(float(wanted.heatmap[row, column]), rel=2e-3, abs=1e-6)
        seen.append(text)
    assert digits(float(seen[0])) == seen[0]
    assert len(set(seen)) > 3
    assert seen[-1] == "0"
    assert "not seen by the model" in page.locator(".tip .place").first.inner_text()


def looks_compute_nothing(page, sent):
    before = len(sent)
    page.mouse.move(5, 5)
    states = [pixels(page)]
    slide(page, "opacity", "30")
    states.append(pixels(page))
    assert page.locator(".opacity-text").inner_text() == "30 %"
    slide(page, "threshold", "50")
    states.append(pixels(page))
    page.locator(".viewer .colours").select_option("viridis")
    states.append(pixels(page))
    for mode in ("map", "image", "overlay"):
        page.locator(f".modes input[value={mode}]").check(force=True)
        states.append(pixels(page))
    page.locator(".viewer .in").click()
    states.append(pixels(page))
    assert len(set(states)) == len(states) - 1  # back in the overlay it looks as before
    page.locator(".viewer .whole").click()
    assert pixels(page) == states[3]
    assert len(sent) == before


def downloads_open(page, wanted, folder):
    for label, suffix in [("Image", "png"), ("Everything", "zip"), ("Raw map", "npy")]:
        with page.expect_download() as waiting:
            page.get_by_role("button", name=f"{label} (.{suffix})").click()
        assert waiting.value.suggested_filename == f"my-coffee_espresso_gradcam.{suffix}"
        waiting.value.save_as(folder / f"got.{suffix}")
    with Image.open(folder / "got.png") as picture:
        assert picture.format == "PNG"
    with zipfile.ZipFile(folder / "got.zip") as archive:
        archive.extractall(folder / "whole")
    loaded = xai.Explanation.load(folder / "whole")
    assert loaded.target_names == wanted.target_names
    np.testing.assert_allclose(loaded.heatmap, wanted.heatmap, atol=1e-5)
    np.testing.assert_allclose(np.load(folder / "got.npy", allow_pickle=False), wanted.heatmap, atol=1e-5)


def choose_method(page, title):
    page.get_by_role("combobox", name="Methods, side by side").click()
    page.keyboard.type(title)
    page.get_by_role("option", name=re.compile(f"^{title}")).click()
    page.keyboard.press("Escape")


def test_two_methods_beside_each_other_and_a_rating(page, address):
    page.goto(f"{address}/explain?model=example:fashion")
    canvas_of(page)
    choose_method(page, "Occlusion")
    page.locator(".viewer .title", has_text="Disagreement for T-shirt/top").wait_for()
    canvas = canvas_of(page)
    assert "method=gradcam%2Cocclusion" in page.url
    assert page.locator(".viewer canvas").count() == 3
    tops = {round(picture.bounding_box()["y"]) for picture in page.locator(".viewer canvas").all()}
    assert len(tops) == 1  # beside each other
    data = xai.load_data("example:fashion-test")
    image = data.images[int(np.flatnonzero(np.asarray(data.labels) == 0)[0])]
    found = [xai.explain(xai.load("example:fashion"), image, name) for name in ("gradcam", "occlusion")]
    maps = [*(e.heatmap for e in found), xai.agreement(found).disagreements[0]]
    box = canvas.bounding_box()
    for column, row in [(14, 9), (10, 20)]:
        page.mouse.move(box["x"] + (column + 0.5) / 28 * box["width"], box["y"] + (row + 0.5) / 28 * box["height"])
        page.wait_for_timeout(100)
        texts = page.locator(".tip .value").all_inner_texts()
        for text, values in zip(texts, maps, strict=True):
            wanted = float(values[row, column])
            assert float(text.replace("\N{MINUS SIGN}", "-")) == pytest.approx(wanted, rel=2e-3, abs=1e-6)
    page.get_by_role("button", name="Check all maps").click()
    said = page.get_by_test_id("stAlert").first
    said.wait_for()
    word = said.inner_text().split()[-1]
    rating = xai.rate_explanation(xai.load("example:fashion"), image, found[0])
    assert word.lower() == rating.verdict
    chips = page.get_by_test_id("stMarkdownContainer").filter(has_text="Occlusion sensitivity: ").first
    chips.wait_for()
    assert page.get_by_role("button", name="Check all maps").count() == 0


def test_long_work_can_be_stopped_and_run_again(page, address):
    page.goto(f"{address}/explain?photo=coffee&method=gradcam,scorecam")
    canvas_of(page)
    for _ in range(2):
        page.get_by_text(re.compile(r"^Score-CAM · [1-9][.\d]* %$")).wait_for()
        page.get_by_role("button", name="Stop", exact=True).last.click()
        page.get_by_text("Score-CAM: stopped.").wait_for()
        assert page.locator(".viewer canvas").count() == 1  # the other one stays
        page.get_by_role("button", name="Run it again").click()
    page.goto("about:blank")


def test_keyboard_zoom_and_pan(page, address):
    page.goto(f"{address}/explain?model=example:fashion")
    canvas = canvas_of(page)
    assert canvas.get_attribute("aria-label").startswith("Grad-CAM for T-shirt/top: half of the attribution lies in ")
    canvas.focus()
    for key in ("ArrowRight", "ArrowDown", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    assert page.locator(".live").inner_text().startswith("x 5, y 15: Grad-CAM for T-shirt/top ")
    page.locator(".viewer .strongest").click()
    page.wait_for_timeout(100)
    assert read(page)[2] == page.locator(".ticks .high").first.inner_text()
    whole = pixels(page)
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.27 * box["width"], box["y"] + 0.27 * box["height"])
    page.wait_for_timeout(100)
    before = read(page)
    page.mouse.wheel(0, -400)
    page.wait_for_timeout(200)
    assert read(page) == before  # the pixel under the pointer stays there
    assert "zoomed" in page.locator(".viewer").get_attribute("class")
    zoomed = pixels(page)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.17 * box["width"], box["y"] + 0.22 * box["height"], steps=3)
    page.mouse.up()
    assert read(page) == before  # it went with the pointer
    assert len({whole, zoomed, pixels(page)}) == 3
    page.keyboard.press("Escape")
    assert not page.locator(".tip").first.is_visible()


def test_settings_layers_and_a_report(page, address, tmp_path):
    page.goto(f"{address}/explain?model=example:fashion")
    canvas_of(page)
    page.get_by_text("Settings of Grad-CAM").click()
    page.get_by_text("Only in favour").click()
    page.wait_for_url("**relu_gradcam=false**")
    page.get_by_text("At other layers").click()
    page.locator("figure, [data-testid=stImage]").filter(has_text="features.2").wait_for()
    choices = page.get_by_role("button", name="Choose", exact=True)
    choices.nth(1).click()
    page.wait_for_url("**layer_gradcam=features.2**")
    page.get_by_text("named by the caller").wait_for()
    page.get_by_role("button", name="Add to report").click()
    page.get_by_role("button", name="Report · 1").click()
    page.get_by_placeholder("What does it show?").fill("The collar.")
    page.keyboard.press("Tab")
    page.wait_for_timeout(1000)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="HTML (.html)").click()
    waiting.value.save_as(tmp_path / "report.html")
    page.goto("about:blank")
    page.set_content((tmp_path / "report.html").read_text())
    assert page.get_by_text("The collar.").is_visible()
    page.locator(".explore summary").click()
    page.locator(".viewer-host canvas").hover()
    assert float(page.locator(".viewer-host .tip .value").inner_text().replace("\u2212", "-")) != 0


def test_looks_survive_another_class(page, address):
    page.goto(f"{address}/explain?model=example:fashion")
    canvas_of(page)
    slide(page, "opacity", "40")
    page.locator(".viewer .in").click()
    page.get_by_role("combobox", name="Why this class?").click()
    page.keyboard.type("Bag")
    page.keyboard.press("Enter")
    page.locator(".viewer .title", has_text="Grad-CAM for Bag").wait_for()
    assert page.locator(".opacity-text").inner_text() == "40 %"
    assert "zoomed" in page.locator(".viewer").get_attribute("class")
    assert "class=Bag" in page.url


@pytest.mark.parametrize("scheme", ["dark", pytest.param("light", marks=pytest.mark.slow)])  # other pages: in light
def test_it_fits_a_phone(browser, address, scheme):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.goto(f"{address}/explain?model=example:fashion")
    canvas = canvas_of(page)
    box = canvas.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_timeout(100)
    assert read(page)[:2] == (14, 14)
    context.close()


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1", "http://127.0.0.1", 101),
        ("evil.example", "http://127.0.0.1", 403),  # DNS rebinding
        ("127.0.0.1", "http://evil.example", 403),  # another page in the same browser
    ],
)
def test_other_hosts_and_origins_are_turned_away(address, host, origin, status):
    port = int(address.rsplit(":", 1)[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("GET", "/_stcore/stream", skip_host=True)
    headers = {"Host": f"{host}:{port}", "Origin": f"{origin}:{port}", "Upgrade": "websocket", "Connection": "Upgrade"}
    headers |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw=="}
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.sock.recv(64)
    connection.close()
    assert answer.startswith(f"HTTP/1.1 {status}".encode())
