"""What holds for every corruption: forms, sizes, seeds, severities, errors."""

import numpy as np
import pytest
import torch
from make_reference import picture
from PIL import Image
from scipy import ndimage

from xai.errors import NameLookupError, RangeError, ShapeError, Stopped
from xai.robust.corruptions import base as application
from xai.robust.corruptions.base import CORRUPTIONS, corrupt, strip
from xai.robust.corruptions.result import IMAGENET_C, IMAGENET_C_EXTRA

NAMES = CORRUPTIONS.names()
SIZES = [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 32, 32), (3, 47, 61), (2, 17, 9), (3, 224, 224), (3, 300, 260)]
# the reference's own numbers go up and down: fewer rounds of glass at 2 and 4, less and then more colour, lighter snow
# at 3, and frost whose share of the image falls while that of the ice stands still
UNEVEN = {"glass_blur", "saturate", "snow", "frost"}


def photo(channels=3, size=(96, 96), count=1):
    whole = torch.from_numpy(picture()).permute(2, 0, 1).float() / 255
    rows = [whole.roll(13 * k, 2)[:channels, : size[0], : size[1]] for k in range(count)]
    return torch.stack(rows)


def smooth(count):
    """Return images without repetition: what moves further differs more."""
    return torch.nn.functional.interpolate(noise(count, 3, 4, 4), (112, 112), mode="bicubic").clamp(0, 1)


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_nineteen_are_there_with_their_facts():
    assert len(IMAGENET_C) == 15
    assert {n for n in NAMES if CORRUPTIONS[n].imagenet_c} == {*IMAGENET_C, *IMAGENET_C_EXTRA}
    for name in NAMES:
        one = CORRUPTIONS[name]
        assert one.name == name
        assert len(one.levels) == 5
        assert one.family in {"noise", "blur", "weather", "digital", "geometric", "colour"}
        assert one.summary.endswith(".")
        assert one.parameters
        assert len({len(level) for level in (*one.levels, one.clean or one.levels[0])}) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_any_size_stays_in_range_and_leaves_the_input(name, shape):
    images = noise(2, *shape)
    before = images.clone()
    for severity in (0.3, 2.5, 5):
        found = corrupt(images, name, severity)
        assert found.shape == images.shape
        assert found.dtype == images.dtype
        assert torch.isfinite(found).all()
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 1, 12), (3, 2, 3)], ids=str)
def test_tiny_pictures_do_not_break(name, shape):
    assert corrupt(noise(*shape), name, 5).shape == shape


@pytest.mark.parametrize("name", NAMES)
def test_severity_0_is_clean_and_near_0_nearly_so(name):
    images = photo(size=(224, 224))
    assert torch.equal(corrupt(images, name, 0), images)
    assert corrupt(images, name, 0) is not images
    near, far = ((corrupt(images, name, s) - images).square().mean() for s in (0.02, 1))
    assert float(near) < 0.3 * float(far) + 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_distance_to_clean_grows_with_severity(name):
    images = smooth(3) if CORRUPTIONS[name].family == "geometric" else photo(size=(224, 224), count=3)
    distances = [float((corrupt(images, name, s) - images).square().mean()) for s in (0.5, 1, 2, 3, 4, 5)]
    assert distances[0] < distances[1] < distances[-1] * (3 if name == "saturate" else 1)
    if name not in UNEVEN:
        assert distances == sorted(distances)


@pytest.mark.parametrize("name", NAMES)
def test_half_steps_lie_between_their_neighbours(name):
    """The numbers are interpolated, and the image follows them."""
    one = CORRUPTIONS[name]
    assert one.level(2.5) == pytest.approx([(a + b) / 2 for a, b in zip(one.levels[1], one.levels[2], strict=True)])
    assert one.level(4.0) == one.levels[3]
    if name in UNEVEN:
        return
    images = smooth(2) if CORRUPTIONS[name].family == "geometric" else photo(size=(224, 224), count=2)
    low, middle, high = (float((corrupt(images, name, s) - images).square().mean()) for s in (1, 1.5, 2))
    assert low <= middle <= high


@pytest.mark.parametrize("name", [n for n in NAMES if CORRUPTIONS[n].stochastic])
def test_batch_size_and_order_change_nothing(name, monkeypatch):
    images = photo(size=(40, 56), count=5)
    whole = corrupt(images, name, 4, seed=3)
    alone = torch.cat([corrupt(images[k : k + 1], name, 4, seed=3) for k in range(5)])
    assert torch.allclose(whole, alone, atol=1e-5)
    order = [3, 0, 4, 2, 1]
    assert torch.allclose(corrupt(images[order], name, 4, seed=3), whole[order], atol=1e-5)
    assert torch.allclose(corrupt(images[2], name, 4, seed=3), whole[2], atol=1e-5)
    monkeypatch.setattr(application, "_CACHE", 1)
    assert torch.allclose(corrupt(images, name, 4, seed=3), whole, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in NAMES if CORRUPTIONS[n].stochastic])
def test_seed_and_picture_decide(name):
    images = photo(size=(64, 64), count=12)
    found = corrupt(images, name, 5, seed=0)
    assert torch.equal(found, corrupt(images, name, 5, seed=0))
    assert not torch.equal(found, corrupt(images, name, 5, seed=1))
    keys = [b"same"] * 12
    together = corrupt(images, name, 5, keys=keys)[0]
    assert torch.allclose(corrupt(images[:1], name, 5, keys=keys[:1])[0], together, atol=1e-5)


def test_the_random_state_of_the_caller_is_left_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    corrupt(photo(), "snow", 3)
    assert torch.equal(torch.rand(3), wanted)


def test_severities_share_their_draws():
    image = torch.full((1, 3, 32, 32), 0.5)
    one, two = corrupt(image, "gaussian_noise", 1) - 0.5, corrupt(image, "gaussian_noise", 2) - 0.5
    inside = two.abs() < 0.49
    assert torch.allclose(one[inside] * 1.5, two[inside], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_float64_and_half_agree_with_float32(name):
    images = photo(size=(48, 48), count=2)
    found = corrupt(images, name, 3)
    exact = corrupt(images.double(), name, 3)
    assert exact.dtype == torch.float64
    assert float((exact - found).abs().median()) < 1e-5
    half = corrupt(images.half(), name, 3, keys=[b"a", b"b"])
    assert half.dtype == torch.float16
    if name != "shot_noise":  # other rates, other numbers
        assert float((half.float() - corrupt(images, name, 3, keys=[b"a", b"b"])).abs().mean()) < 0.01


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_pictures(name, value):
    found = corrupt(torch.full((1, 3, 40, 40), value), name, 5)
    assert torch.isfinite(found).all()
    still = {"defocus_blur", "gaussian_blur", "glass_blur", "motion_blur", "zoom_blur", "contrast", "pixelate"}
    if name in still | {"elastic_transform"} or CORRUPTIONS[name].family == "geometric":
        assert torch.allclose(found, torch.full_like(found, value), atol=2e-5)


def test_small_pictures_are_blurred_in_proportion():
    """What a blur does to an image of 224 pixels it does to a smaller copy, as far as pixels allow."""
    large = torch.nn.functional.interpolate(noise(1, 1, 7, 7), (224, 224), mode="bicubic").clamp(0, 1)
    small = torch.nn.functional.interpolate(large, (56, 56), mode="area")
    for name in ("defocus_blur", "gaussian_blur", "motion_blur", "elastic_transform"):
        left, right = (
            (corrupt(images, name, 5, keys=[b"k"]) - images).square().mean().sqrt() for images in (large, small)
        )
        assert 0.6 < float(right / left) < 1.6, name


def test_uint8_and_arrays_and_pil_come_back_in_their_kind(tmp_path):
    pixels = picture()[:40, :52]
    as_tensor = corrupt(torch.from_numpy(pixels).permute(2, 0, 1), "contrast", 2)
    assert as_tensor.dtype == torch.float32
    array = corrupt(pixels, "contrast", 2)
    assert array.shape == (40, 52, 3)
    assert array.dtype == np.float32
    assert array == pytest.approx(as_tensor.permute(1, 2, 0).numpy())
    assert corrupt(pixels[..., 0], "contrast", 2).shape == (40, 52)
    assert corrupt(np.stack([pixels] * 2), "contrast", 2).shape == (2, 40, 52, 3)
    assert corrupt(pixels / 255.0, "contrast", 2).dtype == np.float64
    image = corrupt(Image.fromarray(pixels), "contrast", 2)
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image) / 255 - array).max() <= 0.5 / 255 + 1e-6
    assert corrupt(Image.fromarray(pixels[..., 0]), "contrast", 2).mode == "L"
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(corrupt(tmp_path / "a.png", "contrast", 2)), np.asarray(image))


def test_lists_may_mix_kinds_and_sizes():
    pixels = picture()
    given = [Image.fromarray(pixels[:33, :44]), pixels[:20, :20], photo(size=(33, 44), count=2)[1], pixels[:33, :44, 0]]
    found = corrupt(given, "gaussian_noise", 3, seed=2)
    assert isinstance(found, list)
    assert [type(one).__name__ for one in found] == ["Image", "ndarray", "Tensor", "ndarray"]
    assert [np.shape(one) for one in found] == [(33, 44, 3), (20, 20, 3), (3, 33, 44), (33, 44)]
    assert torch.equal(found[2], corrupt(given[2], "gaussian_noise", 3, seed=2))
    assert np.array_equal(np.asarray(found[0]), np.asarray(corrupt(given[0], "gaussian_noise", 3, seed=2)))


def test_alpha_is_kept():
    pixels = np.concatenate([picture()[:32, :32], np.full((32, 32, 1), 77, np.uint8)], -1)
    found = corrupt(pixels, "gaussian_noise", 5)
    assert found.shape == (32, 32, 4)
    assert found[..., 3] == pytest.approx(77 / 255)
    assert np.array_equal(found[..., :3], corrupt(pixels[..., :3], "gaussian_noise", 5))


def test_gradients_and_inference_mode():
    image = photo().requires_grad_()
    assert not corrupt(image, "fog", 3).requires_grad
    with torch.inference_mode():
        inside = corrupt(photo(), "fog", 3)
    assert torch.equal(inside, corrupt(photo(), "fog", 3))


def test_non_contiguous_pictures():
    images = photo(count=2, size=(40, 56))
    turned = images.to(memory_format=torch.channels_last)
    every_second = images[:, :, ::2]
    for name in ("glass_blur", "fog", "jpeg_compression", "motion_blur", "defocus_blur"):
        assert torch.allclose(corrupt(turned, name, 3), corrupt(images, name, 3), atol=1e-6), name
        same = corrupt(every_second.clone(), name, 3)
        assert torch.allclose(corrupt(every_second, name, 3), same, atol=1e-6), name


@pytest.mark.parametrize("severity", [-0.1, 5.01, float("nan"), float("inf"), "3", None, True, [3], 6])
def test_bad_severities(severity):
    with pytest.raises(RangeError, match="severity"):
        corrupt(photo(), "fog", severity)


@pytest.mark.parametrize("severity", [np.float32(2.5), torch.tensor(2), 2, np.int64(2)])
def test_any_number_is_a_severity(severity):
    assert corrupt(photo(), "contrast", severity).shape == photo().shape


def test_unknown_names_suggest_near_ones():
    with pytest.raises(NameLookupError, match="gaussian_noise"):
        corrupt(photo(), "gausian_noise")
    with pytest.raises(NameLookupError, match="motion_blur"):
        corrupt(photo(), "motion-blur")


def test_bad_pictures_and_keys():
    with pytest.raises(RangeError, match="255"):
        corrupt(photo() * 255, "fog")
    with pytest.raises(ShapeError, match="shape"):
        corrupt(torch.zeros(3, 3), "fog")
    with pytest.raises(ShapeError, match="one key"):
        corrupt(photo(count=2), "fog", keys=[b"a"])
    with pytest.raises(RangeError, match="seed"):
        corrupt(photo(), "fog", seed=1.5)


def test_progress_and_stop(monkeypatch):
    monkeypatch.setattr(application, "_CACHE", 4 * photo()[0].numel())
    seen = []
    corrupt(photo(count=3), "contrast", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    seen.clear()
    corrupt([photo()[0], photo(size=(40, 40))[0]], "contrast", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    with pytest.raises(Stopped, match="Stopped"):
        corrupt(photo(count=3), "contrast", should_stop=lambda: len(seen) > 0)


def test_grey_pictures_have_no_colour_to_change():
    grey = photo(channels=1)
    for name in ("saturate", "hue", "grey", "temperature"):
        assert torch.equal(corrupt(grey, name, 5), grey)


def test_geometry_moves_the_picture_the_way_it_says():
    for size in ((41, 41), (40, 61)):
        image = smooth(1)[:, :1, : size[0], : size[1]]
        rows, columns = np.mgrid[: size[0], : size[1]]
        inner = (rows - (size[0] - 1) / 2) ** 2 + (columns - (size[1] - 1) / 2) ** 2 < 17**2
        either = [ndimage.rotate(image[0, 0], angle, reshape=False, order=1)[inner] for angle in (30, -30)]
        turned = [corrupt(image, "rotate", 5, keys=[bytes([k])])[0, 0].numpy()[inner] for k in range(12)]
        assert {int(np.abs(one - either[0]).max() < 1e-4) for one in turned} == {0, 1}
        assert max(min(np.abs(one - two).max() for two in either) for one in turned) < 1e-4
    image = torch.zeros(1, 1, 41, 41)
    image[..., 20, 30] = 1
    shifted = corrupt(image, "translate", 5, keys=[b"s"])[0, 0]
    centre = torch.tensor([int(shifted.argmax()) // 41 - 20, int(shifted.argmax()) % 41 - 30]).float()
    assert float(centre.norm()) == pytest.approx(0.2 * 41, abs=1)


def test_strip_is_one_picture_at_rising_severities():
    image = photo(size=(40, 40))
    found = strip(image, "snow", (0, 1, 2.5, 5), seed=4)
    assert found.shape == (4, 3, 40, 40)
    assert torch.equal(found[0], image[0])
    assert torch.equal(found[3], corrupt(image, "snow", 5, seed=4)[0])
    with pytest.raises(ShapeError, match="one image"):
        strip(photo(count=2), "snow")


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_devices_agree(name):
    images = photo(count=2)
    found = corrupt(images.cuda(), name, 3)
    assert found.is_cuda
    assert float((found.cpu() - corrupt(images, name, 3)).abs().median()) < 1e-4
