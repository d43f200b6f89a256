"""Data and a model of one's own, on disk: three classes by where a wide image is bright, and a model that sees it.

Images are 12 x 36 and the model takes 12 x 18: squashed or padded, all is seen; cropped to the middle half, what is
bright at the left or right end is lost.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from pyarrow import parquet
from safetensors.torch import save_file
from torch import nn

NAMES = ("left", "middle", "right")
SETTINGS = {"input_size": [12, 18], "channels": 1}
CODE = """
from torch import nn

def network():
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 3)), nn.Flatten(),
                         nn.Linear(6, 3))
"""


def network() -> nn.Sequential:
    """Return a model whose class scores are the mean brightness of the thirds."""
    space: dict[str, Any] = {}
    exec(compile(CODE, "ownnet", "exec"), space)  # the text of the file
    found: nn.Sequential = space["network"]()
    weights = torch.zeros(2, 1, 3, 3)
    weights[0, 0, 1, 1] = weights[1, 0, 1, 1] = 1.0
    head = torch.cat([20 * torch.eye(3), torch.zeros(3, 3)], 1)
    found.load_state_dict({"0.weight": weights, "0.bias": torch.zeros(2), "4.weight": head, "4.bias": torch.zeros(3)})
    return found


def images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images (count, 12, 36) uint8 and their classes, which take turns."""
    rng, labels = np.random.default_rng(0), np.arange(count) % 3
    pixels = rng.integers(0, 60, (count, 12, 36))
    for k, label in enumerate(labels):
        pixels[k, :, 14 * label : 14 * label + 8] += 150
    return pixels.astype(np.uint8), labels


def write_model(folder: Path) -> list[str]:
    """Write code and weights; return the options of the command line."""
    (folder / "ownnet.py").write_text(CODE)
    save_file(network().state_dict(), folder / "net.safetensors")
    return ["--model", "net.safetensors", "--arch", "ownnet:network", "--input-size", "12", "18", "--channels", "1"]


def write_folder(place: Path, count: int = 90, parts: tuple[str, ...] = ("train", "test"), keep: int = 3) -> None:
    """Write a folder per class, of the first `keep` classes, below one per part."""
    pixels, labels = images(count)
    for k in np.flatnonzero(labels < keep):
        path = place / (parts[k // 3 % len(parts)] if parts else "") / NAMES[labels[k]] / f"{k:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[k]).save(path)


def write_table(path: Path, count: int = 90) -> None:
    """Write images and a table of them, with columns of unusual names."""
    pixels, labels = images(count)
    rows = []
    (path.parent / "files").mkdir(parents=True)
    for k, label in enumerate(labels):
        Image.fromarray(pixels[k]).convert("RGB").save(path.parent / "files" / f"{k:03}.png")
        rows.append((f"files/{k:03}.png", 40 + k, NAMES[label], "north" if k % 5 else "south"))
    names = ("image_file", "age", "finding", "site")
    if path.suffix == ".csv":
        path.write_text("\n".join(",".join(map(str, row)) for row in (names, *rows)) + "\n")
        return
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    parquet.write_table(pa.table(columns), path)
