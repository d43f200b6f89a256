"""Several explanations of the same pictures, side by side."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from xai.core.bands import to_rgb
from xai.core.explanation import Explanation
from xai.plots.explanation import overlay, plain, scale

_WIDE = 2.6  # inches for one picture
_ACROSS = 5


def agreement_figure(agreement: Any, k: int = 0, *, opacity: float = 0.6) -> Any:
    """Return a matplotlib figure: the picture, one overlay per explanation, and where they disagree.

    Args:
        agreement: of `xai.agreement`.
        k: number of the picture.
        opacity: of the maps over the picture.
    """
    from matplotlib import pyplot as plt

    shown: Any = plt.figure()
    last = ("where they disagree", agreement.disagreements[k])
    return _fill(shown, list(zip(agreement.names, agreement.explanations, strict=True)), k, opacity, last)


def render(explanations: Sequence[Explanation], kind: str) -> bytes:
    """Return the bytes of a picture file of the explanations' first pictures side by side, titled by method."""
    figure, stream = Figure(), io.BytesIO()
    _fill(figure, [(e.method, e) for e in explanations], 0, 0.6, None)
    figure.savefig(stream, format=kind, dpi=110)
    return stream.getvalue()


def _fill(
    canvas: Figure,
    named: Sequence[tuple[str, Explanation]],
    k: int,
    opacity: float,
    last: tuple[str, np.ndarray] | None,
) -> Figure:
    first = named[0][1]
    picture = to_rgb(first.pictures[k]) / 255
    count = 1 + len(named) + (last is not None)
    across = min(_ACROSS, count)
    down = -(-count // across)
    shape = min(2.0, max(0.4, picture.shape[0] / picture.shape[1]))
    canvas.set_size_inches(across * _WIDE, down * (_WIDE * shape + 0.4))
    canvas.set_layout_engine("constrained")
    axes = canvas.subplots(down, across, squeeze=False).flatten()
    _show(axes[0], picture, f"{first.names[k]}: {first.predicted[k]}")
    for axis, (name, explanation) in zip(axes[1:], named, strict=False):
        heatmap = explanation.heatmaps[k]
        _show(axis, overlay(picture, heatmap, *scale(heatmap), opacity), f"{name}: {explanation.labels[k]}")
    if last is not None:
        _show(axes[count - 1], last[1], last[0], cmap="viridis", vmin=0, vmax=1)
    for axis in axes:
        axis.set_axis_off()
    return canvas


def _show(axis: Any, image: np.ndarray, title: str, **settings: Any) -> None:
    axis.imshow(image, interpolation="nearest", **settings)
    axis.set_title(plain(title, 34), fontsize=9, parse_math=False)
