"""Shortcuts as pictures: how answers follow a cue as it gets stronger, and pictures that it turned."""

from textwrap import fill
from typing import Any

import numpy as np

from xai.core.bands import to_rgb
from xai.plots.explanation import overlay, plain, scale

TURNED, WRONG, NEUTRAL = "#b2182b", "#666666", "#2166ac"
_ROWS, _COLUMNS, _OTHERS = 4, 4, 6  # shortcuts, pictures of each, cues shown when there is no shortcut


def figure(found: Any) -> Any:
    """Return a matplotlib figure: a row for each shortcut, strongest first; without any, the most harmful cues.

    Args:
        found: of `xai.shortcuts`.
    """
    from matplotlib import pyplot as plt

    canvas: Any = plt.figure(layout="constrained")
    numbers = [found.responses.index(each) for each in found.findings[:_ROWS]]
    if not numbers:
        return _harmless(canvas, found)
    canvas.set_size_inches(11, 4.4 * len(numbers))
    for part, number in zip(np.atleast_1d(canvas.subfigures(len(numbers))), numbers, strict=True):
        part.suptitle(fill(plain(found.responses[number].reason, 400), 120), fontsize=9, parse_math=False)
        left, right = part.subfigures(1, 2, width_ratios=(2, 3))
        _curves(left.subplots(), found, number)
        _pictures(right, found, number)
    return canvas


def _harmless(canvas: Any, found: Any) -> Any:
    """Draw the cues that make most answers wrong, none of which is a shortcut."""
    harm = [float(((said != found.labels) & (found.clean == found.labels)).mean(1).max()) for said in found.said]
    numbers = np.argsort(-np.array(harm), kind="stable")[:_OTHERS].tolist()
    across = min(3, len(numbers))
    canvas.set_size_inches(3.6 * across, 3.4 * -(-len(numbers) // across) + 0.4)
    canvas.suptitle(f"No shortcut found ({found.verdict}). The cues that change most predictions:", fontsize=10)
    axes = canvas.subplots(-(-len(numbers) // across), across, squeeze=False).flatten()
    for axis in axes[len(numbers) :]:
        axis.set_axis_off()
    for axis, number in zip(axes, numbers, strict=False):
        _curves(axis, found, number)
        response = found.responses[number]
        title = f"{response.cue.replace('_', ' ')}: {response.words}\n{response.verdict}"
        axis.set_title(fill(title, 44, replace_whitespace=False), fontsize=8, parse_math=False)
    return canvas


def _curves(axis: Any, found: Any, number: int) -> None:
    """Draw shares over strength: turned into the class, and wrong in any way."""
    response = found.responses[number]
    size = len(found.strengths)
    rows = found.doses.iloc[number * size : (number + 1) * size]
    strengths = np.array([0.0, *found.strengths])
    for name, colour, label in (
        ("flips", WRONG, "wrong in any way"),
        ("attraction", TURNED, f"turned into {plain(response.label, 20)!r}"),
    ):
        values, low, high = (100 * np.array([0.0, *rows[f"{name}{end}"]]) for end in ("", "_low", "_high"))
        axis.fill_between(strengths, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.plot(strengths, values, "o-", color=colour, markersize=3, label=label)
    axis.plot(response.strength, 100 * response.neutral, "x", color=NEUTRAL, label="into it by neutral changes")
    axis.plot(response.strength, 100 * response.neutral_flips, "+", color=NEUTRAL, label="wrong by neutral changes")
    axis.axhline(10, color="#bbbbbb", linewidth=0.8, linestyle=":")
    axis.set(xlim=(0, 1.03), ylim=(0, 102), xlabel="strength of the cue", ylabel="right pictures (%)")
    axis.legend(fontsize=7, loc="upper left", frameon=False)
    axis.spines[["top", "right"]].set_visible(False)


def _pictures(canvas: Any, found: Any, number: int) -> None:
    """Draw some pictures as they are, with the cue, and with the explanation of what they became."""
    places = np.flatnonzero(found.shown[:, 0] == number)[:_COLUMNS]
    grid = canvas.subplots(3, max(1, len(places)), squeeze=False)
    for axis in grid.flatten():
        axis.set_axis_off()
    for column, place in enumerate(places):
        row = found.shown[place, 1]
        before, after = (_pixels(part[place]) for part in (found.before, found.after))
        heatmap = found.heatmaps[place]
        shown = (before, after, overlay(after, heatmap, *scale(heatmap)))
        names = (found.class_names[found.labels[row]], f"with the cue: {found.responses[number].label}", "why")
        for axis, pixels, name in zip(grid[:, column], shown, names, strict=True):
            axis.imshow(pixels, interpolation="nearest")
            axis.set_title(plain(str(name), 26), fontsize=8, parse_math=False)


def _pixels(image: np.ndarray) -> np.ndarray:
    """Return (h, w, 3) of (C, h, w)."""
    return to_rgb(np.moveaxis(image.astype(np.float64), 0, -1))
