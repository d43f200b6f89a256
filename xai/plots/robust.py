"""Figures of robustness: accuracy over radii and under corruptions, one image along the radii."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from xai.core.images.samples import to_rgb


def sized(canvas: Any, width: float, height: float) -> Any:
    """Return a figure of a size in inches: the given one, or one that notebooks and windows show."""
    if canvas is None:
        from matplotlib import pyplot as plt

        canvas = plt.figure()
    canvas.set_size_inches(width, height)
    canvas.set_layout_engine("constrained")
    return canvas


def png(artist: Callable[..., Any]) -> Callable[..., bytes]:
    """Return what makes the bytes of a PNG where `artist(*arguments, canvas)` draws a figure; nothing stays open."""

    def render(*arguments: Any, **settings: Any) -> bytes:
        from matplotlib.figure import Figure

        stream = io.BytesIO()
        artist(*arguments, Figure(), **settings).savefig(stream, format="png", dpi=130)
        return stream.getvalue()

    return render


_LIGHT = 0.55  # accuracy above which numbers are written dark


def corruption_matrix(result: Any, canvas: Any = None) -> Any:
    """Return a matplotlib figure of the accuracies with their intervals.

    Args:
        result: of `xai.corruption_robustness`.
        canvas: an empty figure; None makes one.
    """
    shares, spans = result.accuracy, result.intervals
    canvas = sized(canvas, 2.4 + 1.1 * shares.shape[1], 1.3 + 0.36 * shares.shape[0])
    axis = canvas.subplots()
    image = axis.imshow(shares, vmin=0, vmax=1, cmap="cividis", aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        low, high = spans[row, column]
        text, ink = f"{100 * share:.0f}\n{100 * low:.0f}\u2013{100 * high:.0f}", "black" if share > _LIGHT else "white"
        axis.text(column, row, text, ha="center", va="center", fontsize=6.5, color=ink)
    axis.set_xticks(range(len(result.severities)), [f"{severity:g}" for severity in result.severities])
    axis.set_yticks(range(len(result.names)), [name.replace("_", " ") for name in result.names], fontsize=8)
    axis.set_xlabel("severity")
    low, high = result.clean_interval
    clean = f"clean {100 * result.clean:.0f} % ({100 * low:.0f}\u2013{100 * high:.0f})"
    title = f"{result.model['name']}: accuracy (%) and 95 % interval, {len(result)} images, {clean}"
    axis.set_title(title, fontsize=8, parse_math=False)
    canvas.colorbar(image, ax=axis, label="accuracy", shrink=0.8)
    return canvas


ATTACKED, CERTIFIED, GAP = "#b2182b", "#2166ac", "#d9d9d9"
WORDS = {"verified": CERTIFIED, "violated": ATTACKED, "unproven": "#666666"}
_MOST = 6  # radii in a strip
_TIMES = 10


def curve_figure(curve: Any, canvas: Any = None) -> Any:
    """Return a matplotlib figure of a robustness curve.

    Args:
        curve: of `xai.robustness`.
        canvas: an empty figure; None makes one.
    """
    canvas = sized(canvas, 6.4, 4.2)
    axis = canvas.subplots()
    scale = 255 if curve.norm == "linf" else 1
    eps = scale * np.array([0.0, *curve.eps])
    clean, spans = 100 * curve.clean, curve.intervals
    attacked, certified = (100 * np.array([curve.clean, *getattr(curve, name)]) for name in ("attacked", "certified"))
    axis.fill_between(eps, certified, attacked, color=GAP, label="unproven", linewidth=0)
    for name, values, colour, mark in (
        ("attacked", attacked, ATTACKED, "o-"),
        ("certified", certified, CERTIFIED, "s-"),
    ):
        span = 100 * np.concatenate([spans["clean"][None], spans[name]])
        errors = np.abs(np.stack([values - span[:, 0], span[:, 1] - values]))
        axis.errorbar(eps, values, errors, fmt=mark, color=colour, markersize=4, capsize=2, elinewidth=0.8, label=name)
    axis.axhline(clean, color="#999999", linewidth=0.8, linestyle=":")
    axis.set(ylim=(0, 102), xlabel=f"eps ({curve.norm}{', in 1/255' if scale == 255 else ''})", ylabel="accuracy (%)")
    axis.set_title(f"{curve.model['name']}: {len(curve)} images, 95 % intervals", fontsize=10, parse_math=False)
    canvas.legend(fontsize=9, loc="outside lower center", ncols=3, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    return canvas


def strip_figure(curve: Any, row: int, canvas: Any = None) -> Any:
    """Return a matplotlib figure of one image along the radii.

    Args:
        curve: of `xai.robustness`.
        row: number of an image with a counterexample.
        canvas: an empty figure; None makes one.
    """
    place = curve.rows.tolist().index(row)
    clean, changed = (_pixels(part[place]) for part in (curve.originals, curve.adversarial))
    count = len(curve.eps)
    levels = sorted(set(np.linspace(0, count - 1, min(_MOST, count)).round().astype(int).tolist()))
    canvas = sized(canvas, 1.5 * (len(levels) + 1), 3.6)
    grid = canvas.subplots(2, len(levels) + 1, squeeze=False)
    label, prediction = (curve.class_names[int(part[row])] for part in (curve.labels, curve.predictions))
    _show(grid[0, 0], clean, f"clean\n{label}", "black")
    grid[1, 0].set_axis_off()
    grid[1, 0].text(0.5, 0.5, f"difference\ntimes {_TIMES}", ha="center", va="center", fontsize=8)
    for column, level in enumerate(levels, 1):
        verdict = str(curve.verdicts[row, level])
        broken = verdict == "violated"
        shown = changed if broken else clean
        eps = f"{255 * curve.eps[level]:.3g}/255" if curve.norm == "linf" else f"{curve.eps[level]:.3g}"
        _show(grid[0, column], shown, f"{eps}\n{prediction if broken else label}\n{verdict}", WORDS[verdict])
        _show(grid[1, column], np.clip(0.5 + _TIMES * (shown - clean) / 2, 0, 1), "", "black")
    return canvas


def _pixels(image: Any) -> np.ndarray:
    """Return (H, W, 3) of (C, H, W)."""
    return to_rgb(np.moveaxis(image.double().numpy(), 0, -1))


def _show(axis: Any, pixels: np.ndarray, title: str, colour: str) -> None:
    axis.imshow(pixels, interpolation="nearest")
    axis.set_axis_off()
    axis.set_title(title, fontsize=8, color=colour, parse_math=False)
