"""Small files that ask for much memory or time: refused quickly, and this process never grows."""

import json
import os
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from checkpoint_bytes import check_line, safetensors, saved, small_state, with_pickle, zip_of
from measured import SECONDS, refused, soon

from xai.errors import CheckpointError
from xai.models.loading import load
from xai.models.sandbox import client as cache
from xai.models.sandbox import client as reader
from xai.models.sandbox.client import ask

ARCH = "xai.models.networks:SmallNet"


def deep(levels, opening=b"]", adding=b"a"):
    return with_pickle(b"\x80\x02" + opening * levels + adding * (levels - 1) + b".")


def laughs(levels):
    """Ten of ten of ten ...: a kilobyte that no walk through it ever leaves."""
    thing = {"w": torch.zeros(1)}
    for _ in range(levels):
        thing = [thing] * 10
    return saved({"w": thing})


def many_small(count):
    """A checkpoint of very many tensors on one storage."""
    one = torch.zeros(1)
    return saved({str(k): one for k in range(count)})


def long_directory(count):
    return zip_of([("a/data.pkl", b"x"), *((f"a/data/{k}", b"") for k in range(count))])


def claims(size):
    """A pickle that says its text has this many bytes."""
    return with_pickle(b"\x80\x04\x8d" + struct.pack("<Q", size) + b"x.")


def memo(place):
    """A pickle that remembers something at a far place."""
    return with_pickle(b"\x80\x02}r" + struct.pack("<I", place) + b".")


def sparse(path, size, head=b""):
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)


HUGE = 1 << 37
ONE = {"w": {"dtype": "F32", "shape": [1 << 35], "data_offsets": [0, HUGE]}}
EXHAUSTING = {
    "deflated": lambda: zip_of([("a/data.pkl", b"x"), ("a/data/0", bytes(1 << 27))], zipfile.ZIP_DEFLATED),
    "bzip2": lambda: zip_of([("a/data.pkl", b"x"), ("a/data/0", bytes(1 << 25))], zipfile.ZIP_BZIP2),
    "deep list": lambda: deep(200_000),
    "deep tuple": lambda: with_pickle(b"\x80\x02)" + b"\x85" * 200_000 + b"."),
    "deep dict": lambda: with_pickle(b"\x80\x02" + b"}K\x00" * 100_000 + b"}" + b"s" * 100_000 + b"."),
    "laughs": lambda: laughs(30),
    "stride 0": lambda: saved({"w": torch.zeros(1).expand(10**12)}),
    "many views": lambda: saved({str(k): torch.zeros(1).expand(3_000_000) for k in range(50)}),
    "many tensors": lambda: many_small(60_000),
    "many members": lambda: long_directory(60_000),
    "long text": lambda: claims(1 << 40),
    "far memo": lambda: memo(0xFFFFFFFF),
    "long int": lambda: with_pickle(b"\x80\x02\x8b" + struct.pack("<i", 1 << 30) + b"x."),
    "header of 9 MB": lambda: safetensors(b"{" + b" " * (9 << 20) + b"}"),
    "header of tensors": lambda: safetensors(
        {f"w{k}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for k in range(90_000)}
    ),
    "header of lists": lambda: safetensors(b'{"a":[' + b"[]," * 2_700_000 + b"0]}"),
    "header of names": lambda: safetensors(b"{" + b",".join(b'"%d":0' % k for k in range(700_000)) + b"}"),
    "deep header": lambda: safetensors(b'{"a":' + b"[" * 8_000_000),
    "LFS pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
    "HTML page": lambda: b"<!DOCTYPE html>" + b"<p>" * 1_000_000,
    "empty": lambda: b"",
    "truncated": lambda: saved(small_state())[:-500],
    "ONNX of fields": lambda: b"\x08\x08" * 2_000_000,
    "ONNX of claims": lambda: b"\x08\x08\x3a\xff\xff\xff\xff\x7f",
    "Keras bomb": lambda: zip_of(
        [("config.json", b"{}" + b" " * (1 << 27)), ("model.weights.h5", b"")], zipfile.ZIP_DEFLATED
    ),
}


@pytest.fixture(scope="module", autouse=True)
def _started(tmp_path_factory):
    """Start the limited process first: it does so once."""
    path = tmp_path_factory.mktemp("first") / "w.pt"
    path.write_bytes(saved(small_state()))
    load(path, ARCH, channels=1)


def refuse(path, **settings):
    """Expect a refusal in one line, in little memory; return the seconds."""
    said, took = refused(CheckpointError, lambda: load(path, **settings))
    check_line(said)
    assert str(said).startswith(f"{path}: ")
    return took


def test_there_are_enough():
    assert len(EXHAUSTING) >= 20


@pytest.mark.parametrize("arch", [None, ARCH])
@pytest.mark.parametrize("name", EXHAUSTING)
def test_refused_quickly_and_without_memory(tmp_path, name, arch):
    path = tmp_path / "w.bin"
    path.write_bytes(EXHAUSTING[name]())
    soon(lambda: refuse(path, arch=arch))


@pytest.mark.parametrize("head", [b"", struct.pack("<Q", len(json.dumps(ONE))) + json.dumps(ONE).encode()])
def test_a_file_that_is_mostly_a_hole_is_not_read(tmp_path, head):
    path = tmp_path / "w.safetensors"
    sparse(path, len(head) + HUGE, head)
    assert refuse(path, arch=ARCH) <= 10 * SECONDS


def test_the_process_is_stopped_when_it_takes_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_SECONDS", 0)
    path = tmp_path / "w.pt"
    path.write_bytes(deep(2_000_000))
    with path.open("rb") as file, cache.fresh() as target, pytest.raises(CheckpointError, match="so it was stopped"):
        ask("weights", path, file, target, seconds=1)


def test_the_process_is_stopped_when_it_takes_too_much_memory(tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(saved({"w": torch.zeros(1 << 22)}))  # more than what the process may have left over
    with (
        path.open("rb") as file,
        cache.fresh() as target,
        pytest.raises(CheckpointError, match=r"memory|stopped|damaged"),
    ):
        ask("weights", path, file, target, memory=1 << 16)


def test_the_process_writes_no_more_than_it_may(tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(saved(small_state()))
    with path.open("rb") as file, cache.fresh() as target:
        with pytest.raises(CheckpointError, match=r"stopped|damaged"):
            ask("weights", path, file, target, most_written=1000)
        assert os.fstat(target.fileno()).st_size <= 1000


def test_weights_are_read_once_and_found_again_by_their_bytes(tmp_path, monkeypatch):
    path = tmp_path / "w.pt"
    path.write_bytes(saved(small_state()))
    first = load(path, ARCH, channels=1)
    monkeypatch.setattr("xai.models.sandbox.weights.ask", None)
    other = tmp_path / "other.bin"
    other.write_bytes(path.read_bytes())
    assert load(other, ARCH, channels=1).fingerprint == first.fingerprint


def test_what_was_kept_and_then_changed_is_read_again(tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(saved(small_state()))
    first = load(path, ARCH, channels=1).fingerprint
    for one in cache.folder().glob("*.safetensors"):
        content = bytearray(one.read_bytes())
        content[-1] ^= 1
        one.write_bytes(content)
    assert load(path, ARCH, channels=1).fingerprint == first


def test_only_so_much_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_MOST", 1000)
    for k in range(3):
        path = tmp_path / f"{k}.pt"
        path.write_bytes(saved({"w": torch.full((200,), float(k))}))
        load(path, lambda: Holder(), input_size=(2, 2))
    assert len(list((tmp_path / "cache" / "weights").iterdir())) == 1


class Holder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(200))

    def forward(self, images):
        return images.flatten(1)[:, :2] + self.w[:2]


def test_a_cache_that_cannot_be_written_is_replaced_by_one_for_this_process(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XAI_CACHE", str(tmp_path / "file"))
    path = tmp_path / "w.pt"
    path.write_bytes(saved(small_state()))
    assert load(path, ARCH, channels=1).num_classes == 10


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "w.pt"
    path.write_bytes(saved({"w": torch.rand(200)}))
    real = ask

    def meanwhile(*arguments):
        answer = real(*arguments)
        os.utime(path, ns=(1, 1))
        return answer

    monkeypatch.setattr("xai.models.sandbox.weights.ask", meanwhile)
    with pytest.raises(CheckpointError, match="it changed while it was read"):
        load(path, Holder, input_size=(2, 2))


def test_the_process_can_die_and_comes_back(tmp_path):
    process = reader._Process.shared().process
    process.kill()
    process.wait()
    path = tmp_path / "w.pt"
    path.write_bytes(saved({"w": torch.rand(200)}))
    assert load(path, Holder, input_size=(2, 2)).num_classes == 2


def test_without_forks_the_file_is_read_here(tmp_path, monkeypatch):
    monkeypatch.setattr("xai.models.sandbox.weights.can_limit", lambda: False)
    path = tmp_path / "w.pt"
    path.write_bytes(saved({"w": torch.rand(200)}))
    assert load(path, Holder, input_size=(2, 2)).num_classes == 2


def test_the_process_sees_nothing_of_this_one():
    environment = Path(f"/proc/{reader._Process.shared().process.pid}/environ").read_bytes()
    names = {entry.partition(b"=")[0] for entry in environment.split(b"\0") if entry}
    assert names <= {b"OMP_NUM_THREADS", b"CUDA_VISIBLE_DEVICES", b"KERAS_BACKEND", b"KERAS_HOME", b"LD_LIBRARY_PATH"}


def test_neither_programs_nor_connections_can_be_started(tmp_path):
    """The watch of the limited process ends it; tried in a fork of this one."""
    from xai.models.sandbox.worker import _watch

    for event in ("os.exec", "os.system", "socket.connect", "subprocess.Popen", "os.posix_spawn"):
        child = os.fork()
        if child == 0:
            _watch(event, ())
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
