"""Killed, refused, doubled: in the end the same bytes, nothing lost, no litter; large numbers in `make torture`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_audits import sources, tables

import xai
from xai.audits import store
from xai.errors import RecordError

LOOP = Path(__file__).with_name("kill_loop.py")


def loop(folder: Path, *arguments: object) -> dict[str, int]:
    command = [sys.executable, str(LOOP), str(folder), *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def nothing_happened(found: dict[str, int]) -> None:
    assert found["audits"] > 0
    for name in ("different", "lost parts", "strange ends", "done twice", "unfinished"):
        assert found.get(name, 0) == 0, found


@pytest.mark.parametrize("kills", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_kills_at_random_moments(tmp_path, kills):
    found = loop(tmp_path, "random", kills, 0)
    nothing_happened(found)
    assert found["kills"] >= kills


@pytest.mark.parametrize("every", [83, pytest.param(1, marks=pytest.mark.slow)])
def test_kills_at_every_open_write_fsync_and_rename(tmp_path, every):
    found = loop(tmp_path, "steps", every)
    nothing_happened(found)
    assert found["steps"] >= 100 // every


@pytest.mark.parametrize("every", [131, pytest.param(1, marks=pytest.mark.slow)])
def test_a_full_broken_or_read_only_disk_at_every_step(tmp_path, every):
    found = loop(tmp_path, "errors", every)
    nothing_happened(found)
    assert found["refusals"] > 0


@pytest.mark.parametrize("number", [2, pytest.param(40, marks=pytest.mark.slow)])
def test_two_runs_on_one_folder(tmp_path, number):
    nothing_happened(loop(tmp_path, "pairs", number))


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
