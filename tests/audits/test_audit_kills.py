"""Killed, refused, doubled: in the end the same bytes, nothing lost, no litter; large numbers in `make torture`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_audits import sources, tables

import xai
from xai.audits.execution import store
from xai.errors import RecordError

LOOP = Path(__file__).with_name("kill_loop.py")


FEW = {"random": 20, "steps": 83, "errors": 131, "pairs": 2}
MANY = {"random": 1000, "steps": 1, "errors": 1, "pairs": 40}


@pytest.fixture(scope="module", params=["few", pytest.param("many", marks=pytest.mark.slow)])
def loop(request, tmp_path_factory) -> dict[str, dict[str, int]]:
    """Run all ways in one process, which imports xai and runs the audit undisturbed only once."""
    numbers = FEW if request.param == "few" else MANY
    words = [str(part) for way in numbers.items() for part in way]
    command = [sys.executable, str(LOOP), str(tmp_path_factory.mktemp("loop")), *words]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()[-len(numbers) :]]
    return {name: found | {"number": numbers[name]} for name, found in zip(numbers, lines, strict=True)}


def nothing_happened(found: dict[str, int]) -> None:
    assert found["audits"] > 0
    for name in ("different", "lost parts", "strange ends", "done twice", "unfinished"):
        assert found.get(name, 0) == 0, found


def test_kills_at_random_moments(loop):
    nothing_happened(loop["random"])
    assert loop["random"]["kills"] >= loop["random"]["number"]


def test_kills_at_every_open_write_fsync_and_rename(loop):
    nothing_happened(loop["steps"])
    assert loop["steps"]["steps"] >= 100 // loop["steps"]["number"]


def test_a_full_broken_or_read_only_disk_at_every_step(loop):
    nothing_happened(loop["errors"])
    assert loop["errors"]["refusals"] > 0


def test_two_runs_on_one_folder(loop):
    nothing_happened(loop["pairs"])


def test_a_disk_that_stays_full_is_refused_and_goes_on_when_there_is_room(data, tmp_path, monkeypatch, finished):
    given, real, room = {**tables(data), **sources(data)}, os.write, [40_000]

    def write(handle: int, content: bytes) -> int:
        room[0] -= len(content)
        if room[0] < 0:
            raise OSError(28, "No space left on device")
        return real(handle, content)

    monkeypatch.setattr(store.os, "write", write)
    with pytest.raises(RecordError, match=r"No space left on device.*goes on from it"):
        xai.audit(given, out=tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".draft")]
    monkeypatch.undo()
    assert xai.audit(given, out=tmp_path).to_bytes() == finished.to_bytes()


def test_a_read_only_folder_serves_a_finished_audit_and_refuses_a_new_one(data, tmp_path, monkeypatch, finished):
    given, real = {**tables(data), **sources(data)}, os.open
    xai.audit(given, out=tmp_path / "done")

    def read_only(path: object, flags: int, *rest: object) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(30, "Read-only file system")
        return real(path, flags, *rest)

    monkeypatch.setattr(store.os, "open", read_only)
    assert xai.audit(given, out=tmp_path / "done").to_bytes() == finished.to_bytes()
    with pytest.raises(RecordError, match="Read-only file system"):
        xai.audit(given, out=tmp_path / "new")


def test_a_new_line_of_the_log_follows_one_that_a_kill_cut(data, tmp_path):
    given = {**tables(data), **sources(data)}
    xai.audit(given, out=tmp_path)
    log = tmp_path / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-10])
    found = xai.audit(given, out=tmp_path)
    assert found.log[-1]["event"] == "ended"
