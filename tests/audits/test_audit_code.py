"""Keys of finished work follow the code that the work runs: no comment, no docstring, no other room."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import xai
from xai.audits.execution import store as code
from xai.audits.execution.store import digest_of, reach_of
from xai.robust.attacks import MODULES

PACKAGE = Path(xai.__file__).parent

SCRIPT = """
import sys
from xai.audits.execution.store import code_digest, digest_of
stages = [f"execution.stages.{name}" for name in ("predictions", "attacks", "explanations")]
names = [*stages, "checks.shortcuts", "checks.group_gap"]
print(*[digest_of(f"xai.audits.{name}") for name in names], code_digest(), hash("xai"))
"""
STAGES = [f"execution.stages.{name}" for name in ("predictions", "attacks", "explanations")]
ANSWERS, ATTACKED, EXPLAINED, SHORTCUTS, GROUPS, ALL = range(6)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the package to edit; digests read no more than its text."""
    place = tmp_path_factory.mktemp("code") / "xai"
    shutil.copytree(Path(xai.__file__).parent, place, ignore=shutil.ignore_patterns("__pycache__", "*.npz", "*.png"))
    return place


def digests(package: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(code, "_PACKAGE", package)
    for name in ("code_digest", "digest_of", "reach_of", "own_digest", "_source", "_imports", "_compiled"):
        getattr(code, name).cache_clear()
    names = [*STAGES, "checks.shortcuts", "checks.group_gap"]
    return [*(digest_of(f"xai.audits.{name}") for name in names), code.code_digest()]


@pytest.fixture(scope="module")
def unedited(copied: Path) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        return digests(copied, patch)


@pytest.fixture(autouse=True)
def as_before() -> object:
    yield
    for name in ("code_digest", "digest_of", "reach_of", "own_digest", "_source", "_imports", "_compiled"):
        getattr(code, name).cache_clear()


@pytest.mark.parametrize(
    ("file", "change", "moved"),
    [
        ("robust/attacks/pgd.py", lambda text: text + "\n\n# a remark\n", set()),
        ("core/model/classifier.py", lambda text: "# a remark\n\n" + text.replace("Args:", "Arguments:"), set()),
        ("stats/auroc.py", lambda text: re.sub(r'"""[A-Z]', '"""Z', text), set()),
        ("robust/attacks/pgd.py", lambda text: text + "\n_NEW = 3\n", {ATTACKED, ALL}),
        (
            "core/model/classifier.py",
            lambda text: text + "\n_NEW = 3\n",
            {ANSWERS, ATTACKED, EXPLAINED, SHORTCUTS, GROUPS, ALL},
        ),
        ("stats/permutation.py", lambda text: text + "\n_NEW = 3\n", {GROUPS, ALL}),
        ("explanations/methods/lime.py", lambda text: text + "\n_NEW = 3\n", {EXPLAINED, SHORTCUTS, ALL}),
        ("reports/html.py", lambda text: text + "\n_NEW = 3\n", set()),
        ("robust/certification/linear.py", lambda text: text + "\n_NEW = 3\n", {ALL}),
    ],
)
def test_what_an_edit_makes_again(
    copied: Path, unedited: list[str], monkeypatch: pytest.MonkeyPatch, file: str, change, moved: set
) -> None:
    path = copied / file
    text = path.read_text()
    path.write_text(change(text))
    after = digests(copied, monkeypatch)
    path.write_text(text)
    assert path.read_text() == text
    assert {k for k in range(6) if unedited[k] != after[k]} == moved


def test_all_that_is_imported_is_reached() -> None:
    """What Python itself loads for a room is within reach, but for what only shows results."""
    rooms = "xai.robust.attacks.base, xai.core.model.classifier"
    script = f"import sys, {rooms}; print(*[n for n in sys.modules if n.startswith('xai.')])"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name for name in ran.stdout.split() if name.split(".")[1] in {"robust", "core", "engine"}}
    packages = {name for name in loaded if (PACKAGE / name.partition(".")[2].replace(".", "/")).is_dir()}
    reached = reach_of("xai.audits.execution.stages.attacks")
    assert loaded - packages <= reached
    assert {f"xai.robust.attacks.{module}" for module in MODULES.values()} <= reached
    assert not any("dashboard" in name or "explanations" in name for name in reached)


def test_two_processes_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets have no order: another seed of hashes changes nothing."""
    other = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    given = {"PYTHONHASHSEED": other, "PYTHONPATH": str(Path(xai.__file__).parents[1])}
    ran = subprocess.run([sys.executable, "-c", SCRIPT], env=given, capture_output=True, text=True, check=True)
    assert hash("xai") != int(ran.stdout.split()[-1])
    assert ran.stdout.split()[:-1] == digests(Path(xai.__file__).parent, monkeypatch)
    assert len(ran.stdout.split()) == 7
