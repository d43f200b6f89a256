"""Drift as a picture: can the data sets be told apart, which classes moved, is the model as sure."""

import textwrap
from typing import Any

import numpy as np

FIRST, SECOND, QUIET = "#2166ac", "#b2182b", "#999999"
_MOST = 12  # classes that are shown


def figure(found: Any) -> Any:
    """Return a matplotlib figure of a drift.

    Args:
        found: of `xai.drift`.
    """
    from matplotlib import pyplot as plt

    canvas: Any = plt.figure(figsize=(11.5, 4.6), layout="constrained")
    told, classes, sure = canvas.subplots(1, 3, width_ratios=(1, 1.15, 1))
    tests = {test.name: test for test in found.tests}
    _draw_scores(told, found, tests["classifier"])
    _draw_classes(classes, found, tests["classes"])
    _draw_confidence(sure, found, tests["confidence"])
    data = found.data
    head = f"{data['a']} ({data['count_a']}) and {data['b']} ({data['count_b']}): {found.verdict}"
    lines = textwrap.wrap(found.reasons[0], 140)
    canvas.suptitle("\n".join([head, *lines]), fontsize=10, parse_math=False)
    return canvas


def _draw_scores(axis: Any, found: Any, test: Any) -> None:
    both = np.concatenate([found.scores_a, found.scores_b])
    low, high = np.quantile(both, [0.001, 0.999])
    edges = np.linspace(low, max(high, low + 1e-6), 31)
    for scores, colour, label in ((found.scores_a, FIRST, "first"), (found.scores_b, SECOND, "second")):
        axis.hist(scores, edges, color=colour, alpha=0.45, density=True, label=label)
    axis.set(xlabel="score of a classifier of the two, held out", yticks=[])
    axis.set_title(f"AUROC of telling apart: {test.value:.3f}\nadjusted p = {test.adjusted:.2g}", fontsize=10)
    axis.legend(fontsize=8, frameon=False)
    axis.spines[["top", "right", "left"]].set_visible(False)


def _draw_classes(axis: Any, found: Any, test: Any) -> None:
    shown = sorted(found.classes, key=lambda one: -abs(one.difference))[:_MOST][::-1]
    height = np.arange(len(shown))
    change, low, high = (
        100 * np.array([getattr(one, name) for one in shown]) for name in ("difference", "low", "high")
    )
    colours = [SECOND if one.adjusted <= found.settings["alpha"] else QUIET for one in shown]
    for k, colour in enumerate(colours):
        axis.plot([low[k], high[k]], [height[k]] * 2, color=colour, linewidth=1.2)
        axis.plot(change[k], height[k], "o", color=colour, markersize=5)
    axis.axvline(0, color="black", linewidth=0.8)
    labels = [f"{one.name}  {one.share_a:.1%} to {one.share_b:.1%}" for one in shown]
    axis.set_yticks(height, labels, fontsize=8, parse_math=False)
    axis.set_xlabel("change of its share of answers (points), 95 % intervals", fontsize=9)
    axis.set_title(f"Answers that moved: {test.value:.1%}\nadjusted p = {test.adjusted:.2g}", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_confidence(axis: Any, found: Any, test: Any) -> None:
    for values, colour, label in ((found.confidence_a, FIRST, "first"), (found.confidence_b, SECOND, "second")):
        ordered = 100 * np.sort(values)
        axis.step(ordered, 100 * np.arange(1, len(ordered) + 1) / len(ordered), color=colour, where="post", label=label)
    axis.set(xlabel="confidence (%)", ylabel="pictures with at most that (%)", ylim=(0, 101))
    axis.set_title(f"Mean confidence: {100 * test.value:+.1f} points\nadjusted p = {test.adjusted:.2g}", fontsize=10)
    axis.legend(fontsize=8, frameon=False, loc="upper left")
    axis.spines[["top", "right"]].set_visible(False)
