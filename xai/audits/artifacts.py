"""Images that back a figure: files named by their content, and one image of each class."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from xai.audits.context import DATA, Context
from xai.audits.execution.store import StoredResult
from xai.core.images.samples import to_rgb
from xai.core.results.message import Message

_PREFIX = "file:"


class Artifacts:
    """Collects images and maps of one check; each reference holds the digest that the file is named by."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def image(self, pixels: Tensor | np.ndarray, role: str = "image") -> dict[str, Any]:
        """Keep an image (C, H, W) or (H, W) in [0, 1] as an 8-bit PNG; return its reference.

        Args:
            pixels: of the image; of more than three channels the first three are kept as colours.
            role: "image", "adversarial", "difference", "corrupted", "control", ...
        """
        values = np.asarray(pixels, dtype=np.float64)
        values = values[None] if values.ndim == 2 else values
        eight = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
        shown = eight[0] if len(eight) == 1 else to_rgb(np.moveaxis(eight, 0, -1))
        stream = io.BytesIO()
        Image.fromarray(shown).save(stream, "PNG")
        height, width = shown.shape[:2]
        return self._kept(stream.getvalue(), "png", role) | {"width": width, "height": height}

    def difference(self, before: Tensor, after: Tensor) -> dict[str, Any]:
        """Keep what was changed, stretched so that its largest change is black or white; grey means unchanged."""
        change = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
        most = float(np.abs(change).max())
        times = 0.5 / most if most > 0 else 1.0
        return self.image(0.5 + change * times, "difference") | {"times": times}

    def heatmap(self, values: Tensor | np.ndarray, role: str = "heatmap") -> dict[str, Any]:
        """Keep a map (H, W) with its exact values, float32 in a .npy file; return its reference with its range."""
        exact = np.ascontiguousarray(np.asarray(values, dtype="<f4"))
        stream = io.BytesIO()
        np.save(stream, exact, allow_pickle=False)
        height, width = exact.shape
        span = {"low": float(exact.min()), "high": float(exact.max())}
        return self._kept(stream.getvalue(), "npy", role) | {"width": width, "height": height} | span

    def _kept(self, content: bytes, kind: str, role: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        name = f"{digest[:32]}.{kind}"
        self.files[name] = content
        return {"role": role, "file": f"evidence/{name}", "sha256": digest}


def exhibit(
    title: str, caption: str, alt: str, images: Sequence[Mapping[str, Any]], *, image: str = "", **facts: Any
) -> dict[str, Any]:
    """Return one piece of evidence.

    Args:
        title: short.
        caption: what is seen, one sentence.
        alt: the same for those who do not see it.
        images: references of an `Album`.
        image: identifier in the data; "" for none.
        facts: label, predicted, confidence, ...
    """
    return {"title": title, "caption": caption, "alt": alt, "images": list(images), "image": image, "facts": facts}


def with_files(part: StoredResult, files: Mapping[str, bytes]) -> StoredResult:
    """Return a part that also holds files."""
    contents = {f"{_PREFIX}{name}": np.frombuffer(content, dtype=np.uint8) for name, content in files.items()}
    return StoredResult({**part.arrays, **contents}, part.facts)


def files_of(part: StoredResult) -> dict[str, bytes]:
    """Return the files of a part by name."""
    names = [name for name in part.arrays if name.startswith(_PREFIX)]
    return {name.removeprefix(_PREFIX): part.arrays[name].tobytes() for name in names}


_MOST = 20  # classes


def sample_of(context: Context, artifacts: Artifacts) -> list[dict[str, Any]]:
    """Return the first image of each of the first classes, in the order of work."""
    role = context.role(DATA)
    truth = context.labels(DATA, role.order).tolist()
    first = {label: int(row) for label, row in reversed(list(zip(truth, role.order.tolist(), strict=True)))}
    samples = []
    for label in sorted(first)[:_MOST]:
        row, name = first[label], context.classifier.class_names[label]
        pixels = context.decoded(DATA, [row])[0].pixels
        images = [artifacts.image(pixels)]
        caption = Message("{image}: an image of {label} from the data.", image=role.ids[row], label=name)
        alt = Message("An image of {label} from the data.", label=name)
        samples.append(exhibit(name, caption, alt, images, image=role.ids[row], label=name))
    return samples
