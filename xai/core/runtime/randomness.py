"""Randomness that belongs to the image: batch size, order and device change nothing."""

import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from xai.core.results.message import Message


def image_key(image: Tensor) -> bytes:
    """Return the digest of one image (C, H, W), the same on every device and in float32 and float64."""
    content = image.detach().to(device="cpu", dtype=torch.float32).contiguous()
    digest = hashlib.sha256(repr(tuple(content.shape)).encode())
    digest.update(content.numpy().tobytes())
    return digest.digest()


def image_keys(images: Tensor) -> list[bytes]:
    """Return `image_key` of each of the images (N, C, H, W), several times faster than one by one."""
    content = images.detach().to(device="cpu", dtype=torch.float32).contiguous().numpy()
    start = hashlib.sha256(repr(tuple(content.shape[1:])).encode())
    keys = []
    for row in content:
        digest = start.copy()
        digest.update(row)
        keys.append(digest.digest())
    return keys


def generator(seed: int, key: bytes, draw: int = 0) -> torch.Generator:
    """Return a CPU generator that depends on the run's seed, the image and the number of the draw alone."""
    mixed = hashlib.sha256(seed.to_bytes(8, "big", signed=True) + key + draw.to_bytes(8, "big")).digest()
    return torch.Generator().manual_seed(int.from_bytes(mixed[:8], "big") >> 1)


def noise_like(images: Tensor, keys: Sequence[bytes], *, seed: int, draw: int = 0) -> Tensor:
    """Return standard normal noise (N, C, H, W), drawn per image, on the device and in the dtype of `images`."""
    drawn = [torch.randn(images.shape[1:], generator=generator(seed, key, draw)) for key in keys]
    return torch.stack(drawn).to(images)


def repeated(keys: Sequence[Hashable]) -> tuple[str, ...]:
    """Return a note when images are given more than once, by one key for each."""
    extra = len(keys) - len(Counter(keys))
    template = "{count} of {total} images repeat others exactly: intervals take them for new ones"
    return (Message(template, count=extra, total=len(keys)),) if extra else ()
