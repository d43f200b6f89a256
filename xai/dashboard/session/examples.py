"""Results that come with the package: what the pages open with where computing it would take minutes.

`scripts/make_examples.py` makes them by asking the pages themselves, so that the keys are those of the pages. A result
whose model, data or settings have changed since then has another key and is not found.
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import xai
from xai.dashboard.session.tasks import Key

_INDEX = "index.json"
_RESULTS, _AUDITS = "results", "audits"
KINDS = ("RobustnessCurve", "ShortcutResult", "DeepDream")


def digest(key: Key) -> str:
    """Return the name that a result of a key is stored under."""
    return hashlib.sha256(repr(key).encode()).hexdigest()[:16]


def example_folder() -> Path:
    """Return the folder of the results that come with the package."""
    return xai.sample_photos()[0].path.parents[1] / _RESULTS


def example_audits() -> list[Path]:
    """Return the folders of the audits that come with the package."""
    return sorted(file.parent for file in (example_folder() / _AUDITS).glob("*/audit.json"))


def has_example(key: Key) -> bool:
    """Say whether a result of a key comes with the package, and can be read."""
    return example_result(key) is not None


@cache
def _index() -> dict[str, str]:
    """Return the kind of each result by the digest of its key."""
    file = example_folder() / _INDEX
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def example_result(key: Key) -> Any | None:
    """Return the result of a key that comes with the package; None where there is none."""
    name = digest(key)
    return _load(name) if name in _index() else None


@cache
def _load(name: str) -> Any:
    try:
        return getattr(xai.results, _index()[name]).load(example_folder() / name)
    except xai.XaiError:  # of another version, or damaged: the page computes it when asked
        return None


def save_example(key: Key, result: Any, folder: Path) -> None:
    """Store a result so that a page finds it; the folder is the one that comes with the package, or one like it."""
    name, file = digest(key), folder / _INDEX
    index = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    result.save(folder / name)
    text = json.dumps(index | {name: type(result).__name__}, indent=1, sort_keys=True)
    file.write_text(f"{text}\n", encoding="utf-8")
