"""Weight files that are no weights, are broken, or of a format that can carry code: one line each."""

import io
import json
import os
import pickle
import pickletools
import struct
import tarfile
import time
import warnings
import zipfile

import pytest
import torch
from checkpoint_bytes import check_line, legacy, members_of, saved, small_state, with_pickle, zip_of
from safetensors.torch import save_file
from torch import nn

from xai.errors import CheckpointError, NonFiniteError
from xai.models.loading import load
from xai.models.networks import SmallNet
from xai.models.sandbox.weights import check_finite, read_tensors, shown

ARCH = "xai.models.networks:SmallNet"


def torchscript():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.trace(nn.Linear(2, 3).eval(), torch.zeros(1, 2)), buffer)
    return buffer.getvalue()


def exported():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        buffer = io.BytesIO()
        torch.export.save(torch.export.export(nn.Linear(2, 3), (torch.zeros(1, 2),)), buffer)
    return buffer.getvalue()


def tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights"), io.BytesIO())
    return buffer.getvalue()


def safetensors(header, data=b""):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(content)) + content + data


def deep_list(levels):
    return with_pickle(b"\x80\x02" + b"]" * levels + b"a" * (levels - 1) + b".")


def laughs():
    level = []
    for _ in range(90):
        level = [level, level]
    return saved({"w": level})


def good(form):
    if form == "pt":
        return saved(small_state())
    return safetensors({"w": {"dtype": "F32", "shape": [64], "data_offsets": [0, 256]}}, bytes(256))


CAN_CARRY_CODE = "a format that can carry code, so it is refused. Where you trust it, save the weights alone"
MANY = {f"w{k}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for k in range(20_001)}
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
REFUSED = {
    "empty": (lambda: b"", "the file is empty"),
    "one byte": (lambda: b"x", "neither safetensors nor a state dict"),
    "text": (lambda: b"these are the weights, honestly", "neither safetensors nor a state dict"),
    "LFS pointer": (lambda: LFS, "a Git LFS pointer, not the weights themselves. Fetch them with `git lfs pull`"),
    "HTML page": (lambda: b"\n<!DOCTYPE html><html>Sign in</html>", "a web page, not weights"),
    "TorchScript": (torchscript, f"a TorchScript archive, {CAN_CARRY_CODE}"),
    "torch.export": (exported, f"a torch.export archive, {CAN_CARRY_CODE}"),
    "torch.package": (
        lambda: zip_of([("p/.data/extern_modules", ""), ("p/data.pkl", "")]),
        f"a torch.package archive, {CAN_CARRY_CODE}",
    ),
    "Keras": (lambda: zip_of([("config.json", "{}"), ("model.weights.h5", "")]), "a whole model and no weights"),
    "HDF5": (
        lambda: b"\x89HDF\r\n\x1a\n" + bytes(99),
        "an HDF5 file .*, a format .* Save the model in the .keras form",
    ),
    "tar": (tar, f"a tar archive, {CAN_CARRY_CODE}"),
    "gzip": (lambda: b"\x1f\x8b" + bytes(99), f"a gzip archive, {CAN_CARRY_CODE}"),
    "legacy weights": (lambda: legacy(small_state()), f"a bare pickle .*, {CAN_CARRY_CODE}"),
    "legacy module": (lambda: legacy(SmallNet()), f"a bare pickle .*, {CAN_CARRY_CODE}"),
    "whole module": (lambda: saved(SmallNet()), "it holds Python objects beside tensors, which can carry code"),
    "module inside": (lambda: saved({"net": SmallNet()}), "it holds Python objects beside tensors"),
    "other zip": (lambda: zip_of([("a/b.txt", "x")]), "a zip archive, but not one that torch.save writes"),
    "empty zip": (lambda: zip_of([]), "a zip archive, but not one that torch.save writes"),
    "bomb": (
        lambda: zip_of([("a/data.pkl", b"x"), ("a/data/0", bytes(1 << 24))], zipfile.ZIP_DEFLATED),
        "compressed or encrypted",
    ),
    "double pickle": (
        lambda: zip_of([*members_of(good("pt")), ("archive/data.pkl", b"x")]),
        "two members have the same name",
    ),
    "other case": (lambda: zip_of([("a/data.pkl", b"x"), ("a/Data.pkl", b"x")]), "two members have the same name"),
    "two folders": (lambda: zip_of([*members_of(good("pt")), ("b/version", b"3")]), "more than one top folder"),
    "stranger": (
        lambda: zip_of([*members_of(good("pt")), ("archive/run.py", b"x")]),
        "members that do not belong there",
    ),
    "storage name": (
        lambda: zip_of([*members_of(good("pt")), ("archive/data/../x", b"x")]),
        "members that do not belong there",
    ),
    "no top folder": (lambda: zip_of([("data.pkl", b"x")]), "not one that torch.save writes"),
    "too large": (lambda: claims_more(good("pt")), "claim more bytes than the file has"),
    "comment": (lambda: good("pt")[:-2] + b"\x03\x00abc", "truncated or damaged zip"),
    "cut comment": (lambda: good("pt")[:-2] + b"\x05\x00", "truncated or damaged zip"),
    "truncated zip": (lambda: good("pt")[:-3000], "truncated or damaged zip"),
    "half a zip": (lambda: good("pt")[:2000], "truncated or damaged zip"),
    "zip head": (lambda: b"PK\x03\x04", "truncated or damaged zip"),
    "damaged zip": (lambda: damaged_directory(good("pt")), "a damaged zip archive"),
    "damaged pickle": (lambda: with_pickle(b"\x80\x02nonsense"), "Python objects beside tensors|a damaged checkpoint"),
    "missing storage": (
        lambda: zip_of([m for m in members_of(good("pt")) if m[0] != "archive/data/3"]),
        "a damaged checkpoint",
    ),
    "short storage": (
        lambda: zip_of([(n, c[:8] if n == "archive/data/0" else c) for n, c in members_of(good("pt"))]),
        "a damaged checkpoint",
    ),
    "a list": (lambda: saved([torch.zeros(2)]), "expected a state dict, but it holds a list"),
    "a tensor": (lambda: saved(torch.zeros(2)), "expected a state dict, but it holds a Tensor"),
    "no tensors": (lambda: saved({}), "expected 1 to 20000 tensors, but got 0"),
    "a number inside": (
        lambda: saved({**small_state(), "epoch": 3}),
        "nothing else, but these are no tensors: 'epoch'",
    ),
    "a number as name": (lambda: saved({5: torch.zeros(2)}), "these are no tensors: int"),
    "two levels": (lambda: saved({"state_dict": {"state_dict": small_state()}}), "these are no tensors: 'state_dict'"),
    "deep list": (lambda: deep_list(200_000), "expected a state dict, but it holds a list"),
    "billion laughs": (laughs, "these are no tensors: 'w'"),
    "stride 0": (lambda: saved({"w": torch.zeros(1).expand(10**12)}), "'w' claims more values than the file has"),
    "stride 1 of 5": (
        lambda: saved({"w": torch.zeros(99).as_strided((90, 90), (0, 1))}),
        "'w' claims more values than",
    ),
    "many views": (
        lambda: saved(dict.fromkeys(map(str, range(200)), torch.zeros(90_000))),
        "claims more values than the file has",
    ),
    "sparse": (lambda: saved({"w": torch.eye(3).to_sparse()}), "'w' is sparse, quantised or without data"),
    "meta": (lambda: saved({"w": torch.zeros(3, device="meta")}), "'w' is sparse, quantised or without data"),
    "NaN": (
        lambda: saved({**small_state(), "head.bias": torch.full((10,), torch.nan)}),
        "'head.bias' holds NaN or infinity",
    ),
    "infinity": (
        lambda: saved({**small_state(), "head.bias": torch.full((10,), -torch.inf)}),
        "'head.bias' holds NaN or infinity",
    ),
    "truncated safetensors": (lambda: good("st")[:-10], "a truncated or damaged safetensors file"),
    "truncated header": (lambda: good("st")[:30], "a truncated safetensors file"),
    "huge length": (lambda: struct.pack("<Q", 2**62) + b"{}", "a truncated safetensors file"),
    "bloated header": (
        lambda: safetensors(b"{" + b" " * (9 << 20) + b"}"),
        "a safetensors header of 9 MB, more than the 8 MB",
    ),
    "too many tensors": (lambda: safetensors(MANY), "20001 tensors, more than the 20000 allowed"),
    "no safetensors": (lambda: safetensors({}), "expected 1 to 20000 tensors, but got 0"),
    "deep header": (lambda: safetensors(b'{"a":' + b"[" * 99_999), "a damaged safetensors file"),
    "no JSON": (lambda: safetensors(b"{nothing"), "a damaged safetensors file"),
    "overlong tensor": (
        lambda: safetensors({"w": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}}, bytes(8)),
        "a truncated or damaged safetensors file",
    ),
    "unknown dtype": (
        lambda: safetensors({"w": {"dtype": "F31", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        "a truncated or damaged safetensors file",
    ),
}


NOT_FINITE = {
    "complex NaN": (
        lambda: saved({"w": torch.full((2,), torch.nan, dtype=torch.complex64)}),
        "'w' holds NaN or infinity",
    ),
    "8-bit NaN": (
        lambda: saved({"w": torch.full((2,), torch.nan).to(torch.float8_e4m3fn)}),
        "'w' holds NaN or infinity",
    ),
    "safetensors NaN": (
        lambda: safetensors({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0\0\xc0\x7f"),
        "'w' holds NaN or infinity",
    ),
    "terminal codes": (
        lambda: saved({"\x1b[31m\nw" + "x" * 999: torch.full((2,), torch.nan)}),
        r"'\\x1b\[31m\\nwx+' holds NaN",
    ),
}


def claims_more(content):
    """Let the directory claim that one storage is huge, in both of its size fields."""
    at = content.index(b"archive/data/0", content.index(b"PK\x01\x02")) - 46
    return content[: at + 20] + struct.pack("<II", 1 << 30, 1 << 30) + content[at + 28 :]


def damaged_directory(content):
    return content.replace(b"PK\x01\x02", b"PK\x01\x09")


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_state_dict_is_refused_in_one_line(tmp_path, case):
    make, text = REFUSED[case]
    path = tmp_path / "w.bin"
    path.write_bytes(make())
    began = time.process_time()
    with pytest.raises(CheckpointError, match=rf"^{path}: .*({text})") as caught:
        load(path, ARCH)
    assert time.process_time() - began < 10
    check_line(caught.value)
    assert len(str(caught.value)) - len(str(path)) < 260


@pytest.mark.parametrize(
    ("limit", "value", "text"),
    [
        ("_MAX_PICKLE", 100, "its pickle is larger than"),
        ("_MAX_DIRECTORY", 100, "too many members for a state dict"),
        ("MAX_TENSORS", 5, "it has more than 5 tensors"),
    ],
)
def test_the_limits_on_a_checkpoint_hold(tmp_path, monkeypatch, limit, value, text):
    monkeypatch.setattr(f"xai.models.file_format.{limit}", value)
    path = tmp_path / "w.pt"
    path.write_bytes(good("pt"))
    with pytest.raises(CheckpointError, match=text):
        load(path, ARCH)


@pytest.mark.parametrize("case", NOT_FINITE)
def test_values_that_are_no_numbers_are_found_in_every_kind_of_tensor(tmp_path, case):
    make, text = NOT_FINITE[case]
    path = tmp_path / "w.bin"
    path.write_bytes(make())
    with pytest.raises(CheckpointError, match=rf"^{path}: .*({text})") as caught:
        check_finite(read_tensors(path), path)
    check_line(caught.value)


@pytest.mark.parametrize("case", ["tar", "gzip", "torch.package", "HDF5"])
def test_trust_is_no_reader_of_what_has_none(tmp_path, case):
    path = tmp_path / "w.pt"
    path.write_bytes(REFUSED[case][0]())
    with pytest.raises(CheckpointError, match="`trust=True` does not help: this format is not read at all"):
        load(path, trust=True)


def test_torchs_own_advice_is_not_in_the_traceback_either(tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(saved(SmallNet()))
    with pytest.raises(CheckpointError, match="Python objects") as caught:
        load(path, ARCH)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("missing.pt", r"missing\.pt: cannot be read \(No such file or directory\)\. Check the path"),
        ("folder", "expected a weight file, but this is a folder"),
        ("fifo", "expected a weight file, but this is a folder or a device"),
        ("missing/" + "x" * 5000, "cannot be read"),
    ],
)
def test_what_is_no_file_is_refused(tmp_path, name, text):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(CheckpointError, match=text):
        load(tmp_path / name, ARCH)


def test_a_model_in_onnx_form_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a\x12\x07pytorch")
    with pytest.raises(CheckpointError, match=r"model\.onnx: neither safetensors nor a state dict"):
        load(tmp_path / "model.onnx")


def test_every_byte_of_a_checkpoint_may_be_wrong(tmp_path):
    """Flipped bytes give a refusal or a network, never another error."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    forms = {"w.pt": saved(net.state_dict())}
    save_file(net.state_dict(), tmp_path / "w")
    forms["w.safetensors"] = (tmp_path / "w").read_bytes()
    generator = torch.Generator().manual_seed(0)
    refused = 0
    for name, content in forms.items():
        for _ in range(150):
            at, value = (int(torch.randint(0, high, (1,), generator=generator)) for high in (len(content), 256))
            path = tmp_path / name
            path.write_bytes(content[:at] + bytes([value]) + content[at + 1 :])
            try:
                load(path, nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), channels=1, input_size=(2, 2))
            except (CheckpointError, NonFiniteError) as error:
                check_line(error)
                refused += 1
    assert 30 < refused < 300


def test_the_pickle_of_a_good_checkpoint_is_read_by_torch_only(tmp_path, monkeypatch):
    """Neither pickle nor pickletools is used on the file."""
    path = tmp_path / "w.pt"
    path.write_bytes(good("pt"))
    for module, function in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (pickletools, "dis")):
        monkeypatch.setattr(module, function, None)
    assert load(path, ARCH, channels=1).num_classes == 10


def test_names_are_shown_short_and_quoted():
    assert shown(["a", "b"]) == "'a', 'b'"
    assert shown(["a", "b", "c", "d"]) == "'a', 'b', 'c', ..."
    assert shown([5, None]) == "int, NoneType"
    assert shown(["\x1b[0m" + "x" * 100]) == repr("\x1b[0m" + "x" * 56)
