"""Small tables, arrays, images and settings that ask for much memory, time or disk: refused quickly, in one line."""

import gzip
import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from checkpoint_bytes import zip_of
from measured import refused, soon
from pyarrow import parquet

import xai


def npy_head(*shape: int) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def npz_bomb(megabytes: int = 256) -> bytes:
    """Return an archive of zeros."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("images.npy", "w") as file:
        file.write(npy_head(megabytes, 1024, 1024))
        for _ in range(megabytes):
            file.write(bytes(1 << 20))
    return stream.getvalue()


def idx_bomb() -> bytes:
    return gzip.compress(b"\0\0\x08\x03" + struct.pack(">III", 256, 1024, 1024) + bytes(1 << 24))


def table(columns: dict[str, pa.Array], times: int = 1) -> bytes:
    stream = io.BytesIO()
    part = pa.table(columns)
    with parquet.ParquetWriter(stream, part.schema, compression="zstd") as file:
        for _ in range(times):
            file.write_table(part)
    return stream.getvalue()


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))


def tiff(side: int) -> bytes:
    values = {256: side, 257: side, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: side, 279: side}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    return b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + struct.pack("<I", 0)


def gif(side: int) -> bytes:
    frame = b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x01\x44\0;"
    return b"GIF89a" + struct.pack("<HH", side, side) + b"\x80\0\0" + bytes(6) + frame


ROWS = {name: pa.array(["a"] * 100_000).dictionary_encode() for name in ("path", "label")}
EXHAUSTING = {
    "zeros": ("d.npz", npz_bomb, "decompression bomb"),
    "an array of a terabyte": ("d.npz", lambda: zip_of([("images.npy", npy_head(1 << 40))]), "not what its header"),
    "an array whose size wraps": ("d.npz", lambda: zip_of([("images.npy", npy_head(1 << 62, 4))]), "not what its"),
    "many arrays": ("d.npz", lambda: zip_of([(f"{k}.npy", b"") for k in range(30_000)]), "far too many arrays"),
    "a label of ten digits": ("d.csv", lambda: b"path,label\na,9999999999\n", "more than 100,000 classes"),
    "a label of very many": ("d.csv", lambda: b"path,label\na," + b"9" * 9999, "the number of no class"),
    "very many labels": (
        "d.csv", lambda: b"path,label\n" + b"".join(b"a,l%d\n" % k for k in range(200_000)), "different labels",
    ),
    "one long cell": ("d.csv", lambda: b"path,label\n" + b"a" * (32 << 20) + b",b\n", "cannot be read as a table"),
    "an open quote": ("d.csv", lambda: b'path,label\n"' + b"a\n" * (8 << 20), "cannot be read as a table"),
    "one text in every row": (
        "d.parquet", lambda: table({"path": pa.array(["a" * (1 << 20)] * 150), "label": pa.array(["b"] * 150)}),
        "more than the 4,096",
    ),
    "one row very often": ("d.parquet", lambda: table(ROWS, 20), "each image has its own path"),
    "lists": ("d.parquet", lambda: table({"path": pa.array(["a"]), "x": pa.array([[1] * 9])}), "no texts or numbers"),
    "zeros in IDX": ("train-images-idx3-ubyte.gz", idx_bomb, "decompression bomb"),
    "a CIFAR batch of claims": ("data_batch_1", lambda: b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40), "damaged"),
    "an image of a gigapixel": ("a.png", lambda: png(30_000, 30_000), "more than 40 million pixels"),
    "a TIFF of claims": ("a.tiff", lambda: tiff(60_000), "more than 40 million pixels"),
    "a GIF of claims": ("a.gif", lambda: gif(65_535), "more than 40 million pixels"),
    "nested settings": ("xai.toml", lambda: b"a=" + b"[" * 200_000, "no TOML"),
    "a key of many parts": ("xai.toml", lambda: b".".join([b"a"] * 50_000) + b"=1", "very many parts"),
    "a number of many digits": ("xai.toml", lambda: b"a=" + b"9" * 1_000_000, "very many digits"),
    "many settings": ("xai.toml", lambda: b"".join(b"k%d=1\n" % k for k in range(200_000)), "more than a megabyte"),
}  # fmt: skip


def opened(path: Path) -> object:
    if path.suffix == ".toml":
        return xai.audit(path)
    if path.suffix in {".png", ".gif", ".tiff"}:
        return xai.explain(xai.load("example:fashion"), path)
    return xai.load_data(path if path.suffix in {".npz", ".csv", ".parquet"} else path.parent)


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    """Load libraries and the example network first: that happens once."""
    xai.load("example:fashion")
    assert len(xai.load_data("example:digits"))


def test_there_are_enough() -> None:
    assert len(EXHAUSTING) >= 20


@pytest.mark.parametrize("name", EXHAUSTING)
def test_refused_quickly_and_without_memory(tmp_path: Path, name: str) -> None:
    file, make, words = EXHAUSTING[name]
    path = tmp_path / file
    path.write_bytes(make())
    if file.startswith("train"):
        (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + struct.pack(">I", 256) + bytes(256))

    def once() -> float:
        error, took = refused(xai.InputError, lambda: opened(path))
        assert words in str(error)
        assert str(error).isprintable()
        assert str(path) in str(error)
        return took

    soon(once)


def test_what_is_ordinary_is_still_read(tmp_path: Path) -> None:
    """Compressed arrays of images, sparse labels, texts from dictionaries, large numbers of classes."""
    images = np.random.default_rng(0).integers(0, 255, (20, 8, 8), dtype=np.uint8)
    np.savez_compressed(tmp_path / "a.npz", images=np.repeat(images, 50, 0), labels=np.zeros(1000, np.int64))
    assert len(xai.load_data(tmp_path / "a.npz")) == 1000
    columns = {name: pa.array(["0", "21840"] * 5).dictionary_encode() for name in ("path", "label")}
    (tmp_path / "t.parquet").write_bytes(table(columns | {"sex": pa.array(["f", "m"] * 5, pa.large_string())}))
    data = xai.load_data(tmp_path / "t.parquet")
    assert (len(data), len(data.class_names), list(data.groups["sex"][:2])) == (10, 21841, ["f", "m"])
