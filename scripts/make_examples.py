"""Make the results that the dashboard opens with: `python scripts/make_examples.py [PART ...]`, minutes.

Each page is opened and asked as a user would ask it, and what it computed is stored under data/results. Nothing of it
is written by hand; a test opens every page and expects a result without a click.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from streamlit.testing.v1 import AppTest

from xai.dashboard.environment import AUDITS_VARIABLE
from xai.dashboard.session import KINDS, example_folder, save_example, task_queue
from xai.dashboard.widgets.background import page_file

ASKED = {"robustness": {}, "bias": {"bias_about": "Shortcuts"}, "dream": {}}
AUDITED = ("example:fashion-robust", "example:fashion")
PATIENCE = 1800  # seconds


def opened(page: str, **query: str) -> AppTest:
    """Return a page after its first run."""
    test = AppTest.from_file(str(page_file(page)), default_timeout=PATIENCE)
    for name, value in query.items():
        test.query_params[name] = value
    return test.run()


def make_result(page: str, query: dict[str, str]) -> None:
    """Press the first button of a page, and store the result."""
    test = opened(page, **query)
    button = next(button for button in test.button if str(button.key).startswith(("ask ", "repeat ")))
    done = task_queue().done
    before = set(done.keys())
    button.click().run()
    for key in set(done.keys()) - before:
        result = done.find(key)
        if type(result).__name__ in KINDS:
            save_example(key, result, example_folder())
            print(page, type(result).__name__)


def make_audit(model: str) -> None:
    """Run the audit that the page proposes for a model, and store its folder."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[AUDITS_VARIABLE] = folder
        test = opened("audit", model=model)
        test.button(key="run_audit").click().run()
        (work,) = task_queue().lasting()
        work.wait(PATIENCE)
        (file,) = Path(folder).glob("*/audit.json")
        place = example_folder() / "audits" / file.parent.name
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(file.parent, place)
        print(model, place.name)


if __name__ == "__main__":
    example_folder().mkdir(exist_ok=True)
    parts = sys.argv[1:] or [*ASKED, "audit"]
    for page in ASKED:
        if page in parts:
            make_result(page, ASKED[page])
    if "audit" in parts:
        for model in AUDITED:
            make_audit(model)
