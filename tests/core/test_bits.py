"""16-bit files that hold fewer bits, and arrays of many bands: read by their true range, or refused in a line."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin
from torch import nn

import xai
from xai.core.images.decoding import decode_bytes
from xai.core.images.inputs import decode_images
from xai.errors import DataError, ImageError, RangeError, ShapeError

RAMP = np.linspace(0, 4095, 7 * 9).round().astype(np.uint16).reshape(7, 9)  # 12 bits, odd and non-square


def encoded(pixels: np.ndarray, kind: str, **tags: int) -> bytes:
    stream = io.BytesIO()
    extra: dict[str, Any] = {}
    if tags:
        info = TiffImagePlugin.ImageFileDirectory_v2()
        info[281] = tags["most"]
        extra["tiffinfo"] = info
    Image.fromarray(pixels).save(stream, kind, **extra)
    return stream.getvalue()


def with_significant_bits(png: bytes, bits: int) -> bytes:
    """Put an sBIT chunk behind the header, as cameras do."""
    body = b"sBIT" + bytes([bits])
    chunk = struct.pack(">I", 1) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + chunk + png[33:]


def as_npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_bits_of_the_caller(kind: str) -> None:
    found = decode_bytes(encoded(RAMP, kind), "scan", 12)
    np.testing.assert_allclose(found.pixels[..., 0], RAMP / 4095, atol=1e-7)
    assert found.notes == ("scan: 12 bits a pixel, as `bits` says, scaled by 4095",)
    assert float(found.pixels.max()) == 1


def test_bits_that_the_file_tells() -> None:
    for content, where in (
        (encoded(RAMP, "TIFF", most=4095), "its MaxSampleValue"),
        (with_significant_bits(encoded(RAMP, "PNG"), 12), "its sBIT"),
    ):
        found = decode_bytes(content, "scan")
        np.testing.assert_allclose(found.pixels[..., 0], RAMP / 4095, atol=1e-7)
        assert found.notes == (f"scan: 12 bits a pixel, as {where} says, scaled by 4095",)


def test_nearly_black_is_said_and_whole_16_bits_are_not_doubted() -> None:
    dark = decode_bytes(encoded(RAMP, "PNG"), "scan")
    np.testing.assert_allclose(dark.pixels[..., 0], RAMP / 65535, atol=1e-7)
    assert "no value above 4095: if fewer bits are used, such as 12, give `bits`" in dark.notes[0]
    whole = decode_bytes(encoded((RAMP * 16).astype(np.uint16), "PNG"), "scan")
    assert whole.notes == ("scan: 16 bits a pixel, scaled by 65535",)
    eight = decode_bytes(encoded((RAMP >> 4).astype(np.uint8), "PNG"), "scan", 12)
    np.testing.assert_allclose(eight.pixels[..., 0], (RAMP >> 4) / 255, atol=1e-7)


def colour_png(pixels: np.ndarray) -> bytes:
    """Return a PNG file of 16-bit colours (H, W, 3), or with transparency (H, W, 4)."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, {3: 2, 4: 6}[pixels.shape[2]], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bands", [3, 4])
@pytest.mark.parametrize(("factor", "most"), [(1, 4095), (1 / 4, 1023), (1 / 16, 255), (16, None), (2, None)])
def test_nearly_black_colours_are_said_too(bands: int, factor: float, most: int | None) -> None:
    pixels = np.repeat((RAMP * factor).astype(np.uint16)[..., None], bands, axis=2)
    (first, *more) = decode_bytes(colour_png(pixels), "scan").notes
    assert not more
    assert first.startswith("scan: 16 bits a colour, of which the upper 8 are read")
    words = f"no value above {most}: if fewer bits are used, save uint16 .npy and give `bits`"
    assert (words in first) == (most is not None)
    assert ("no value above" in first) == (most is not None)


def test_colours_of_12_bits_say_what_to_do_and_it_works(tmp_path: Path) -> None:
    pixels = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=2)
    with pytest.raises(ImageError, match=r"uint16 \.npy .*and give bits=12"):
        decode_bytes(colour_png(pixels), "scan", 12)
    np.save(tmp_path / "scan.npy", pixels)
    (picture,), _ = decode_images(tmp_path / "scan.npy", 12)
    np.testing.assert_allclose(picture.pixels.numpy().transpose(1, 2, 0), pixels / 4095, atol=1e-7)


@pytest.mark.parametrize(
    ("kind", "cure"),
    [(np.int64, r"array\.astype\(np\.uint8\)"), (np.int16, r"and `bits` beyond"), (bool, r"np\.uint8\) \* 255"),
     (complex, "np.float32")],
)  # fmt: skip
def test_arrays_of_other_types_say_the_cure(kind: type, cure: str, tmp_path: Path) -> None:
    array = np.ones((2, 5, 7, 3), dtype=kind)
    for call in (lambda: decode_images(array), lambda: decode_images([array[0]])):
        with pytest.raises(RangeError, match=cure):
            call()
    np.savez(tmp_path / "a.npz", images=array)
    with pytest.raises(DataError, match=cure):
        xai.load_data(tmp_path / "a.npz")
    with pytest.raises(RangeError, match=r"`\.float\(\)`"):
        decode_images(torch.ones(3, 5, 7, dtype=torch.bool))


def test_values_beyond_the_bits_and_bits_that_no_sample_has() -> None:
    with pytest.raises(RangeError, match="a value of 4095 needs more than 10 bits"):
        decode_bytes(encoded(RAMP, "PNG"), "scan", 10)
    for bits in (7, 17, 12.0, True):
        with pytest.raises(RangeError, match="Expected `bits` as a whole number from 8 to 16"):
            decode_bytes(encoded(RAMP, "PNG"), "scan", bits)  # type: ignore[arg-type]


def test_arrays_of_16_bits_need_their_bits() -> None:
    with pytest.raises(RangeError, match="pass bits=12 or 16"):
        decode_images(RAMP)
    (picture,), _ = decode_images(RAMP, 12)
    np.testing.assert_allclose(picture.pixels[0].numpy(), RAMP / 4095, atol=1e-7)
    with pytest.raises(RangeError, match=r"Expected a uint8 array, .* but got int64"):
        decode_images(RAMP.astype(np.int64), 12)


@pytest.mark.parametrize("shape", [(13, 17, 2), (13, 17, 5), (3, 13, 17, 5), (2, 40, 50, 12)])
def test_arrays_of_bands(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).random(shape, dtype=np.float32)
    pictures, single = decode_images(array)
    assert single == (len(shape) == 3)
    every = array[None] if single else array
    for picture, right in zip(pictures, every, strict=True):
        np.testing.assert_array_equal(picture.pixels.numpy(), right.transpose(2, 0, 1))


@pytest.mark.parametrize("shape", [(5, 13, 17), (2, 5, 13, 17), (40, 28, 28)])
def test_arrays_with_bands_in_front_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"Expected an array \(H, W\), \(H, W, C\) or \(N, H, W, C\)"):
        decode_images(np.zeros(shape, dtype=np.float32))


def test_npy_files() -> None:
    bands = np.random.default_rng(0).integers(0, 4096, (9, 14, 5), dtype=np.uint16)
    np.testing.assert_allclose(decode_bytes(as_npy(bands), "b.npy", 12).pixels, bands / 4095, atol=1e-7)
    turned = np.asfortranarray(bands)
    np.testing.assert_allclose(decode_bytes(as_npy(turned), "b.npy", 12).pixels, bands / 4095, atol=1e-7)
    for foreign in (bands.astype(">u2"), (bands / 4095).astype(">f4"), (bands / 4095).astype(np.float16)):
        np.testing.assert_allclose(decode_bytes(as_npy(foreign), "b.npy", 12).pixels, bands / 4095, atol=1e-3)
        (picture,), _ = decode_images(foreign, 12)
        np.testing.assert_allclose(picture.pixels.numpy().transpose(1, 2, 0), bands / 4095, atol=1e-3)
    grey = np.random.default_rng(0).random((9, 14))
    np.testing.assert_allclose(decode_bytes(as_npy(grey), "g.npy").pixels[..., 0], grey, atol=1e-7)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (as_npy(np.array([{"a": 1}], dtype=object)), "expected one image of numbers"),
        (as_npy(np.zeros((2, 9, 14, 5))), "expected one image of numbers"),
        (as_npy(np.zeros((9, 14, 5)))[:-8], "expected one image of numbers"),
        (as_npy(np.zeros((5, 9, 14))), "Move its axes"),
        (as_npy(np.full((9, 14), np.nan)), r"floats outside \[0, 1\]"),
        (as_npy(np.full((9, 14), 200.0)), r"floats outside \[0, 1\]"),
        (as_npy(RAMP), "pass bits=12 or 16"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "cannot be decoded"),
    ],
)
def test_npy_files_that_hold_no_image(content: bytes, words: str) -> None:
    with pytest.raises((ImageError, RangeError), match=words) as caught:
        decode_bytes(content, "x.npy")
    assert "\n" not in str(caught.value)


def tiff_of_bands(bands: int) -> bytes:
    """Return an uncompressed TIFF of 6 x 4 pixels with so many 8-bit samples a pixel, written by hand."""
    entries = [(256, 4, 6), (257, 4, 4), (259, 3, 1), (262, 3, 2), (273, 4, 0), (277, 3, bands), (278, 4, 4)]
    entries += [(279, 4, 24 * bands), (284, 3, 1)]
    tail = 8 + 2 + 12 * (len(entries) + 2) + 4
    table = [(258, 3, bands, tail), (338, 3, max(0, bands - 3), tail + 2 * bands)]
    start = tail + 2 * bands + 2 * max(0, bands - 3)
    rows = [(tag, kind, 1, start if tag == 273 else value) for tag, kind, value in entries] + table
    listed = b"".join(struct.pack("<HHII", *row) for row in sorted(rows))
    extra = struct.pack(f"<{bands}H", *[8] * bands) + bytes(2 * max(0, bands - 3))
    return b"II*\0" + struct.pack("<IH", 8, len(rows)) + listed + bytes(4) + extra + bytes(range(24)) * bands


@pytest.mark.parametrize("bands", [5, 6, 9])
def test_tiff_files_of_more_bands_than_are_read_are_refused_with_the_cure(bands: int) -> None:
    with pytest.raises(ImageError, match=r"bands.*Save it as \.npy, or many"):
        decode_bytes(tiff_of_bands(bands), "scene.tif")


def net_of(bands: int) -> xai.Classifier:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(bands, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    return xai.Classifier(net.eval(), channels=bands, input_size=(9, 14))


def test_bits_and_bands_in_every_reader(tmp_path: Path) -> None:
    bands = np.random.default_rng(0).integers(0, 4096, (4, 9, 14, 5), dtype=np.uint16)
    for k, one in enumerate(bands):
        place = tmp_path / "set" / f"class{k % 2}"
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / f"{k}.npy", one)
    np.savez(tmp_path / "set.npz", images=bands, labels=np.array([0, 1, 0, 1]))
    (tmp_path / "set.csv").write_text("path,label\n" + "".join(f"set/class{k % 2}/{k}.npy,{k % 2}\n" for k in range(4)))
    order = {"set": (0, 2, 1, 3), "set.npz": (0, 1, 2, 3), "set.csv": (0, 1, 2, 3)}
    clf = net_of(5)
    right = xai.explain(clf, torch.from_numpy(bands[0] / 4095).permute(2, 0, 1).float(), "saliency")
    for name, rows in order.items():
        data = xai.load_data(tmp_path / name, bits=12)
        np.testing.assert_allclose(data.images[:].numpy(), bands[list(rows)].transpose(0, 3, 1, 2) / 4095, atol=1e-6)
        torch.testing.assert_close(xai.explain(clf, data.images[0], "saliency").attribution, right.attribution)
    for image in (tmp_path / "set/class0/0.npy", bands[0], [bands[0]]):
        found = xai.explain(clf, image, "saliency", bits=12)
        torch.testing.assert_close(found.attribution, right.attribution)
    rating = xai.rate_explanation(clf, bands[0], xai.explain(clf, bands[0], "saliency", bits=12), bits=12)
    assert next(check for check in rating.checks[0] if check.name == "reproduction").verdict == "trust"
    with pytest.raises(DataError, match="pass bits=12 or 16"):
        xai.load_data(tmp_path / "set.npz")
