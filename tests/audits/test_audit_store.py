"""The store: whole or not at all, damaged parts are made again, drafts of the dead go and those of the living stay."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xai.audits.execution import store as module
from xai.audits.execution.store import Store, StoredResult, clean, key_of, publish
from xai.errors import RecordError

KEY = key_of({"a": 1})
PART = StoredResult({"x": np.arange(6).reshape(2, 3), "words": np.array(["ä", "b"])}, {"n": 1, "s": "ü"})


def drafts(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".draft-")]


def test_a_part_comes_back(tmp_path):
    store = Store(tmp_path)
    assert store.read(KEY) is None
    store.publish(KEY, PART)
    found = store.read(KEY)
    assert found is not None
    assert found.facts == PART.facts
    assert np.array_equal(found.arrays["x"], PART.arrays["x"])
    assert found.arrays["words"].tolist() == ["ä", "b"]
    assert drafts(tmp_path) == []


def test_the_same_part_is_the_same_bytes(tmp_path):
    one, two = Store(tmp_path / "a"), Store(tmp_path / "b")
    one.publish(KEY, PART)
    two.publish(KEY, StoredResult(dict(reversed(PART.arrays.items())), {"s": "ü", "n": 1}))
    assert one.path(KEY).read_bytes() == two.path(KEY).read_bytes()


def test_keys_depend_on_content_and_not_on_order():
    assert key_of({"a": 1, "b": [1, 2]}) == key_of({"b": [1, 2], "a": 1}) != key_of({"a": 1, "b": [2, 1]})


def test_whatever_is_done_to_a_file_it_is_read_right_or_not_at_all(tmp_path):
    store = Store(tmp_path)
    store.publish(KEY, PART)
    content = store.path(KEY).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(content)
        match rng.integers(4):
            case 0:
                broken = broken[: rng.integers(len(broken))]
            case 1:
                broken[rng.integers(len(broken))] ^= 1 << int(rng.integers(8))
            case 2:
                broken += bytes(rng.integers(0, 256, 5, dtype=np.uint8))
            case _:
                broken = bytearray(rng.integers(0, 256, 50, dtype=np.uint8))
        store.path(KEY).write_bytes(bytes(broken))
        if bytes(broken) != content:
            assert store.read(KEY) is None


def test_a_part_under_another_key_is_none(tmp_path):
    store, other = Store(tmp_path), key_of({"a": 2})
    store.publish(KEY, PART)
    store.path(other).parent.mkdir(exist_ok=True)
    store.path(KEY).rename(store.path(other))
    assert store.read(other) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_an_error_of_the_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, call, number):
    def broken(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / KEY[:2]).mkdir()
    monkeypatch.setattr(module.os, call, broken)
    with pytest.raises(RecordError, match=r"cannot be written .* goes on from it") as caught:
        Store(tmp_path).publish(KEY, PART)
    monkeypatch.undo()
    assert "\n" not in str(caught.value)
    assert drafts(tmp_path) == []
    if call != "fsync":  # the rename may have happened before the folder was synced
        assert not Store(tmp_path).has(KEY)
    Store(tmp_path).publish(KEY, PART)
    assert Store(tmp_path).read(KEY) is not None


def test_writes_in_small_pieces_are_whole(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(module.os, "write", lambda handle, view: real(handle, view[:7]))
    Store(tmp_path).publish(KEY, PART)
    assert Store(tmp_path).read(KEY) is not None


def test_what_is_there_is_not_written_again(tmp_path, monkeypatch):
    publish(tmp_path / "a", b"content")
    monkeypatch.setattr(module.os, "replace", lambda *_: pytest.fail("written again"))
    publish(tmp_path / "a", b"content")


WRITER = """
import os, sys, time
from pathlib import Path
from xai.audits.execution import store
os.fsync = lambda handle: (print("ready", flush=True), time.sleep(60))
store.publish(Path(sys.argv[1]) / "a", b"x")
"""


def test_drafts_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    assert clean(tmp_path) == 0
    assert len(drafts(tmp_path)) == 1
    writer.kill()
    writer.wait()
    assert clean(tmp_path) == 1
    assert drafts(tmp_path) == []
    writer.stdout.close()
