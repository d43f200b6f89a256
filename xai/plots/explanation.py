"""An explanation as a picture: the original, the map with its scale, and both together."""

import io
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from xai.core.bands import to_rgb
from xai.core.explanation import Explanation

POSITIVE, SIGNED = "inferno", "RdBu_r"
_MOST = 8
_WIDE = 3.5  # inches for one picture
_DIMMED = 0.8


def render(explanation: Explanation, kind: str) -> bytes:
    """Return the bytes of a picture file (png, jpg, pdf or svg) of all images, at most eight."""
    figure = Figure()
    stream = io.BytesIO()
    with rc_context({"svg.hashsalt": "xai", "svg.fonttype": "none"}):
        _fill(figure, explanation, None)
        metadata = {"Date": None} if kind == "svg" else {"CreationDate": None} if kind == "pdf" else None
        figure.savefig(stream, format=kind, dpi=110, metadata=metadata)
    return stream.getvalue()


def figure(explanation: Explanation, k: int | None = None, *, opacity: float = 0.6, colormap: str | None = None) -> Any:
    """Return a matplotlib figure with one row per image: picture, map, overlay.

    Args:
        explanation: what to draw.
        k: number of the image; None draws all, at most eight.
        opacity: of the map over the picture, 0 to 1.
        colormap: a matplotlib name; None takes one for positive or for signed values.
    """
    from matplotlib import pyplot as plt

    shown: Any = plt.figure()
    return _fill(shown, explanation, k, opacity=opacity, colormap=colormap)


def _fill(
    canvas: Figure, explanation: Explanation, k: int | None, *, opacity: float = 0.6, colormap: str | None = None
) -> Figure:
    rows = list(range(min(_MOST, len(explanation)))) if k is None else [k]
    heights = [
        _WIDE * min(2.0, max(0.4, h.shape[0] / h.shape[1])) + 0.95 for h in (explanation.heatmaps[row] for row in rows)
    ]
    canvas.set_size_inches(3 * _WIDE + 0.3, sum(heights))
    canvas.set_layout_engine("constrained")
    grid = canvas.subplots(len(rows), 3, squeeze=False, height_ratios=heights)
    for axes, row in zip(grid, rows, strict=True):
        _draw_row(canvas, axes, explanation, row, opacity, colormap)
    return canvas


def _draw_row(
    canvas: Figure, axes: Any, explanation: Explanation, k: int, opacity: float, colormap: str | None
) -> None:
    picture, heatmap = explanation.pictures[k], explanation.heatmaps[k]
    cmap, norm = scale(heatmap, colormap)
    colour = to_rgb(picture) / 255
    axes[0].imshow(colour)
    axes[1].imshow(heatmap, cmap=cmap, norm=norm, interpolation="nearest")
    axes[2].imshow(overlay(colour, heatmap, cmap, norm, opacity))
    _frame_seen(axes[1:], explanation, k)
    titles = [
        f"{explanation.names[k]}: {explanation.predicted[k]}",
        f"{explanation.method}, raw values",
        f"why {explanation.labels[k]} ({float(explanation.probabilities[k]):.0%})?",
    ]
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(plain(title), fontsize=10, parse_math=False)
        axis.set_axis_off()
    bar = canvas.colorbar(ScalarMappable(norm, cmap), ax=axes[1], location="bottom", fraction=0.05, pad=0.02, aspect=30)
    bar.set_label(plain(explanation.unit), fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _frame_seen(axes: Any, explanation: Explanation, k: int) -> None:
    """Draw a dashed line around what the model saw, when that is not the whole picture."""
    geometry = explanation.geometries[k]
    if geometry.share_seen < 0.999:
        top, left, bottom, right = geometry.seen
        for axis in axes:
            corner = (left - 0.5, top - 0.5)
            axis.add_patch(Rectangle(corner, right - left, bottom - top, fill=False, ls="--", lw=0.8, ec="0.75"))


def scale(heatmap: np.ndarray, colormap: str | None = None) -> tuple[Colormap, Normalize]:
    """Return colours and range: from 0 for positive maps, symmetric around 0 for signed ones."""
    signed = bool((heatmap < 0).any())
    most = float(np.abs(heatmap).max()) or 1.0
    return colormaps[colormap or (SIGNED if signed else POSITIVE)], Normalize(-most if signed else 0.0, most)


def overlay(
    picture: np.ndarray, heatmap: np.ndarray, cmap: Colormap, norm: Normalize, opacity: float = 0.6
) -> np.ndarray:
    """Return the picture (H, W, 3) in [0, 1] under the map: where the value is weak, the dimmed picture shows."""
    colours = cmap(norm(heatmap))[..., :3]
    strength = np.abs(heatmap) / (np.abs(heatmap).max() or 1.0)
    cover = (opacity * np.sqrt(strength))[..., None]
    return np.asarray((1 - cover) * _DIMMED * picture + cover * colours)


def covered(explanation: Explanation, k: int) -> np.ndarray:
    """Return picture `k` under its map, (H, W, 3) uint8."""
    picture, heatmap = explanation.pictures[k], explanation.heatmaps[k]
    colour = to_rgb(picture) / 255
    return np.asarray(np.rint(overlay(colour, heatmap, *scale(heatmap)) * 255), dtype=np.uint8)


def plain(text: str, most: int = 60) -> str:
    """Return text that is safe to draw: no control characters, not too long."""
    kept = "".join(c if c.isprintable() else " " for c in text)
    return kept if len(kept) <= most else kept[: most - 3] + "..."
