"""Randomness belongs to the image."""

import pytest
import torch
from small_models import pictures

from xai.core.runtime.randomness import generator, image_key, noise_like


def noise(images: torch.Tensor, **settings: int) -> torch.Tensor:
    return noise_like(images, [image_key(image) for image in images], **{"seed": 0, **settings})


def test_the_same_whatever_stands_beside_it() -> None:
    images = pictures(6)
    together = noise(images)
    assert torch.equal(torch.cat([noise(images[k : k + 1]) for k in range(6)]), together)
    assert torch.equal(noise(images.flip(0)), together.flip(0))


def test_another_for_each_image_seed_and_draw() -> None:
    images = pictures(2)
    found = [noise(images)[0], noise(images)[1], noise(images, seed=1)[0], noise(images, draw=1)[0]]
    for k, one in enumerate(found):
        assert all(not torch.equal(one, other) for other in found[k + 1 :])


def test_standard_normal() -> None:
    drawn = noise(pictures(8, size=(64, 64)))
    assert abs(float(drawn.mean())) < 0.01
    assert abs(float(drawn.std()) - 1) < 0.01


def test_the_global_state_is_neither_read_nor_changed() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = noise(pictures(1))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    assert torch.equal(noise(pictures(1)), first)


def test_keys_know_values_and_shape_and_not_dtype_or_memory() -> None:
    image = pictures(1)[0]
    assert image_key(image) == image_key(image.double()) == image_key(image.flip(0).flip(0))
    assert image_key(image) == image_key(image.permute(1, 2, 0).contiguous().permute(2, 0, 1))
    assert image_key(image) != image_key(image.view(3, 8, 32))
    changed = image.clone()
    changed[0, 0, 0] += 1e-3
    assert image_key(image) != image_key(changed)


def test_noise_has_the_type_of_the_images() -> None:
    assert noise(pictures(1).double()).dtype == torch.float64
    torch.testing.assert_close(noise(pictures(1).double()).float(), noise(pictures(1)))


@pytest.mark.parametrize("seed", [-(2**63), -1, 0, 2**63 - 1])
def test_every_64_bit_seed_works(seed: int) -> None:
    assert generator(seed, b"key").initial_seed() >= 0
