"""A dream as a figure: the picture beside what each step raised."""

from typing import Any

import numpy as np

from xai.plots.explanation import plain

_LINE, _BORDER = "#2166ac", "0.8"


def figure(dream: Any) -> Any:
    """Return a matplotlib figure of the picture and the objective of each step; a line where an octave begins.

    Args:
        dream: of `xai.deep_dream`.
    """
    from matplotlib import pyplot as plt

    canvas: Any = plt.figure(figsize=(9, 4), layout="constrained")
    picture, steps = canvas.subplots(1, 2)
    picture.imshow(dream.pixels)
    picture.set_axis_off()
    picture.set_title(plain(dream.goal), fontsize=10, parse_math=False)
    for start in np.flatnonzero(np.diff(dream.octave)) + 1:
        steps.axvline(float(start), color=_BORDER, lw=1)
    steps.plot(dream.objective, color=_LINE, lw=1.2)
    steps.set_xlabel("step")
    steps.set_title("objective, as the network saw it", fontsize=10)
    steps.spines[["top", "right"]].set_visible(False)
    return canvas
