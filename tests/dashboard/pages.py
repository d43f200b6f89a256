"""Helpers of the tests that open one page without a browser."""

import contextlib
import io
import runpy
from functools import wraps

import numpy as np
from streamlit.testing.v1 import AppTest

import xai
from xai.dashboard.session.tasks import task_queue
from xai.dashboard.widgets.background import page_file

FASHION = "example:fashion"


def opened(page, **parameters):
    """Return a page as a link with these parameters opens it."""
    app = AppTest.from_file(str(page_file(page)), default_timeout=60)
    for name, value in parameters.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def press(app, label):
    """Press a button by the beginning of its label; what a page has begun by itself has no button any more."""
    button = next((button for button in app.button if button.label.startswith(label)), None)
    if button is not None:
        button.click().run()
    assert not app.exception
    return app


def shirt():
    """Return the sample that is shown first: a T-shirt."""
    data = xai.load_data("example:fashion-test")
    return data.images[int(np.flatnonzero(np.asarray(data.labels) == 0)[0])]


def bars(app):
    return [bar.text for bar in app.get("progress")]


def captions(app):
    """Return what stands below the images; each image has words for those who cannot see it."""
    pictures = [image for shown in app.get("image") for image in shown.proto.imgs]
    assert all(image.alt for image in pictures)
    return [image.caption for image in pictures]


def values_of(chart, k=0):
    """Return the rows that a layer of a chart shows."""
    spec = chart.to_dict()
    return spec["layer"][k].get("data", spec.get("data"))["values"]


def script_of(app):
    """Return the code to copy, the last one of the page."""
    return app.code[-1].value


def run_code(text, folder):
    """Run code as a user would, in a file; return the last line that it prints."""
    (folder / "code.py").write_text(text)
    said = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(said):
        runpy.run_path("code.py")
    return (said.getvalue().strip().splitlines() or [""])[-1]


def results(app):
    """Return what the session has been told, by key."""
    return app.session_state["jobs"].results._values


def stop(app, key):
    """Stop what a session asked for, as if it had not been done yet."""
    task_queue().done.drop(key)
    app.session_state["jobs"].results.drop(key)
    app.session_state["jobs"].switch(key)
    app.run()


def counted(monkeypatch, name):
    """Count the calls of a verb of xai."""
    calls, real = [], getattr(xai, name)

    @wraps(real)
    def counting(*arguments, **settings):
        calls.append((arguments, settings))
        return real(*arguments, **settings)

    monkeypatch.setattr(xai, name, counting)
    return calls
