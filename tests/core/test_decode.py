"""Image files of every kind: golden pixels for those that can be shown, one line for those that cannot."""

import io
import os
import random
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from xai.core.images import decoding as decode
from xai.core.images.decoding import Decoded, decode_bytes, decode_file, decode_pil
from xai.core.images.inputs import decode_images
from xai.errors import ImageError


def encoded(picture: Image.Image, kind: str, **settings: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **settings)
    return stream.getvalue()


def decoded(picture: Image.Image, kind: str = "PNG", **settings: Any) -> Decoded:
    return decode_bytes(encoded(picture, kind, **settings), "photo")


def refusal(content: bytes, name: str = "photo.png") -> str:
    """Return the message of the refusal, which is one line that names the file."""
    with pytest.raises(ImageError, match=r"^photo") as caught:
        decode_bytes(content, name)
    message = str(caught.value)
    assert message.startswith(name)
    assert message.isprintable()
    return message


def colours() -> np.ndarray:
    return np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [255, 255, 255], [10, 128, 250]]], np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_eight_bit_colour_is_exact(kind: str) -> None:
    found = decoded(Image.fromarray(colours()), kind, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(found.pixels, colours().astype(np.float32) / 255)
    assert found.pixels.dtype == np.float32
    assert found.notes == ()
    assert len(found.sha256) == 64


def test_jpeg() -> None:
    found = decoded(Image.new("RGB", (16, 16), (200, 100, 50)), "JPEG", quality=95)
    np.testing.assert_allclose(found.pixels, np.broadcast_to([200, 100, 50], (16, 16, 3)) / 255, atol=0.01)


def test_grey_keeps_one_channel() -> None:
    found = decoded(Image.fromarray(np.array([[0, 51, 255]], np.uint8)))
    np.testing.assert_allclose(found.pixels[..., 0], [[0, 0.2, 1]], atol=1e-7)
    assert found.pixels.shape == (1, 3, 1)


def test_one_bit() -> None:
    found = decoded(Image.fromarray(np.array([[True, False], [False, True]])))
    np.testing.assert_array_equal(found.pixels[..., 0], [[1, 0], [0, 1]])


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "I;16"), ("TIFF", "I;16"), ("TIFF", "I;16B")])
def test_sixteen_bits_keep_their_ramp(kind: str, mode: str) -> None:
    ramp = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    order = ">u2" if mode.endswith("B") else "<u2"
    picture = Image.frombytes(mode, (16, 16), ramp.astype(order).tobytes())
    found = decoded(picture, kind)
    np.testing.assert_allclose(found.pixels[..., 0], ramp / 65535, atol=1e-7)
    assert len(np.unique(found.pixels)) == 256
    assert "16 bits a pixel, scaled by 65535" in found.notes[0]


def test_cmyk_jpeg() -> None:
    found = decoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    np.testing.assert_allclose(found.pixels, np.broadcast_to([1.0, 0, 0], (16, 16, 3)), atol=0.03)
    assert found.notes == ("photo: converted from CMYK to RGB",)


def palette() -> Image.Image:
    picture = Image.frombytes("P", (2, 2), bytes([0, 1, 2, 0]))
    picture.putpalette([255, 0, 0, 0, 128, 0, 0, 0, 64])
    return picture


def test_palette() -> None:
    found = decoded(palette())
    np.testing.assert_array_equal((found.pixels * 255).round(), [[[255, 0, 0], [0, 128, 0]], [[0, 0, 64], [255, 0, 0]]])
    assert found.notes == ()


def test_palette_with_transparency_is_shown_on_white() -> None:
    found = decoded(palette(), transparency=0)
    wanted = [[[255, 255, 255], [0, 128, 0]], [[0, 0, 64], [255, 255, 255]]]
    np.testing.assert_array_equal((found.pixels * 255).round(), wanted)
    assert found.notes == ("photo: transparent parts are shown on white",)


def test_alpha_is_shown_on_white_and_hidden_colours_stay_hidden() -> None:
    rgba = np.array([[[255, 0, 0, 0], [255, 0, 0, 255], [0, 0, 0, 51]]], np.uint8)
    found = decoded(Image.fromarray(rgba))
    np.testing.assert_allclose(found.pixels, [[[1, 1, 1], [1, 0, 0], [0.8, 0.8, 0.8]]], atol=1e-6)
    assert "white" in found.notes[0]


def test_grey_with_alpha() -> None:
    found = decoded(Image.fromarray(np.array([[[0, 0], [0, 255], [0, 51]]], np.uint8), "LA"))
    np.testing.assert_allclose(found.pixels[..., 0], [[1, 0, 0.8]], atol=1e-6)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_of_several_frames(kind: str) -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "lime", "blue")]
    settings = {"lossless": True} if kind == "WEBP" else {}
    found = decoded(frames[0], kind, save_all=True, append_images=frames[1:], **settings)
    np.testing.assert_array_equal(found.pixels, np.broadcast_to(np.float32([1, 0, 0]), (3, 4, 3)))
    assert found.notes[0] == "photo: animated or with several pages; only the first frame is used"


def test_a_picture_object_stays_at_its_frame() -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "lime")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(content)) as picture:
        picture.seek(1)
        np.testing.assert_array_equal(decode_pil(picture, "photo").pixels[0, 0], [1, 0, 0])
        assert picture.tell() == 1


STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_every_exif_orientation_is_turned_upright(orientation: int, kind: str) -> None:
    upright = colours().repeat(16, 0).repeat(16, 1)
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    settings = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}.get(kind, {})
    found = decoded(stored, kind, exif=exif, **settings)
    np.testing.assert_allclose(found.pixels, upright / 255, atol=0.03 if kind == "JPEG" else 1e-6)
    assert any("upright" in note for note in found.notes) == (orientation != 1)


def test_a_symmetric_picture_is_turned_and_said_so_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert "upright" in decoded(Image.new("RGB", (8, 8)), "PNG", exif=exif).notes[0]


def test_a_strip_of_20000_pixels() -> None:
    ramp = np.linspace(0, 255, 20_000).round().astype(np.uint8)
    found = decoded(Image.fromarray(np.stack([ramp] * 3)))
    np.testing.assert_allclose(found.pixels[..., 0], np.stack([ramp] * 3) / 255, atol=1e-6)


def test_one_pixel() -> None:
    found = decoded(Image.new("RGB", (1, 1), (255, 0, 51)))
    np.testing.assert_allclose(found.pixels, [[[1, 0, 0.2]]], atol=1e-6)
    assert found.notes == ("photo: only 1 x 1 pixels; little can be seen in it",)


def test_float_tiff() -> None:
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(decoded(Image.fromarray(values), "TIFF").pixels[..., 0], values)


@pytest.mark.parametrize("value", [-0.5, 1.5, 255.0, np.nan, np.inf])
def test_float_tiff_out_of_range_is_refused(value: float) -> None:
    values = np.full((3, 4), 0.5, np.float32)
    values[1, 2] = value
    assert "Scale it to [0, 1] first" in refusal(encoded(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("value", [-1, 65_536, 2**31 - 1])
def test_32_bit_integers_are_refused(value: int) -> None:
    values = np.full((3, 4), value, np.int32)
    assert "of unknown range. Save it with 8 or 16 bits" in refusal(encoded(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "LA", "PA", "I;16", "LAB"]
)
def test_picture_objects_of_every_mode(mode: str) -> None:
    found = decode_pil(Image.new(mode, (4, 3)), "image")
    assert found.pixels.shape[:2] == (3, 4)
    assert found.pixels.shape[2] in {1, 3}
    assert 0 <= found.pixels.min() <= found.pixels.max() <= 1


def test_picture_objects_that_cannot_be_shown_are_refused() -> None:
    with pytest.raises(ImageError, match=r"^image: cannot be decoded \(ValueError\)\. Save it again"):
        decode_pil(Image.new("La", (4, 3)), "image")


def test_truncated_picture_objects_are_refused() -> None:
    content = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)), "JPEG")
    with (
        Image.open(io.BytesIO(content[: len(content) // 2])) as picture,
        pytest.raises(ImageError, match="image: the image is truncated"),
    ):
        decode_images(picture)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_a_truncated_file(kind: str) -> None:
    content = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)), kind)
    assert "Save" in refusal(content[: len(content) // 2]) or kind == "WEBP"


def test_a_truncated_jpeg_says_so() -> None:
    content = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)), "JPEG")
    assert "the image is truncated or damaged" in refusal(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"hello, this is text\n" * 20, "not an image of a format that is read, or damaged. Give one of JPEG, PNG"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"></svg>', "an SVG drawing"),
        (b"<html><body>404</body></html>", "not an image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400), "not an image"),
        (b"\x89PNG\r\n\x1a\n", "not an image"),
        (b"%PDF-1.7 ...", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
        (b"GIF89a", "not an image"),
        (b"\x00", "not an image"),
    ],
)
def test_what_is_no_picture(content: bytes, words: str) -> None:
    assert words in refusal(content)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int) -> bytes:
    """Return a PNG that says it is large and is small."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def gif_of(width: int, height: int) -> bytes:
    screen, frame = (width, height, 0, 0, 0), (0, 0, width, height, 0)
    return b"GIF89a" + struct.pack("<HHBBB", *screen) + b"," + struct.pack("<HHHHB", *frame) + b"\x08\x00;"


@pytest.mark.parametrize(
    "content",
    [
        png_of(50_000, 50_000),
        png_of(2**31 - 1, 2**31 - 1),
        png_of(8000, 6000),
        png_of(12_000, 12_000),
        png_of(33_000, 10),
        gif_of(65_535, 65_535),
    ],
    ids=["2.5 gigapixel", "largest", "48 megapixel", "Pillow only warns", "too wide", "GIF"],
)
def test_a_decompression_bomb_is_refused_at_once(content: bytes) -> None:
    started = time.perf_counter()
    message = refusal(content)
    assert time.perf_counter() - started < 1
    assert "Save it smaller" in message


def test_the_largest_that_is_allowed_is_not_refused_by_size() -> None:
    assert "truncated" in refusal(png_of(8000, 5000))


def test_too_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(Image.new("RGB", (8, 8)), "PNG"))
    monkeypatch.setattr(decode, "MAX_BYTES", 20)
    for read in (lambda: decode_file(path), lambda: decode_bytes(path.read_bytes(), str(path))):
        with pytest.raises(ImageError, match=r"photo\.png: 0 MB, more than the 0 MB allowed"):
            read()


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(Image.fromarray(colours()), "PNG"))
    assert decode_file(path).sha256 == decode_bytes(path.read_bytes(), "x").sha256
    (picture,), single = decode_images(path)
    assert (picture.name, single) == ("photo.png", True)
    assert decode_images(str(path))[0][0].size == (2, 3)


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(Image.fromarray(colours()), "PNG"))
    assert decode_file(path).pixels.shape == (2, 3, 3)


def refused_file(path: Path, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        decode_file(path)
    assert str(caught.value).isprintable()


def test_missing_folder_and_odd_names(tmp_path: Path) -> None:
    refused_file(tmp_path / "no.png", r"no\.png: no such file")
    refused_file(tmp_path, "expected an image file, but this is a folder")
    refused_file(tmp_path / "a\nb\x1b[31m.png", r"a\\nb\\x1b\[31m\.png: no such file")
    refused_file(tmp_path / "a\0b.png", r"a\\x00b\.png: no such file")
    refused_file(tmp_path / ("x" * 5000), r"cannot be read \(File name too long\)")
    (tmp_path / "file").write_bytes(b"x")
    refused_file(tmp_path / "file" / "photo.png", r"cannot be read \(Not a directory\)")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    refused_file(tmp_path / "link.png", "no such file")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    refused_file(tmp_path / "pipe.png", r"pipe\.png: expected an image file")


def test_notes_are_one_line_whatever_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a\nb.png"
    path.write_bytes(encoded(Image.new("RGBA", (1, 1)), "PNG"))
    assert len(decode_file(path).notes) == 2
    assert all(note.isprintable() for note in decode_file(path).notes)


def test_other_formats_of_pillow_are_refused() -> None:
    for kind in ("PPM", "TGA", "ICO", "PCX", "SGI", "JPEG2000", "DDS"):
        assert "not an image" in refusal(encoded(Image.new("RGB", (16, 16)), kind))


def seeds() -> dict[str, bytes]:
    """Return one small image of each format."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (12, 15, 3), np.uint8))
    frames = [noise.quantize(8), noise.rotate(180).quantize(8)]
    return {
        "JPEG": encoded(noise, "JPEG"),
        "PNG": encoded(noise.convert("RGBA"), "PNG"),
        "16-bit PNG": encoded(Image.fromarray(np.arange(180, dtype=np.uint16).reshape(12, 15) * 300), "PNG"),
        "GIF": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "WEBP": encoded(noise, "WEBP"),
        "BMP": encoded(noise, "BMP"),
        "TIFF": encoded(noise, "TIFF", compression="tiff_lzw"),
        "float TIFF": encoded(Image.fromarray(np.random.default_rng(0).random((12, 15), np.float32)), "TIFF"),
    }


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Flip, cut, repeat or overwrite some bytes."""
    found = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(found))
        match chance.randrange(5):
            case 0:
                found[place] = chance.randrange(256)
            case 1:
                found[place] ^= 1 << chance.randrange(8)
            case 2 if len(found) > 8:
                del found[place : place + chance.randint(1, 8)]
            case 3:
                found[place:place] = found[place : place + chance.randint(1, 16)]
            case _:
                found[place : place + 4] = chance.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\0\0\1\0"])
    if chance.random() < 0.5:
        found = bytearray(with_checksums(bytes(found)))
    return bytes(found[: chance.randint(1, len(found))] if chance.random() < 0.1 else found)


def with_checksums(content: bytes) -> bytes:
    """Make the checksums of a PNG right, so that damage gets past them; other bytes come back as they are."""
    if not content.startswith(b"\x89PNG"):
        return content
    found, place = content[:8], 8
    while place + 12 <= len(content):
        size = struct.unpack(">I", content[place : place + 4])[0]
        found += chunk(content[place + 4 : place + 8], content[place + 8 : place + 8 + size])
        place += 12 + size
    return found


def outcome(content: bytes) -> np.ndarray | str:
    """Return the pixels, or the message of the refusal; anything else that is raised is a failure."""
    try:
        return decode_bytes(content, "photo.png").pixels
    except ImageError as error:
        return str(error)


@pytest.mark.parametrize("kind", seeds())
def test_400_damaged_files_decode_or_are_refused_in_one_line(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    chance, content = random.Random(kind), seeds()[kind]
    outcomes = [outcome(mutated(content, chance)) for _ in range(400)]
    for found in outcomes:
        if isinstance(found, str):
            assert found.startswith("photo.png: ")
            assert found.isprintable()
            assert len(found) <= 200
        else:
            assert np.isfinite(found).all()
            assert 0 <= found.min() <= found.max() <= 1
            assert found.shape[2] in {1, 3}
    shown = sum(isinstance(found, np.ndarray) for found in outcomes)
    assert 2 < shown < 398
    written = capfd.readouterr()
    assert written.out + written.err == ""


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "animated GIF"])
def test_half_a_file_is_refused_also_where_another_library_lets_pillow_make_up_the_rest(kind, monkeypatch):
    content, noise = io.BytesIO(), np.random.default_rng(0).integers(0, 256, (3, 97, 120), dtype=np.uint8)
    first, *more = map(Image.fromarray, noise)
    first.save(
        content, kind.removeprefix("animated "), **({"save_all": True, "append_images": more} if "ani" in kind else {})
    )
    whole = content.getvalue()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as WeasyPrint does when it is imported
    assert decode_bytes(whole, "whole").pixels.shape[:2] == (97, 120)
    with pytest.raises(ImageError, match=r"half\.jpg: "):
        decode_bytes(whole[: len(whole) // (6 if "ani" in kind else 2)], "half.jpg")
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_the_switch_comes_back_when_the_last_reader_is_out(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with decode._WHOLE:
        with decode._WHOLE:
            assert not ImageFile.LOAD_TRUNCATED_IMAGES
        assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert ImageFile.LOAD_TRUNCATED_IMAGES
