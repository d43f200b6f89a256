"""A rating as a picture: what the score does as pixels are removed, and the checks in words."""

import textwrap
from typing import Any

COLOURS = {"trust": "#1b7837", "doubt": "#b8860b", "reject": "#b2182b", "not checked": "#666666"}


def figure(rating: Any, k: int = 0) -> Any:
    """Return a matplotlib figure of picture `k`: removal curves and checks.

    Args:
        rating: of `xai.rate_explanation`.
        k: number of the picture.
    """
    from matplotlib import pyplot as plt

    canvas: Any = plt.figure(figsize=(10, 4.2), layout="constrained")
    curves, words = canvas.subplots(1, 2, width_ratios=(1, 1.4))
    _draw_curves(curves, rating.curves[k])
    _write_checks(words, rating, k)
    return canvas


def _draw_curves(axis: Any, curve: Any) -> None:
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
        f"{rating.method} for {rating.labels[k]}: {verdict}", fontsize=11, color=COLOURS[verdict], parse_math=False
    )
    height = 0.97
    for check in rating.checks[k]:
        lines = textwrap.wrap(f"{check.name}: {check.reason}", 76)
        axis.text(0, height, check.verdict, color=COLOURS[check.verdict], fontsize=8, weight="bold", va="top")
        axis.text(0.14, height, "\n".join(lines), fontsize=8, va="top", parse_math=False)
        height -= 0.052 * len(lines) + 0.03
