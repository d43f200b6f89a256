"""Files that mean harm, through every door: the interface, the command line, the audit, the dashboard. Nothing runs.

`make torture` takes all of them and watches the kernel; `make test` takes a sample.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checkpoint_bytes import plant_payload
from hostile_corpus import GADGET, SAMPLE, config, files, keras_layer, node, onnx, picture, saved

LOG = logging.getLogger(__name__)  # figures are shown by `--log-cli-level=info`
HERE = Path(__file__).parent
SECONDS, WAITED, LETTERS = 5, 60, 420  # of CPU, which neighbours do not lengthen, and until the answer
FILES = files()


def planted(folder: Path, titles: list[str]) -> list[tuple[str, str]]:
    """Write hostile files, and what they point to, into a folder; return titles and paths."""
    plant_payload(folder)
    (folder / "photo.png").write_bytes(picture())
    (folder / "payload.pt").write_bytes(saved({"w": GADGET}))
    (folder / "good.toml").write_bytes(config(source="example:fashion"))
    (folder / "warm.keras").write_bytes(keras_layer("Dense", units=3))
    (folder / "warm.onnx").write_bytes(onnx(node("Relu")))
    found = []
    for k, title in enumerate(titles):
        name, content = FILES[title]
        (folder / str(k)).mkdir()
        (folder / str(k) / name).write_bytes(content)
        found.append((title, f"{k}/{name}"))
    return found


def asked(
    folder: Path, paths: list[tuple[str, str]], *doors: str, before: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """Give files to doors in a process of its own; return what came of each."""
    (folder / "list.json").write_text(json.dumps(paths))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path]), "KERAS_BACKEND": "torch"}
    order = [*before, sys.executable, str(HERE / "hostile_run.py"), "list.json", *doors]
    ran = subprocess.run(order, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr[-2000:]
    said = [line for line in ran.stderr.splitlines() if "missing ScriptRunContext" not in line]  # of AppTest itself
    assert said == []
    return [json.loads(line) for line in ran.stdout.splitlines()]


def judge(found: list[dict[str, Any]], paths: list[tuple[str, str]]) -> None:
    """Fail with all that ran, started, crashed, took too long or was said in more than a line."""
    assert [row for row in found if row["marker"] or row["events"] or row["fault"]] == []
    assert [row for row in found if row["seconds"] > SECONDS or row["waited"] > WAITED] == []
    lines = [row["said"] for row in found if row["said"] is not None]
    assert [line for line in lines if not line.isprintable() or len(line) > LETTERS] == []
    assert len({row["file"] for row in found}) == len(paths)
    slowest = max(row["seconds"] for row in found)
    LOG.info(
        f"{len(paths)} files, {len({row['door'] for row in found})} doors, {len(found)} calls: {len(lines)} refused, "
        f"{len(found) - len(lines)} read, 0 ran, slowest {slowest:.2f} s, longest line {max(map(len, lines))} letters"
    )


def test_the_corpus_is_large_enough() -> None:
    assert len(FILES) >= 60
    assert set(SAMPLE) <= FILES.keys()


def test_what_is_trusted_is_seen_to_run(tmp_path: Path) -> None:
    """The watch works: with trust=True the same file leaves its marker and starts a shell."""
    paths = planted(tmp_path, ["system in zip"])
    (row,) = asked(tmp_path, paths, "trusted")
    assert row["marker"]
    assert any(event.startswith("os.system") for event in row["events"])


def test_nothing_runs_in_a_sample(tmp_path: Path) -> None:
    paths = planted(tmp_path, SAMPLE)
    judge(asked(tmp_path, paths), paths)


@pytest.mark.slow
def test_nothing_runs(tmp_path: Path) -> None:
    paths = planted(tmp_path, list(FILES))
    judge(asked(tmp_path, paths), paths)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_kernel_sees_no_program_and_no_connection(tmp_path: Path) -> None:
    """What is started with all the files is what is started without any: this Python and the limited process."""
    seen = []
    for titles in ([], list(FILES)):
        folder = tmp_path / str(len(titles))
        folder.mkdir()
        log = folder / "strace.log"
        trace = ("strace", "-f", "-qq", "-e", "trace=execve,execveat,connect", "-o", str(log))
        asked(folder, planted(folder, titles), before=trace)
        lines = [line.partition(" ")[2].strip() for line in log.read_text().splitlines()]
        calls = [line for line in lines if line.startswith(("execve", "connect")) and "AF_UNIX" not in line]
        seen.append(sorted(line.partition("(")[0] for line in calls))
        assert not (folder / "marker").exists()
    LOG.info(f"without files {seen[0]}, with {len(FILES)} files {seen[1]}")
    assert seen[0] == seen[1]
