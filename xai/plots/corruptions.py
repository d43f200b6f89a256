"""Accuracy under corruptions as a picture: one row per corruption, one column per severity."""

from typing import Any

import numpy as np

from xai.plots.canvas import sized

_LIGHT = 0.55  # accuracy above which numbers are written dark


def matrix(found: Any, canvas: Any = None) -> Any:
    """Return a matplotlib figure of the accuracies with their intervals.

    Args:
        found: of `xai.corruption_robustness`.
        canvas: an empty figure; None makes one.
    """
    shares, spans = found.accuracy, found.intervals
    canvas = sized(canvas, 2.4 + 1.1 * shares.shape[1], 1.3 + 0.36 * shares.shape[0])
    axis = canvas.subplots()
    image = axis.imshow(shares, vmin=0, vmax=1, cmap="cividis", aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        low, high = spans[row, column]
        text, ink = f"{100 * share:.0f}\n{100 * low:.0f}\u2013{100 * high:.0f}", "black" if share > _LIGHT else "white"
        axis.text(column, row, text, ha="center", va="center", fontsize=6.5, color=ink)
    axis.set_xticks(range(len(found.severities)), [f"{severity:g}" for severity in found.severities])
    axis.set_yticks(range(len(found.names)), [name.replace("_", " ") for name in found.names], fontsize=8)
    axis.set_xlabel("severity")
    low, high = found.clean_interval
    clean = f"clean {100 * found.clean:.0f} % ({100 * low:.0f}\u2013{100 * high:.0f})"
    title = f"{found.model['name']}: accuracy (%) and 95 % interval, {len(found)} pictures, {clean}"
    axis.set_title(title, fontsize=8, parse_math=False)
    canvas.colorbar(image, ax=axis, label="accuracy", shrink=0.8)
    return canvas
