"""Make the picture of the dashboard in README: `python scripts/make_dashboard_figure.py`, half a minute.

The dashboard is started as a user starts it, and three pages are photographed by Chromium: Start, Explain and
Robustness. Needs playwright and a Chromium of the system.
"""

import io
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

TARGET = Path(__file__).parents[1] / "docs" / "images" / "dashboard.gif"
PAGES = {
    "": "depends on most",
    "explain?model=efficientnet_lite0&photo=chelsea&method=gradcam%2Cocclusion": "Do the methods agree",
    "robustness": "Robust accuracy at",
    "history": "Trend",
}
SIZE, WIDTH = (1280, 800), 960
SHOWN = 2500  # milliseconds of each page
PATIENCE = 120_000
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu"]


@contextmanager
def dashboard() -> Iterator[str]:
    """Run the dashboard in an empty folder; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = [sys.executable, "-m", "xai.dashboard", "--port", str(port)]
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(line, cwd=folder) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/_stcore/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def wait_for(address: str) -> None:
    """Wait until the server answers."""
    for _ in range(600):
        try:
            urllib.request.urlopen(address, timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(address)


def photograph(page: Page, address: str, text: str) -> Image.Image:
    """Return a page as it looks when a text is there and nothing moves any more."""
    page.goto(address)
    page.get_by_text(text).first.wait_for()
    page.wait_for_function("() => document.querySelector('[data-test-script-state=notRunning]')")
    page.wait_for_timeout(2500)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return image.resize((WIDTH, WIDTH * SIZE[1] // SIZE[0]), Image.Resampling.LANCZOS)


def make() -> None:
    """Photograph all pages and write them as frames of one animation."""
    with dashboard() as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, reduced_motion="reduce")
        page.set_default_timeout(PATIENCE)
        frames = [photograph(page, f"{address}/{name}", text) for name, text in PAGES.items()]
        browser.close()
    frames = [frame.quantize(128, dither=Image.Dither.NONE) for frame in frames]
    frames[0].save(TARGET, save_all=True, append_images=frames[1:], duration=SHOWN, loop=0, optimize=True)


if __name__ == "__main__":
    make()
