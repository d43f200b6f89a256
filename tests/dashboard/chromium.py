"""Helpers of the tests that drive Chromium: servers, and what a page shows."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import xai
from xai.dashboard.server.launch import command

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


def end(server):
    """Wait until a server has ended; one that does not is a failure, and must not hold up the tests."""
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        raise


@contextmanager
def served(line, port, folder):
    """Run a server away from the checkout and its configuration."""
    log, packages = (folder / "log.txt").open("w"), str(Path(xai.__file__).parents[1])
    settings = {"cwd": folder, "env": os.environ | {"PYTHONPATH": packages}, "stderr": subprocess.STDOUT}
    with log, subprocess.Popen(line, stdout=log, **settings) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/_stcore/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            end(server)


def dashboard_in(folder):
    """Start the dashboard as `xai dashboard` does; yield its address."""
    port = free_port()
    line = [sys.executable, "-m", "xai.dashboard", "--port", str(port)]
    with served(line, port, folder) as address:
        yield address
    with pytest.raises(OSError, match="refused"):  # the server ended with its parent
        get(f"{address}/_stcore/health")


@contextmanager
def script(text, folder):
    """Serve a page of our own in the way the dashboard is served."""
    (folder / "page.py").write_text(text)
    port = free_port()
    line = command(port, headless=True)
    line[4] = str(folder / "page.py")
    with served(line, port, folder) as address:
        yield address


def canvas_of(page):
    canvas = page.locator(".viewer canvas").first
    canvas.wait_for()
    canvas.scroll_into_view_if_needed()
    page.wait_for_function("() => !document.querySelector('[data-testid=stSpinner]')")
    return canvas


def read(page):
    """Return column, row and the value as text, as the tooltip has them."""
    place = page.locator(".tip .place").first.inner_text()
    column, row = (int(number) for number in re.findall(r"\d+", place)[:2])
    return column, row, page.locator(".tip .value").first.inner_text()


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


def switch_on(page, name, shown, tries=10):
    """Switch the first toggle of a name on, and wait for what it shows; a click while the page is drawn can be lost."""
    toggle = page.get_by_role("switch", name=name, exact=True).first
    for _ in range(tries):
        if not toggle.is_checked():
            page.get_by_text(name, exact=True).first.click()
        with suppress(Exception):
            return shown.wait_for(timeout=WAIT / tries)
    return shown.wait_for()


def settled(click):
    """Return a way to click that waits, for a while, until the page is not being drawn: a click can be lost then.

    What stops a run is clicked at once, before the run is over.
    """

    def after(locator, **settings):
        if 'name="Stop"' in str(locator):
            return click(locator, **settings)
        locator.page.wait_for_timeout(100)  # what was done before may only begin now
        with suppress(Exception):
            locator.page.wait_for_function(
                "() => document.querySelector('[data-test-script-state=notRunning]')", timeout=2000
            )
        return click(locator, **settings)

    return after
