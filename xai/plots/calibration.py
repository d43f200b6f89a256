"""Calibration as a picture: said against true, how sure the model is, and what is wrong among sure answers."""

from typing import Any

import numpy as np

PLAIN, WARM, IDEAL = "#b2182b", "#2166ac", "#999999"


def figure(found: Any) -> Any:
    """Return a matplotlib figure of a calibration.

    Args:
        found: of `xai.calibration`.
    """
    from matplotlib import pyplot as plt

    canvas: Any = plt.figure(figsize=(9.6, 4.6), layout="constrained")
    grid = canvas.add_gridspec(2, 2, height_ratios=(3, 1), width_ratios=(1, 1))
    curve = canvas.add_subplot(grid[0, 0])
    counts = canvas.add_subplot(grid[1, 0], sharex=curve)
    risk = canvas.add_subplot(grid[:, 1])
    warm = f"temperature {found.temperature.value:.2f}"
    pairs = ((found.before, "as it is", PLAIN, "o-", -1), (found.after, warm, WARM, "s--", 1))
    _draw_curves(curve, pairs)
    _draw_counts(counts, found)
    _draw_risk(risk, found.measures.selective)
    low, high = found.ece_interval
    title = f"{found.model['name']}: {found.verdict}. ECE {found.ece:.3f}, true error {low:.3f} to {high:.3f}"
    canvas.suptitle(f"{title} ({len(found)} pictures)", fontsize=10, parse_math=False)
    return canvas


def _draw_curves(axis: Any, pairs: Any) -> None:
    axis.plot([0, 100], [0, 100], color=IDEAL, linewidth=0.8, linestyle=":")
    for measures, label, colour, mark, side in pairs:
        bins = measures.ece.bins
        said = 100 * np.array([one.confidence for one in bins]) + 0.4 * side  # apart, so that no interval hides another
        true, low, high = (100 * np.array([getattr(one, name) for one in bins]) for name in ("accuracy", "low", "high"))
        text = f"{label}: ECE {measures.ece.value:.3f}"
        errors = np.abs(np.stack([true - low, high - true]))
        axis.errorbar(
            said, true, errors, fmt=mark, color=colour, markersize=4, capsize=2, elinewidth=0.8, linewidth=1, label=text
        )
    count = pairs[0][0].count
    axis.set(xlim=(0, 100), ylim=(0, 102), ylabel="accuracy (%)")
    axis.set_title(f"Said and true: {count} pictures, 95 % intervals", fontsize=10)
    axis.tick_params(labelbottom=False)
    axis.legend(fontsize=8, frameon=False, loc="upper left")
    axis.spines[["top", "right"]].set_visible(False)


def _draw_counts(axis: Any, found: Any) -> None:
    edges = np.linspace(0, 100, found.settings["bins"] + 1)
    axis.hist(100 * found.confidence, edges, color=PLAIN, alpha=0.35, edgecolor="white", linewidth=0.5)
    axis.axvline(100 * found.measures.confidence, color=PLAIN, linewidth=1, label="mean confidence")
    axis.axvline(100 * found.measures.accuracy, color="black", linewidth=1, linestyle="--", label="accuracy")
    axis.set(xlabel="confidence (%)", ylabel="pictures")
    axis.legend(fontsize=7, frameon=False, loc="upper left")
    axis.spines[["top", "right"]].set_visible(False)


def _draw_risk(axis: Any, found: Any) -> None:
    coverage, risk, low, high = (
        100 * np.array(values) for values in (found.coverage, found.risk, found.risk_low, found.risk_high)
    )
    axis.fill_between(coverage, low, high, color=PLAIN, alpha=0.15, linewidth=0)
    axis.plot(coverage, risk, color=PLAIN, linewidth=1.2, label=f"by confidence: area {found.aurc:.4f}")
    axis.axhline(100 * found.random, color=IDEAL, linewidth=0.8, linestyle=":", label=f"at random: {found.random:.4f}")
    wrong = found.random
    best = np.clip(1 - (1 - wrong) / np.maximum(coverage / 100, 1e-9), 0, None)
    axis.plot(coverage, 100 * best, color="black", linewidth=0.8, linestyle="--", label=f"best order: {found.best:.4f}")
    axis.set(
        xlim=(0, 101),
        ylim=(0, max(1.15 * high[-1], 0.1)),
        xlabel="answered, most confident first (%)",
        ylabel="wrong among these (%)",
    )
    axis.set_title("What is wrong when only sure answers count", fontsize=10)
    axis.legend(fontsize=8, frameon=False, loc="upper left")
    axis.spines[["top", "right"]].set_visible(False)
