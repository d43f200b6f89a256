"""Images at the border: every form becomes pixels (C, H, W) in [0, 1], and what cannot is refused with the cure."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import pictures
from torch import Tensor

from xai.core.images.geometry import prepare_batch
from xai.core.images.inputs import InputImage, check_unit_range, decode_images, to_channels
from xai.errors import ImageError, RangeError, ShapeError

BYTES = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3) * 4
WANTED = torch.from_numpy(BYTES.astype(np.float32) / 255).permute(2, 0, 1)


def png(array: np.ndarray = BYTES) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


FORMS: dict[str, Any] = {
    "uint8 array": BYTES,
    "float32 array": BYTES.astype(np.float32) / 255,
    "float64 array": BYTES / 255,
    "float16 array": BYTES.astype(np.float16) / 255,
    "big-endian array": (BYTES / 255).astype(">f8"),
    "mirrored view": np.ascontiguousarray(BYTES[:, ::-1])[:, ::-1],
    "transposed view": np.ascontiguousarray(BYTES.transpose(1, 0, 2)).transpose(1, 0, 2),
    "tensor": WANTED,
    "uint8 tensor": torch.from_numpy(BYTES).permute(2, 0, 1),
    "tensor with a gradient": WANTED.clone().requires_grad_(),
    "image": Image.fromarray(BYTES),
    "open file": io.BytesIO(png()),
}


@pytest.mark.parametrize("form", FORMS)
def test_one_image_in_any_form(form: str) -> None:
    (found,), single = decode_images(FORMS[form])
    assert single
    assert found.size == (4, 5)
    assert not found.pixels.requires_grad
    torch.testing.assert_close(
        found.pixels.float(), WANTED, atol=1e-3 if "float16" in form else 1e-7, rtol=0, check_dtype=False
    )
    assert found.exact == isinstance(FORMS[form], Tensor)


def test_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        (found,), single = decode_images(path)
        assert single
        assert (found.name, len(found.sha256)) == ("a.png", 64)
        torch.testing.assert_close(found.pixels, WANTED)


def test_grey_arrays_and_alpha_arrays() -> None:
    assert decode_images(BYTES[..., 0])[0][0].pixels.shape == (1, 4, 5)
    assert decode_images(BYTES[..., :1])[0][0].pixels.shape == (1, 4, 5)
    rgba = np.concatenate([BYTES, np.full((4, 5, 1), 51, np.uint8)], 2)
    flat = to_channels(decode_images(rgba)[0][0], 3)
    torch.testing.assert_close(flat.pixels, WANTED * 0.2 + 0.8)
    assert "white" in flat.notes[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_double_precision_is_kept(dtype: type) -> None:
    assert decode_images((BYTES / 255).astype(dtype))[0][0].pixels.numpy().dtype == dtype


def test_many_images() -> None:
    arrays = np.stack([BYTES, BYTES[::-1]])
    for many in (arrays, arrays / 255, torch.from_numpy(arrays).permute(0, 3, 1, 2), list(arrays), tuple(arrays)):
        found, single = decode_images(many)
        assert not single
        assert [picture.name for picture in found] == ["image 0", "image 1"]
        torch.testing.assert_close(found[0].pixels.float(), WANTED, check_dtype=False)
        torch.testing.assert_close(found[1].pixels.float(), WANTED.flip(1), check_dtype=False)


def test_a_list_may_mix_forms_and_sizes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    found, _ = decode_images([tmp_path / "a.png", Image.new("L", (7, 3)), WANTED, BYTES[:2]])
    assert [picture.size for picture in found] == [(4, 5), (3, 7), (4, 5), (2, 5)]
    assert [picture.name for picture in found] == ["a.png", "image 1", "image 2", "image 3"]


def test_a_sequence_of_its_own_kind_is_read_item_by_item() -> None:
    class Lazy:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, k: int) -> np.ndarray:
            return np.full((2, 3, 3), k / 2)

    found, single = decode_images(Lazy())
    assert not single
    assert [float(picture.pixels.max()) for picture in found] == [0.0, 0.5]


@pytest.mark.parametrize("given", [None, 3, 1.5, b"bytes", {"image": BYTES}, {1, 2}, object()])
def test_what_is_no_image(given: Any) -> None:
    with pytest.raises(ShapeError, match=r"Expected an image as a path, PIL\.Image, numpy array or tensor, but got"):
        decode_images(given)


@pytest.mark.parametrize("given", [[], (), [None], [[BYTES]], [pictures(2)]])
def test_lists_that_hold_no_images(given: Any) -> None:
    with pytest.raises(ShapeError, match="Expected"):
        decode_images(given)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (3, 0, 4), (4,), (4, 4), (1, 2, 3, 4, 5), ()])
def test_tensors_of_the_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"Expected a tensor \(C, H, W\) or \(N, C, H, W\), but got shape"):
        decode_images(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(0, 4, 4, 3), (4, 0), (4,), (2, 4, 5), (2, 3, 4, 5), (1, 1, 4, 4, 3), ()])
def test_arrays_of_the_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"Expected an array \(H, W\), \(H, W, C\) or \(N, H, W, C\), but got shape"):
        decode_images(np.zeros(shape))


def test_channels_first_arrays_get_a_hint() -> None:
    with pytest.raises(ShapeError, match=r"looks like \(C, H, W\): pass `torch.from_numpy\(array\)`"):
        decode_images(np.zeros((3, 8, 9)))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64, bool, complex, object])
def test_arrays_of_the_wrong_type(dtype: type) -> None:
    with pytest.raises(RangeError, match=r"Expected a uint8 array, or a float array in \[0, 1\], but got"):
        decode_images(np.zeros((4, 4, 3), dtype))


@pytest.mark.parametrize(
    ("dtype", "cure"), [(torch.int16, " / 255"), (torch.int64, " / 255"), (torch.bool, "")]
)  # a bool divided by 255 would be black
def test_tensors_of_the_wrong_type(dtype: torch.dtype, cure: str) -> None:
    with pytest.raises(RangeError, match=rf"Convert it with `.float\(\){cure}`"):
        decode_images(torch.zeros(3, 4, 4, dtype=dtype))


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (torch.full((3, 2, 2), torch.nan), "some pixels are NaN or infinite"),
        (torch.tensor([0.5, torch.nan]), "some pixels are NaN or infinite"),
        (torch.tensor([0.5, -torch.inf]), "some pixels are NaN or infinite"),
        (torch.tensor([0.0, 255.0]), "Divide by 255, or pass a uint8 array"),
        (torch.tensor([-2.1, 2.6]), "the classifier normalises them itself"),
        (torch.tensor([-1.0, 1.0]), "the classifier normalises them itself"),
        (torch.tensor([0.0, 1.5]), r"but got values in \[0, 1.5\]"),
        (torch.tensor([-1e-3, 0.5]), r"but got values in \[-0.001, 0.5\]"),
    ],
)
def test_pixels_out_of_range(pixels: Tensor, words: str) -> None:
    with pytest.raises(RangeError, match=words):
        check_unit_range(pixels, "images")
    with pytest.raises(RangeError, match=words):
        decode_images(pixels.expand(3, 4, -1) if pixels.ndim == 1 else pixels)


def test_rounding_is_no_fault() -> None:
    check_unit_range(torch.tensor([-5e-7, 1 + 5e-7]), "images")
    check_unit_range(torch.zeros(0), "images")
    check_unit_range(torch.tensor([0.0, 1.0], dtype=torch.float16), "images")


def test_grey_becomes_colour_and_colour_grey_in_every_form() -> None:
    grey = to_channels(InputImage(WANTED[:1], "x"), 3)
    assert torch.equal(grey.pixels, WANTED[:1].expand(3, -1, -1))
    luma = to_channels(InputImage(WANTED, "x"), 1)
    wanted = np.asarray(Image.fromarray(BYTES).convert("L")) / 255
    np.testing.assert_allclose(luma.pixels[0].numpy(), wanted, atol=0.6 / 255)
    assert "colour images were converted to grey" in luma.notes[0]
    assert "grey images were repeated" in grey.notes[0]
    assert torch.equal(to_channels(InputImage(WANTED, "x", exact=True), 1).pixels, luma.pixels)
    with pytest.raises(ShapeError, match="Expected 3 channels, but x has 4"):  # of a tensor none is transparency
        to_channels(InputImage(WANTED[:1].expand(4, -1, -1), "x", exact=True), 3)
    with pytest.raises(ShapeError, match=r"Expected 5 channels, but x has 3.*cannot be converted"):
        to_channels(InputImage(WANTED, "x"), 5)


def batch(images: Any, **settings: Any) -> Any:
    usual = {"input_size": None, "channels": 3, "resize": "crop", "crop_ratio": 0.875, "fill": (0.5,) * 3}
    return prepare_batch(images, **{**usual, **settings})


def test_a_tensor_that_is_ready_is_not_copied() -> None:
    images = pictures(4)
    assert batch(images).inputs.data_ptr() == images.data_ptr()
    assert batch(images, input_size=(16, 16)).inputs.data_ptr() == images.data_ptr()
    assert batch(images, input_size=(8, 8)).inputs.shape == (4, 3, 8, 8)
    assert not batch(images).single
    assert batch(images[0]).single


def test_pictures_of_different_sizes_need_an_input_size() -> None:
    given = [BYTES, BYTES[:2]]
    with pytest.raises(ShapeError, match=r"one size, but got \[\(2, 5\), \(4, 5\)\]\. Set `input_size`"):
        batch(given)
    found = batch(given, input_size=(8, 8))
    assert found.inputs.shape == (2, 3, 8, 8)
    assert "outside the map is 0" in found.notes[0]


def test_notes_are_said_once() -> None:
    found = batch([Image.new("RGB", (1, 1))] * 3, input_size=(4, 4), resize="squash")
    assert len(found.notes) == 4  # one of each, and one of all: they are black
    assert len(batch([InputImage(WANTED, "x", ("same",))] * 3).notes) == 1


def test_the_first_bad_file_of_a_list_is_named(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(png())
    (tmp_path / "bad.png").write_bytes(b"x")
    with pytest.raises(ImageError, match=r"bad\.png: not an image"):
        decode_images([tmp_path / "good.png", tmp_path / "bad.png"])
