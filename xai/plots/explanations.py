"""Figures of explanations: maps over images, side by side, ratings, dreams."""

import io
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from xai.core.images.samples import to_rgb

POSITIVE, SIGNED = "inferno", "RdBu_r"
_MOST = 8
_WIDE = 3.5  # inches for one image
_DIMMED = 0.8


def render_explanation(explanation: Any, kind: str) -> bytes:
    """Return the bytes of an image file (png, jpg, pdf or svg) of all images, at most eight."""
    explanation_figure = Figure()
    stream = io.BytesIO()
    with rc_context({"svg.hashsalt": "xai", "svg.fonttype": "none"}):
        _fill_explanation(explanation_figure, explanation, None)
        metadata = {"Date": None} if kind == "svg" else {"CreationDate": None} if kind == "pdf" else None
        explanation_figure.savefig(stream, format=kind, dpi=110, metadata=metadata)
    return stream.getvalue()


def explanation_figure(
    explanation: Any, k: int | None = None, *, opacity: float = 0.6, colormap: str | None = None
) -> Any:
    """Return a matplotlib figure with one row per image: image, map, overlay.

    Args:
        explanation: what to draw.
        k: number of the image; None draws all, at most eight.
        opacity: of the map over the image, 0 to 1.
        colormap: a matplotlib name; None takes one for positive or for signed values.
    """
    from matplotlib import pyplot as plt

    shown: Any = plt.figure()
    return _fill_explanation(shown, explanation, k, opacity=opacity, colormap=colormap)


def _fill_explanation(
    canvas: Figure, explanation: Any, k: int | None, *, opacity: float = 0.6, colormap: str | None = None
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


def _draw_row(canvas: Figure, axes: Any, explanation: Any, k: int, opacity: float, colormap: str | None) -> None:
    image, heatmap = explanation.images[k], explanation.heatmaps[k]
    cmap, norm = scale(heatmap, colormap)
    colour = to_rgb(image) / 255
    axes[0].imshow(colour)
    axes[1].imshow(heatmap, cmap=cmap, norm=norm, interpolation="nearest")
    axes[2].imshow(overlay(colour, heatmap, cmap, norm, opacity))
    _frame_seen(axes[1:], explanation, k)
    titles = [
        f"{explanation.image_names[k]}: {explanation.predictions[k]}",
        f"{explanation.method}, raw values",
        f"why {explanation.target_names[k]} ({float(explanation.probabilities[k]):.0%})?",
    ]
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(plain(title), fontsize=10, parse_math=False)
        axis.set_axis_off()
    bar = canvas.colorbar(ScalarMappable(norm, cmap), ax=axes[1], location="bottom", fraction=0.05, pad=0.02, aspect=30)
    bar.set_label(plain(explanation.unit), fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _frame_seen(axes: Any, explanation: Any, k: int) -> None:
    """Draw a dashed line around what the model saw, when that is not the whole image."""
    geometry = explanation.geometries[k]
    if geometry.share_seen < 0.999:
        top, left, bottom, right = geometry.seen
        for axis in axes:
            corner = (left - 0.5, top - 0.5)
            axis.add_patch(Rectangle(corner, right - left, bottom - top, fill=False, ls="--", lw=0.8, ec="0.75"))


_USUAL_SHARE, _OUTLIER = 0.99, 0.5


def display_limit(values: np.ndarray) -> float:
    """Return the size at which the colours of a map end: its largest, but for a few pixels far above the others.

    Where 99 % of the pixels are below half of the largest one, their limit is taken: a map scaled to a single pixel
    looks empty. The values themselves are never clipped.

    Args:
        values: (H, W) signed values of a map.
    """
    sizes = np.abs(values)
    largest = float(sizes.max())
    usual = float(np.quantile(sizes, _USUAL_SHARE))
    return usual if 0 < usual < _OUTLIER * largest else largest or 1.0


def scale(heatmap: np.ndarray, colormap: str | None = None) -> tuple[Colormap, Normalize]:
    """Return colours and range: from 0 for positive maps, symmetric around 0 for signed ones."""
    signed = bool((heatmap < 0).any())
    most = display_limit(heatmap)
    return colormaps[colormap or (SIGNED if signed else POSITIVE)], Normalize(-most if signed else 0.0, most)


def overlay(
    image: np.ndarray, heatmap: np.ndarray, cmap: Colormap, norm: Normalize, opacity: float = 0.6
) -> np.ndarray:
    """Return the image (H, W, 3) in [0, 1] under the map: where the value is weak, the dimmed image shows."""
    colours = cmap(norm(heatmap))[..., :3]
    strength = np.minimum(np.abs(heatmap) / norm.vmax, 1.0)
    cover = (opacity * np.sqrt(strength))[..., None]
    return np.asarray((1 - cover) * _DIMMED * image + cover * colours)


def covered(explanation: Any, k: int) -> np.ndarray:
    """Return image `k` under its map, (H, W, 3) uint8."""
    image, heatmap = explanation.images[k], explanation.heatmaps[k]
    colour = to_rgb(image) / 255
    return np.asarray(np.rint(overlay(colour, heatmap, *scale(heatmap)) * 255), dtype=np.uint8)


def plain(text: str, most: int = 60) -> str:
    """Return text that is safe to draw: no control characters, not too long."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return printable if len(printable) <= most else printable[: most - 3] + "..."


_COLUMN_WIDTH = 2.6  # inches for one image
_ACROSS = 5


def agreement_figure(agreement: Any, k: int = 0, *, opacity: float = 0.6) -> Any:
    """Return a matplotlib figure: the image, one overlay per explanation, and where they disagree.

    Args:
        agreement: of `xai.agreement`.
        k: number of the image.
        opacity: of the maps over the image.
    """
    from matplotlib import pyplot as plt

    shown: Any = plt.figure()
    last = ("where they disagree", agreement.disagreements[k])
    return _fill(shown, list(zip(agreement.names, agreement.explanations, strict=True)), k, opacity, last)


def render_side_by_side(explanations: Sequence[Any], kind: str) -> bytes:
    """Return the bytes of an image file of the explanations' first images side by side, titled by method."""
    figure, stream = Figure(), io.BytesIO()
    _fill(figure, [(e.method, e) for e in explanations], 0, 0.6, None)
    figure.savefig(stream, format=kind, dpi=110)
    return stream.getvalue()


def _fill(
    canvas: Figure,
    named: Sequence[tuple[str, Any]],
    k: int,
    opacity: float,
    last: tuple[str, np.ndarray] | None,
) -> Figure:
    first = named[0][1]
    image = to_rgb(first.images[k]) / 255
    count = 1 + len(named) + (last is not None)
    across = min(_ACROSS, count)
    down = -(-count // across)
    shape = min(2.0, max(0.4, image.shape[0] / image.shape[1]))
    canvas.set_size_inches(across * _COLUMN_WIDTH, down * (_COLUMN_WIDTH * shape + 0.4))
    canvas.set_layout_engine("constrained")
    axes = canvas.subplots(down, across, squeeze=False).flatten()
    _show_titled(axes[0], image, f"{first.image_names[k]}: {first.predictions[k]}")
    for axis, (name, explanation) in zip(axes[1:], named, strict=False):
        heatmap = explanation.heatmaps[k]
        _show_titled(axis, overlay(image, heatmap, *scale(heatmap), opacity), f"{name}: {explanation.target_names[k]}")
    if last is not None:
        _show_titled(axes[count - 1], last[1], last[0], cmap="viridis", vmin=0, vmax=1)
    for axis in axes:
        axis.set_axis_off()
    return canvas


def _show_titled(axis: Any, image: np.ndarray, title: str, **settings: Any) -> None:
    axis.imshow(image, interpolation="nearest", **settings)
    axis.set_title(plain(title, 34), fontsize=9, parse_math=False)


COLOURS = {"trust": "#1b7837", "doubt": "#b8860b", "reject": "#b2182b", "not checked": "#666666"}


def rating_figure(rating: Any, k: int = 0) -> Any:
    """Return a matplotlib figure of image `k`: removal curves and checks.

    Args:
        rating: of `xai.rate_explanation`.
        k: number of the image.
    """
    from matplotlib import pyplot as plt

    canvas: Any = plt.figure(figsize=(10, 4.2), layout="constrained")
    curves, words = canvas.subplots(1, 2, width_ratios=(1, 1.4))
    _draw_removal_curves(curves, rating.curves[k])
    _write_checks(words, rating, k)
    return canvas


def _draw_removal_curves(axis: Any, curve: Any) -> None:
    if curve:
        shares = [0, *(100 * share for share in curve["shares"])]
        axis.plot(
            shares, [1, *(1 - v for v in curve["most_first"])], "o-", color="#b2182b", label="most relevant first"
        )
        axis.plot(
            shares, [1, *(1 - v for v in curve["least_first"])], "s--", color="#2166ac", label="least relevant first"
        )
        axis.legend(fontsize=8, frameon=False)
    axis.set_xlabel("% of pixels removed")
    axis.set_ylabel("score left (1 = clean, 0 = empty)")
    axis.set_title("Does the score follow the map?", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)


def _write_checks(axis: Any, rating: Any, k: int) -> None:
    axis.set_axis_off()
    verdict = rating.verdicts[k]
    axis.set_title(
        f"{rating.method} for {rating.target_names[k]}: {verdict}",
        fontsize=11,
        color=COLOURS[verdict],
        parse_math=False,
    )
    height = 0.97
    for check in rating.checks[k]:
        lines = textwrap.wrap(f"{check.name}: {check.reason}", 76)
        axis.text(0, height, check.verdict, color=COLOURS[check.verdict], fontsize=8, weight="bold", va="top")
        axis.text(0.14, height, "\n".join(lines), fontsize=8, va="top", parse_math=False)
        height -= 0.052 * len(lines) + 0.03


_LINE, _BORDER = "#2166ac", "0.8"


def dream_figure(dream: Any) -> Any:
    """Return a matplotlib figure of the image and the objective of each step; a line where an octave begins.

    Args:
        dream: of `xai.deep_dream`.
    """
    from matplotlib import pyplot as plt

    canvas: Any = plt.figure(figsize=(9, 4), layout="constrained")
    image, steps = canvas.subplots(1, 2)
    image.imshow(dream.pixels)
    image.set_axis_off()
    image.set_title(plain(dream.goal), fontsize=10, parse_math=False)
    for start in np.flatnonzero(np.diff(dream.octave)) + 1:
        steps.axvline(float(start), color=_BORDER, lw=1)
    steps.plot(dream.objective, color=_LINE, lw=1.2)
    steps.set_xlabel("step")
    steps.set_title("objective, as the network saw it", fontsize=10)
    steps.spines[["top", "right"]].set_visible(False)
    return canvas
