"""Figures: shown by matplotlib, or turned into a file and forgotten."""

import io
from collections.abc import Callable
from typing import Any


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
