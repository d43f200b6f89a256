"""Weak slices as pictures: how often each is right, and some that are wrong."""

from textwrap import fill
from typing import Any

import numpy as np

from xai.core.bands import to_rgb
from xai.plots.explanation import plain

WEAK, REST = "#b2182b", "#999999"
_MOST, _COLUMNS = 8, 6


def figure(found: Any) -> Any:
    """Return a matplotlib figure: a row for each weak slice, most certain first, at most eight.

    Args:
        found: of `xai.slices`.
    """
    from matplotlib import pyplot as plt

    canvas: Any = plt.figure(layout="constrained")
    weak = found.findings[:_MOST]
    if not weak:
        canvas.set_size_inches(6, 1.2)
        canvas.text(0.5, 0.5, plain(str(found)), ha="center", va="center", fontsize=10)
        return canvas
    canvas.set_size_inches(11, 1.5 * len(weak) + 0.6)
    canvas.suptitle(
        "Pictures on which the classifier is weak, and some that it gets wrong (what it is: what it says)", fontsize=10
    )
    grid = canvas.subplots(len(weak), 1 + _COLUMNS, squeeze=False, width_ratios=[4] + [1.3] * _COLUMNS)
    for axes, each in zip(grid, weak, strict=True):
        _bar(axes[0], each)
        _pictures(axes[1:], found, found.slices.index(each))
    grid[-1, 0].set_xlabel("right (%)", fontsize=8)
    return canvas


def _bar(axis: Any, each: Any) -> None:
    """Draw accuracy with its interval beside that of all others."""
    low, high = (100 * end for end in each.accuracy_interval)
    value = 100 * each.accuracy
    axis.barh(0, value, color=WEAK, height=0.5)
    axis.errorbar(value, 0, xerr=[[value - low], [high - value]], color="black", capsize=3, linewidth=1)
    axis.axvline(100 * each.rest, color=REST, linewidth=2)
    axis.set(xlim=(0, 101), ylim=(-0.6, 0.6), yticks=[])
    axis.tick_params(labelsize=7)
    title = f"{each.words}: {value:.0f} % of {each.pictures}; others {100 * each.rest:.0f} %"
    axis.set_title(fill(plain(title, 140), 62), fontsize=8, loc="left", parse_math=False)
    axis.spines[["top", "right", "left"]].set_visible(False)


def _pictures(axes: Any, found: Any, number: int) -> None:
    for axis in axes:
        axis.set_axis_off()
    places = np.flatnonzero(found.shown[:, 0] == number)
    for axis, place in zip(axes, places, strict=False):
        row = found.shown[place, 1]
        pixels = np.moveaxis(found.pictures[place].astype(np.float64), 0, -1)
        axis.imshow(to_rgb(pixels), interpolation="nearest")
        label, said = (plain(str(found.class_names[int(part[row])]), 11) for part in (found.labels, found.said))
        axis.set_title(f"{label}:\n{said}", fontsize=7, parse_math=False)
