"""Scores of detectors as histograms: ordinary against foreign pictures, and where the verdict turns."""

from typing import Any

import numpy as np

INSIDE = "#2166ac"
OUTSIDE = ("#b2182b", "#f4a582", "#762a83", "#1b7837", "#b35806", "#666666")
_BINS = 40
_COLUMNS = 3


def detector(found: Any, judged: Any, alpha: float) -> Any:
    """Return a matplotlib figure of the calibration scores of a detector, the threshold and judged pictures.

    Args:
        found: of `xai.fit_ood`.
        judged: of `found.judge`, or None.
        alpha: of the threshold.
    """
    from matplotlib import pyplot as plt

    canvas: Any = plt.figure(figsize=(6.4, 3.6), layout="constrained")
    axis = canvas.subplots()
    groups = {"calibration": found.calibration_scores.numpy()}
    if judged is not None:
        groups["judged"] = judged.scores.numpy()
    _histograms(axis, groups)
    limit = found.threshold(alpha)
    if np.isfinite(limit):
        axis.axvline(limit, color="black", linewidth=1, linestyle="--", label=f"rejected beyond (alpha {alpha:g})")
    axis.legend(fontsize=8, frameon=False)
    axis.set_xlabel(found.fitted.detector.unit)
    axis.set_title(f"{found.fitted.detector.title}: {found.model['name']}", fontsize=10, parse_math=False)
    return canvas


def comparison(found: Any, methods: list[str]) -> Any:
    """Return a matplotlib figure with one histogram per detector of a comparison, with the AUROC of each set.

    Args:
        found: of `xai.compare_ood`.
        methods: labels of detectors.
    """
    from matplotlib import pyplot as plt

    rows = -(-len(methods) // _COLUMNS)
    canvas: Any = plt.figure(figsize=(3.4 * _COLUMNS, 3.1 * rows), layout="constrained")
    axes = canvas.subplots(rows, _COLUMNS, squeeze=False).flatten()
    areas = found.areas
    for axis, method in zip(axes, methods, strict=False):
        inside, outside = found.scores_of(method)
        names = {f"{name} {areas.loc[method, name]:.3f}": scores.numpy() for name, scores in outside.items()}
        _histograms(axis, {"ordinary": inside.numpy(), **names})
        axis.set_title(method, fontsize=9, parse_math=False)
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.1), "ncols": 2}
        axis.legend(fontsize=6, frameon=False, title="AUROC", title_fontsize=6, **below)
    for axis in axes[len(methods) :]:
        axis.set_axis_off()
    return canvas


def _histograms(axis: Any, groups: dict[str, np.ndarray]) -> None:
    """Draw shares per bin over the range that holds all but the rarest values of each group."""
    ends = [np.quantile(scores, [0.005, 0.995]) for scores in groups.values()]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    for place, (name, scores) in enumerate(groups.items()):
        counts, _ = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)
        colour = INSIDE if place == 0 else OUTSIDE[(place - 1) % len(OUTSIDE)]
        axis.stairs(counts / len(scores), edges, fill=True, alpha=0.35, color=colour)
        axis.stairs(counts / len(scores), edges, color=colour, linewidth=1, label=name)
    axis.set_ylabel("share of pictures", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
