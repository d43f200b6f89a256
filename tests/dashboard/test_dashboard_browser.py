"""Chromium drives the real dashboard: upload, explain, hover, looks, zoom, keyboard, downloads."""

import http.client
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
import skimage.data
from PIL import Image

import xai
from xai.dashboard.launch import command

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT = 90_000  # milliseconds; the first answer waits for torch
HEIGHT = 1000
MINUS = "\u2212"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
        return answer.status


def wait_for(url, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            return get(url)
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(url)


@contextmanager
def served(line, port, folder):
    """Run a server away from the checkout and its configuration."""
    log = (folder / "log.txt").open("w")
    with log, subprocess.Popen(line, cwd=folder, stdout=log, stderr=subprocess.STDOUT) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/_stcore/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Start the dashboard as `xai dashboard` does."""
    port = free_port()
    line = [sys.executable, "-m", "xai.dashboard", "--port", str(port)]
    with served(line, port, tmp_path_factory.mktemp("server")) as address:
        yield address
    with pytest.raises(OSError, match="refused"):  # the server ended with its parent
        get(f"{address}/_stcore/health")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def page(browser):
    """A page that must not complain, nor talk to anybody else."""
    complaints, strangers = [], []
    context = browser.new_context(viewport={"width": 1280, "height": HEIGHT}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: strangers.append(request.url) if foreign(request.url) else None)
    yield page
    context.close()
    assert complaints == []
    assert strangers == []


def foreign(url):
    return not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "my coffee.png"
    Image.fromarray(skimage.data.coffee()).save(path)
    return path


@pytest.fixture(scope="module")
def wanted(photo):
    return xai.explain(xai.load("efficientnet_lite0"), photo)


def canvas_of(page):
    canvas = page.locator(".viewer canvas").first
    canvas.wait_for()
    canvas.scroll_into_view_if_needed()
    page.wait_for_function("() => !document.querySelector('[data-testid=stSpinner]')")
    return canvas


def upload(page, photo):
    page.locator("input[type=file]").set_input_files(photo)
    page.locator("figcaption", has_text="espresso").wait_for()
    return canvas_of(page)


def read(page):
    """Return column, row and the value as text, as the tooltip has them."""
    place = page.locator(".tip .place").first.inner_text()
    column, row = (int(number) for number in re.findall(r"\d+", place)[:2])
    return column, row, page.locator(".tip .value").first.inner_text()


def digits(value):
    return format(float(f"{value:.4g}"), "g")


def pixels(page, k=0):
    """Return what is on the canvas, as a number that any change changes."""
    script = "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let s = 0;"
    script += " for (let k = 0; k < d.length; k += 7) s = (s * 31 + d[k]) % 2147483647; return s }"
    page.wait_for_timeout(100)  # a frame
    return page.locator(".viewer canvas").nth(k).evaluate(script)


def slide(page, name, value):
    page.locator(f".viewer .{name}").evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', {bubbles: true})) }", value
    )


def test_upload_explain_hover_looks_and_downloads(page, address, photo, wanted, tmp_path):
    sent = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    page.goto(f"{address}/?photo=chelsea")
    canvas_of(page)
    assert "espresso" not in page.locator(".viewer .title").first.inner_text()
    canvas = upload(page, photo)
    assert (
        page.locator(".viewer .title").first.inner_text()
        == f"Grad-CAM for {wanted.labels[0]}"
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
    for mode in ("map", "picture", "overlay"):
        page.locator(f".modes input[value={mode}]").check(force=True)
        states.append(pixels(page))
    page.locator(".viewer .in").click()
    states.append(pixels(page))
    assert len(set(states)) == len(states) - 1  # back in the overlay it looks as before
    page.locator(".viewer .whole").click()
    assert pixels(page) == states[3]
    assert len(sent) == before


def downloads_open(page, wanted, folder):
    for label, suffix in [("Picture", "png"), ("Everything", "zip"), ("Raw map", "npy")]:
        with page.expect_download() as waiting:
            page.get_by_role("button", name=f"{label} (.{suffix})").click()
        assert waiting.value.suggested_filename == f"my-coffee_espresso_gradcam.{suffix}"
        waiting.value.save_as(folder / f"got.{suffix}")
    with Image.open(folder / "got.png") as picture:
        assert picture.format == "PNG"
    with zipfile.ZipFile(folder / "got.zip") as archive:
        archive.extractall(folder / "whole")
    loaded = xai.Explanation.load(folder / "whole")
    assert loaded.labels == wanted.labels
    np.testing.assert_allclose(loaded.heatmap, wanted.heatmap, atol=1e-5)
    np.testing.assert_allclose(np.load(folder / "got.npy", allow_pickle=False), wanted.heatmap, atol=1e-5)


def test_keyboard_zoom_and_pan(page, address):
    page.goto(f"{address}/?model=example:fashion")
    canvas = canvas_of(page)
    assert canvas.get_attribute("aria-label").startswith("Grad-CAM for T-shirt/top: half of the map's mass lies in ")
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


def test_looks_survive_another_class(page, address):
    page.goto(f"{address}/?model=example:fashion")
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


MANY = """
import numpy as np
import streamlit as st
from xai.dashboard.panels import Panel, pack, show
st.set_page_config(layout="wide")
rows, columns = np.mgrid[0:1500, 0:2000].astype(np.float32)
maps = [rows * columns, rows - columns, -1e-6 * columns]
panels = [Panel(f"map {k}", values, "logit", f"Sentence {k}.") for k, values in enumerate(maps)]
show(pack(np.zeros((1500, 2000, 3), np.uint8), panels, (0, 0, 1500, 2000)), key="many")
"""


def test_several_maps_move_together(page, tmp_path):
    (tmp_path / "many.py").write_text(MANY)
    port = free_port()
    line = command(port, headless=True)
    line[4] = str(tmp_path / "many.py")
    with served(line, port, tmp_path) as address:
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(browser, address, scheme):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.goto(f"{address}/?model=example:fashion")
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
