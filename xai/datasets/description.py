"""What a data set is: classes, parts, groups, sizes and channels of its images, counted."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from xai.core.results.serialization import plain
from xai.datasets.dataset import Dataset
from xai.errors import ImageError

_SAMPLE, _MOST_GROUPS, _SHOWN = 200, 20, 12
_TINT = 2 / 255  # by which the channels of a grey image that was saved as colour may differ


@dataclass(frozen=True)
class DataDescription:
    """What is in a data set.

    Attributes:
        name: of the data set.
        count: number of images.
        classes: images of each class by name, in the order of the labels; empty where there are no labels.
        parts: images of each part by name; empty where there are none.
        groups: of each column with 2 to 20 values the images of each value.
        sizes: how many of the images looked at have each (height, width), most frequent first.
        channels: how many of them have each number of channels.
        grey: how many of them show grey alone, in one channel or in equal ones.
        looked_at: number of images that were read, drawn at random.
        unreadable: how many of these could not be read.
        notes: of the data set.
    """

    name: str
    count: int
    classes: Mapping[str, int]
    parts: Mapping[str, int]
    groups: Mapping[str, Mapping[str, int]]
    sizes: Mapping[tuple[int, int], int]
    channels: Mapping[int, int]
    grey: int
    looked_at: int
    unreadable: int
    notes: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """Everything in lines of text."""
        text_lines = [
            f"{self.count:,} images" + (f" of {len(self.classes)} classes" if self.classes else ", no labels")
        ]
        text_lines += [f"classes: {_counted(self.classes)}"] if self.classes else []
        text_lines += [f"parts: {_counted(self.parts)}"] if self.parts else []
        text_lines += [f"group {name}: {_counted(values)}" for name, values in self.groups.items()]
        text_lines += [f"sizes (height x width): {self._sizes()}", f"channels: {self._channels()}"]
        text_lines += [f"{self.unreadable} of the {self.looked_at} images looked at cannot be read"] * bool(
            self.unreadable
        )
        return (*text_lines, *self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        sizes = [[*size, count] for size, count in self.sizes.items()]
        return {name: plain(value) for name, value in vars(self).items()} | {"sizes": sizes}

    def _sizes(self) -> str:
        read = sum(self.sizes.values())
        named = {f"{height} x {width}": count for (height, width), count in self.sizes.items()}
        if len(named) <= 1:
            return f"{next(iter(named), 'none read')}, all of {read} looked at"
        heights, widths = zip(*self.sizes, strict=True)
        ends = f"{min(heights)} to {max(heights)} x {min(widths)} to {max(widths)}"
        return f"{ends}; most often {next(iter(named))} ({next(iter(named.values()))} of {read} looked at)"

    def _channels(self) -> str:
        read = sum(self.channels.values())
        if len(self.channels) != 1:
            return _counted({str(number): count for number, count in self.channels.items()})
        (number,) = self.channels
        if number == 1:
            return "1 (grey)"
        alike = f"; {self.grey} of {read} looked at show grey alone" if self.grey else ""
        return f"{number}{' (colour)' if number == 3 else ''}{alike}"


def describe(data: Dataset, *, sample: int = _SAMPLE) -> DataDescription:
    """Return what is in a data set.

    Args:
        data: of any source.
        sample: number of images to read, drawn by seed 0.

    Cost: reads `sample` images, and labels and columns as a whole.
    """
    chosen = data.subset(sample)
    sizes: Counter[tuple[int, int]] = Counter()
    channels: Counter[int] = Counter()
    grey = unreadable = 0
    for k in range(len(chosen)):
        try:
            pixels = chosen.images[k]
        except ImageError:
            unreadable += 1
            continue
        sizes[(int(pixels.shape[-2]), int(pixels.shape[-1]))] += 1
        channels[len(pixels)] += 1
        grey += _is_grey(pixels)
    return DataDescription(
        data.name,
        len(data),
        _classes(data),
        {part: len(data.part(part)) for part in data.parts},
        _groups(data),
        dict(sizes.most_common()),
        dict(channels.most_common()),
        grey,
        len(chosen),
        unreadable,
        data.notes,
    )


def _is_grey(pixels: Tensor) -> bool:
    return len(pixels) == 1 or (len(pixels) == 3 and bool((pixels.amax(0) - pixels.amin(0)).max() <= _TINT))


def _classes(data: Dataset) -> dict[str, int]:
    if data.labels is None:
        return {}
    counts = np.bincount(data.labels.numpy(), minlength=len(data.classes)).tolist()
    return dict(zip(data.classes, counts, strict=True))


def _groups(data: Dataset) -> dict[str, dict[str, int]]:
    counts = {name: Counter(np.asarray(data.groups[name]).astype(str).tolist()) for name in data.groups}
    return {
        name: dict(sorted(column_counts.items()))
        for name, column_counts in counts.items()
        if 2 <= len(column_counts) <= _MOST_GROUPS
    }


def _counted(counts: Mapping[str, int]) -> str:
    parts = [f"{name} {count:,}" for name, count in list(counts.items())[:_SHOWN]]
    return ", ".join(parts) + (f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else "")
