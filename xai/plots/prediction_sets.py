"""Prediction sets as a picture: how large they are, and for which classes they hold the truth."""

from typing import Any

import numpy as np

COLOUR, PROMISE = "#2166ac", "#b2182b"
_MOST = 20  # classes that are shown


def figure(found: Any) -> Any:
    """Return a matplotlib figure of prediction sets.

    Args:
        found: of `ConformalPredictor.sets`.
    """
    from matplotlib import pyplot as plt

    labelled = found.labels is not None
    canvas: Any = plt.figure(figsize=(9.6 if labelled else 4.8, 4.2), layout="constrained")
    axes = np.atleast_1d(canvas.subplots(1, 2 if labelled else 1))
    _draw_sizes(axes[0], found)
    if labelled:
        _draw_classes(axes[1], found)
    said = f", {found.coverage:.1%} hold the truth" if labelled else ""
    settings = found.settings
    canvas.suptitle(
        f"{found.model['name']}, {settings['method']}, alpha {settings['alpha']:g}: {len(found)} sets{said}",
        fontsize=10,
        parse_math=False,
    )
    return canvas


def _draw_sizes(axis: Any, found: Any) -> None:
    table = found.by_size
    axis.bar(table["size"], table["pictures"], color=COLOUR, alpha=0.7, width=0.8)
    axis.set(xlabel="classes in the set", ylabel="pictures")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_title(f"Size of the sets: {found.average_size:.2f} on average", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_classes(axis: Any, found: Any) -> None:
    table = found.table.nsmallest(_MOST, "coverage").iloc[::-1]
    height = np.arange(len(table))
    share, low, high = (100 * table[name].to_numpy() for name in ("coverage", "low", "high"))
    axis.errorbar(share, height, xerr=np.abs(np.stack([share - low, high - share])), fmt="o", color=COLOUR, capsize=2)
    axis.axvline(100 * (1 - found.settings["alpha"]), color=PROMISE, linewidth=1, linestyle="--", label="asked")
    axis.set_yticks(height, list(table["class"]), fontsize=8, parse_math=False)
    axis.set(xlabel="sets that hold the truth (%), 95 % intervals", xlim=(None, 101))
    shown = "Each class" if len(table) == len(found.table) else f"The {len(table)} classes with the lowest coverage"
    promised = "promised for each" if found.settings["by_class"] else "promised over all classes together"
    axis.set_title(f"{shown}; {promised}", fontsize=10)
    axis.legend(fontsize=8, frameon=False, loc="lower left")
    axis.spines[["top", "right"]].set_visible(False)
