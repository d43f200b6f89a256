"""Damaged files of every kind: a refusal in one line that names the file, or an answer; never another error.

A few hundred changes of each in `make test`, many more with `make torture`; images: `test_mutated_pictures.py`.
"""

import io
import json
import logging
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutants import IMAGES
from safetensors.torch import save
from small_models import GapCnn, pictures

import xai
from xai.core.images.decoding import decode_bytes
from xai.errors import XaiError
from xai.models.file_format import kind_of
from xai.models.keras_trial import check_archive

LOG = logging.getLogger(__name__)  # figures are shown by `--log-cli-level=info`
QUICK = settings(derandomize=True, deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))
LONG = settings(QUICK, max_examples=5000)


@st.composite
def changes(draw: Any) -> list[tuple[str, float, bytes]]:
    """Draw a few things to do to bytes: where (a share of the length), and what."""
    kinds = st.sampled_from(["flip", "cut", "insert", "repeat", "zero"])
    one = st.tuples(kinds, st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8))
    return draw(st.lists(one, min_size=1, max_size=5))


def changed(content: bytes, steps: list[tuple[str, float, bytes]]) -> bytes:
    for kind, share, extra in steps:
        at = int(share * len(content))
        if kind == "flip":
            content = (
                content[:at]
                + bytes(a ^ b for a, b in zip(content[at:], extra, strict=False))
                + content[at + len(extra) :]
            )
        elif kind == "cut":
            content = content[:at]
        elif kind == "insert":
            content = content[:at] + extra + content[at:]
        elif kind == "repeat":
            content = content[:at] + content[at : at + 64] * len(extra) + content[at:]
        else:
            content = content[:at] + bytes(len(extra)) + content[at + len(extra) :]
    return content


def tried(call: Callable[[], object], name: str | None = None) -> bool:
    """Whether a call was refused; a refusal is one line and names what it refuses."""
    try:
        call()
    except XaiError as error:
        text = str(error)
        assert text.isprintable()
        assert len(text) < 700
        assert name is None or name in text
        return True
    return False


def weights() -> dict[str, bytes]:
    """Return a checkpoint of each form."""
    state = GapCnn().state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return {"pt": buffer.getvalue(), "safetensors": save(state)}


def archive() -> bytes:
    """Return something like a Keras archive."""
    buffer = io.BytesIO()
    layer = {"class_name": "Dense", "module": "keras.layers", "registered_name": None, "config": {"units": 3}}
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(
            "config.json", json.dumps({"class_name": "Sequential", "module": "keras", "config": {"layers": [layer]}})
        )
        file.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        file.writestr("model.weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(200))
    return buffer.getvalue()


WEIGHTS = weights()
SEEDS = {**WEIGHTS, "keras": archive(), "onnx": b"\x08\x08\x12\x07pytorch\x3a\x04\x12\x02ab\x42\x02\x10\x11"}


def judge_picture(kind: str, steps: list[tuple[str, float, bytes]]) -> None:
    tried(lambda: decode_bytes(changed(IMAGES[kind], steps), "p.png"), "p.png")


def judge_content(kind: str, steps: list[tuple[str, float, bytes]]) -> None:
    content = changed(SEEDS[kind], steps)
    for trust in (False, True):
        tried(lambda trust=trust: kind_of(io.BytesIO(content), Path("w.bin"), len(content), trust=trust), "w.bin")
    tried(lambda: check_archive(content, "w.keras"), "w.keras")


@QUICK
@given(kind=st.sampled_from(sorted(IMAGES)), steps=changes())
def test_pictures(kind: str, steps: list[tuple[str, float, bytes]]) -> None:
    judge_picture(kind, steps)


@QUICK
@given(content=st.binary(max_size=400))
def test_anything_as_a_picture(content: bytes) -> None:
    assert tried(lambda: decode_bytes(content, "p.png"), "p.png")


@QUICK
@given(kind=st.sampled_from(sorted(SEEDS)), steps=changes())
def test_the_structure_of_model_files(kind: str, steps: list[tuple[str, float, bytes]]) -> None:
    judge_content(kind, steps)


@QUICK
@given(content=st.binary(max_size=400))
def test_anything_as_a_model_file(content: bytes) -> None:
    tried(lambda: kind_of(io.BytesIO(content), Path("w.bin"), len(content), trust=True), "w.bin")
    tried(lambda: check_archive(content, "w.keras"), "w.keras")


@settings(QUICK, max_examples=40)
@given(kind=st.sampled_from(sorted(WEIGHTS)), steps=changes())
def test_weights(tmp_path_factory: Any, kind: str, steps: list[tuple[str, float, bytes]]) -> None:
    path = tmp_path_factory.mktemp("w") / "w.bin"
    path.write_bytes(changed(WEIGHTS[kind], steps))
    tried(lambda: xai.load(path, GapCnn, input_size=(16, 16)))


@QUICK
@given(
    header=st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=5), x, max_size=4),
    )
)
def test_any_header_of_safetensors(tmp_path_factory: Any, header: Any) -> None:
    content = json.dumps(header).encode()
    path = tmp_path_factory.mktemp("w") / "w.bin"
    path.write_bytes(struct.pack("<Q", len(content)) + content + bytes(16))
    assert tried(lambda: xai.load(path, GapCnn), "w.bin")


def tables(folder: Path) -> dict[str, Path]:
    """Write a data set of each form."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.png").write_bytes(IMAGES["png"])
    (folder / "t.csv").write_text("path,label,sex\na.png,cat,f\na.png,dog,m\n")
    np.savez(folder / "a.npz", images=np.zeros((3, 4, 4), np.uint8), labels=np.arange(3))
    return {"csv": folder / "t.csv", "npz": folder / "a.npz"}


@settings(QUICK, max_examples=60)
@given(kind=st.sampled_from(["csv", "npz"]), steps=changes())
def test_data_sets(tmp_path_factory: Any, kind: str, steps: list[tuple[str, float, bytes]]) -> None:
    path = tables(tmp_path_factory.mktemp("d"))[kind]
    path.write_bytes(changed(path.read_bytes(), steps))

    def read() -> None:
        data = xai.load_data(path)
        _ = [data.images[k] for k in range(len(data))], data.labels

    tried(read)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: Any) -> Path:
    """Return the folder of a saved result."""
    folder: Path = tmp_path_factory.mktemp("kept")
    xai.explain(GapCnn(), pictures(1), "saliency").save(folder)
    return folder


@settings(QUICK, max_examples=60)
@given(which=st.integers(0, 5), steps=changes())
def test_saved_results(tmp_path_factory: Any, kept: Path, which: int, steps: list[tuple[str, float, bytes]]) -> None:
    folder = tmp_path_factory.mktemp("e") / "e"
    shutil.copytree(kept, folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = files[which % len(files)]
    path.write_bytes(changed(path.read_bytes(), steps))
    tried(lambda: xai.Explanation.load(folder))


@pytest.mark.slow
@settings(LONG)
@given(kind=st.sampled_from(sorted(SEEDS)), steps=changes())
def test_the_structure_of_many_model_files(kind: str, steps: list[tuple[str, float, bytes]]) -> None:
    judge_content(kind, steps)


TARGETS = [
    "image", "checkpoint", "archive", "config", "manifest", "parquet", "arrays", "cifar", "store", "result", "audit",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_with_a_guided_fuzzer(tmp_path: Path, target: str) -> None:
    """Atheris looks for new paths by itself; in a process of its own, as it takes the process over."""
    pytest.importorskip("atheris", reason="atheris has wheels for Linux alone")
    script = Path(__file__).parent / "fuzzing" / "fuzz.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    asked = [sys.executable, str(script), target, "-max_total_time=60", "-rss_limit_mb=4096", "-timeout=20"]
    ran = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr[-3000:]
    LOG.info(f"{target}: {ran.stderr.strip().splitlines()[-1]}")
