"""Figures of calibration, prediction sets, drift and out-of-distribution scores."""

import textwrap
from typing import Any

import numpy as np

PLAIN, WARM, IDEAL = "#b2182b", "#2166ac", "#999999"


def calibration_figure(result: Any) -> Any:
    """Return a matplotlib figure of a calibration.

    Args:
        result: of `xai.calibration`.
    """
    from matplotlib import pyplot as plt

    canvas: Any = plt.figure(figsize=(9.6, 4.6), layout="constrained")
    grid = canvas.add_gridspec(2, 2, height_ratios=(3, 1), width_ratios=(1, 1))
    curve = canvas.add_subplot(grid[0, 0])
    counts = canvas.add_subplot(grid[1, 0], sharex=curve)
    risk = canvas.add_subplot(grid[:, 1])
    warm = f"temperature {result.temperature.value:.2f}"
    pairs = ((result.before, "as it is", PLAIN, "o-", -1), (result.after, warm, WARM, "s--", 1))
    _draw_curves(curve, pairs)
    _draw_counts(counts, result)
    _draw_risk(risk, result.measures.selective)
    low, high = result.ece_interval
    title = f"{result.model['name']}: {result.verdict}. ECE {result.ece:.3f}, true error {low:.3f} to {high:.3f}"
    canvas.suptitle(f"{title} ({len(result)} images)", fontsize=10, parse_math=False)
    return canvas


def _draw_curves(axis: Any, pairs: Any) -> None:
    axis.plot([0, 100], [0, 100], color=IDEAL, linewidth=0.8, linestyle=":")
    for measures, label, colour, mark, side in pairs:
        bins = measures.ece.bins
        confidence = (
            100 * np.array([each.confidence for each in bins]) + 0.4 * side
        )  # apart, so that no interval hides another
        true, low, high = (
            100 * np.array([getattr(each, name) for each in bins]) for name in ("accuracy", "low", "high")
        )
        text = f"{label}: ECE {measures.ece.value:.3f}"
        errors = np.abs(np.stack([true - low, high - true]))
        axis.errorbar(
            confidence,
            true,
            errors,
            fmt=mark,
            color=colour,
            markersize=4,
            capsize=2,
            elinewidth=0.8,
            linewidth=1,
            label=text,
        )
    count = pairs[0][0].count
    axis.set(xlim=(0, 100), ylim=(0, 102), ylabel="accuracy (%)")
    axis.set_title(f"Confidence and accuracy: {count} images, 95 % intervals", fontsize=10)
    axis.tick_params(labelbottom=False)
    axis.legend(fontsize=8, frameon=False, loc="upper left")
    axis.spines[["top", "right"]].set_visible(False)


def _draw_counts(axis: Any, result: Any) -> None:
    edges = np.linspace(0, 100, result.settings["bins"] + 1)
    axis.hist(100 * result.confidence, edges, color=PLAIN, alpha=0.35, edgecolor="white", linewidth=0.5)
    axis.axvline(100 * result.measures.confidence, color=PLAIN, linewidth=1, label="mean confidence")
    axis.axvline(100 * result.measures.accuracy, color="black", linewidth=1, linestyle="--", label="accuracy")
    axis.set(xlabel="confidence (%)", ylabel="images")
    axis.legend(fontsize=7, frameon=False, loc="upper left")
    axis.spines[["top", "right"]].set_visible(False)


def _draw_risk(axis: Any, selective: Any) -> None:
    coverage, risk, low, high = (
        100 * np.array(values)
        for values in (selective.coverage, selective.risk, selective.risk_low, selective.risk_high)
    )
    axis.fill_between(coverage, low, high, color=PLAIN, alpha=0.15, linewidth=0)
    axis.plot(coverage, risk, color=PLAIN, linewidth=1.2, label=f"by confidence: area {selective.aurc:.4f}")
    axis.axhline(
        100 * selective.random, color=IDEAL, linewidth=0.8, linestyle=":", label=f"at random: {selective.random:.4f}"
    )
    wrong = selective.random
    best = np.clip(1 - (1 - wrong) / np.maximum(coverage / 100, 1e-9), 0, None)
    axis.plot(
        coverage, 100 * best, color="black", linewidth=0.8, linestyle="--", label=f"best order: {selective.best:.4f}"
    )
    axis.set(
        xlim=(0, 101),
        ylim=(0, max(1.15 * high[-1], 0.1)),
        xlabel="coverage, most confident first (%)",
        ylabel="wrong among these (%)",
    )
    axis.set_title("Risk: errors among the most confident predictions", fontsize=10)
    axis.legend(fontsize=8, frameon=False, loc="upper left")
    axis.spines[["top", "right"]].set_visible(False)


COLOUR, PROMISE = "#2166ac", "#b2182b"
_MOST = 20  # classes that are shown


def prediction_sets_figure(sets: Any) -> Any:
    """Return a matplotlib figure of prediction sets.

    Args:
        sets: of `ConformalPredictor.sets`.
    """
    from matplotlib import pyplot as plt

    labelled = sets.labels is not None
    canvas: Any = plt.figure(figsize=(9.6 if labelled else 4.8, 4.2), layout="constrained")
    axes = np.atleast_1d(canvas.subplots(1, 2 if labelled else 1))
    _draw_sizes(axes[0], sets)
    if labelled:
        _draw_coverage(axes[1], sets)
    coverage = f", {sets.coverage:.1%} hold the true class" if labelled else ""
    settings = sets.settings
    canvas.suptitle(
        f"{sets.model['name']}, {settings['method']}, alpha {settings['alpha']:g}: {len(sets)} sets{coverage}",
        fontsize=10,
        parse_math=False,
    )
    return canvas


def _draw_sizes(axis: Any, sets: Any) -> None:
    table = sets.by_size
    axis.bar(table["size"], table["images"], color=COLOUR, alpha=0.7, width=0.8)
    axis.set(xlabel="classes in the set", ylabel="images")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_title(f"Size of the sets: {sets.average_size:.2f} on average", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_coverage(axis: Any, sets: Any) -> None:
    table = sets.table.nsmallest(_MOST, "coverage").iloc[::-1]
    height = np.arange(len(table))
    share, low, high = (100 * table[name].to_numpy() for name in ("coverage", "low", "high"))
    axis.errorbar(share, height, xerr=np.abs(np.stack([share - low, high - share])), fmt="o", color=COLOUR, capsize=2)
    axis.axvline(100 * (1 - sets.settings["alpha"]), color=PROMISE, linewidth=1, linestyle="--", label="asked")
    axis.set_yticks(height, list(table["class"]), fontsize=8, parse_math=False)
    axis.set(xlabel="sets that hold the true class (%), 95 % intervals", xlim=(None, 101))
    shown = "Each class" if len(table) == len(sets.table) else f"The {len(table)} classes with the lowest coverage"
    promised = "promised for each" if sets.settings["by_class"] else "promised over all classes together"
    axis.set_title(f"{shown}; {promised}", fontsize=10)
    axis.legend(fontsize=8, frameon=False, loc="lower left")
    axis.spines[["top", "right"]].set_visible(False)


FIRST, SECOND, QUIET = "#2166ac", "#b2182b", "#999999"
_MOST_CLASSES = 12  # classes that are shown


def drift_figure(drift: Any) -> Any:
    """Return a matplotlib figure of a drift.

    Args:
        drift: of `xai.drift`.
    """
    from matplotlib import pyplot as plt

    canvas: Any = plt.figure(figsize=(11.5, 4.6), layout="constrained")
    scores, classes, confidence = canvas.subplots(1, 3, width_ratios=(1, 1.15, 1))
    tests = {test.name: test for test in drift.tests}
    _draw_scores(scores, drift, tests["classifier"])
    _draw_classes(classes, drift, tests["classes"])
    _draw_confidence(confidence, drift, tests["confidence"])
    data = drift.data
    head = f"{data['a']} ({data['count_a']}) and {data['b']} ({data['count_b']}): {drift.verdict}"
    lines = textwrap.wrap(drift.reasons[0], 140)
    canvas.suptitle("\n".join([head, *lines]), fontsize=10, parse_math=False)
    return canvas


def _draw_scores(axis: Any, drift: Any, test: Any) -> None:
    both = np.concatenate([drift.scores_a, drift.scores_b])
    low, high = np.quantile(both, [0.001, 0.999])
    edges = np.linspace(low, max(high, low + 1e-6), 31)
    for scores, colour, label in ((drift.scores_a, FIRST, "first"), (drift.scores_b, SECOND, "second")):
        axis.hist(scores, edges, color=colour, alpha=0.45, density=True, label=label)
    axis.set(xlabel="score of a classifier of the two, held out", yticks=[])
    axis.set_title(f"AUROC of telling apart: {test.value:.3f}\nadjusted p = {test.adjusted:.2g}", fontsize=10)
    axis.legend(fontsize=8, frameon=False)
    axis.spines[["top", "right", "left"]].set_visible(False)


def _draw_classes(axis: Any, drift: Any, test: Any) -> None:
    shown = sorted(drift.class_shares, key=lambda share: -abs(share.difference))[:_MOST_CLASSES][::-1]
    height = np.arange(len(shown))
    change, low, high = (
        100 * np.array([getattr(share, name) for share in shown]) for name in ("difference", "low", "high")
    )
    colours = [SECOND if share.adjusted <= drift.settings["alpha"] else QUIET for share in shown]
    for k, colour in enumerate(colours):
        axis.plot([low[k], high[k]], [height[k]] * 2, color=colour, linewidth=1.2)
        axis.plot(change[k], height[k], "o", color=colour, markersize=5)
    axis.axvline(0, color="black", linewidth=0.8)
    labels = [f"{share.name}  {share.share_a:.1%} to {share.share_b:.1%}" for share in shown]
    axis.set_yticks(height, labels, fontsize=8, parse_math=False)
    axis.set_xlabel("change of its share of predictions (points), 95 % intervals", fontsize=9)
    axis.set_title(f"Predictions that moved: {test.value:.1%}\nadjusted p = {test.adjusted:.2g}", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_confidence(axis: Any, drift: Any, test: Any) -> None:
    for values, colour, label in ((drift.confidence_a, FIRST, "first"), (drift.confidence_b, SECOND, "second")):
        ordered = 100 * np.sort(values)
        axis.step(ordered, 100 * np.arange(1, len(ordered) + 1) / len(ordered), color=colour, where="post", label=label)
    axis.set(xlabel="confidence (%)", ylabel="images with at most that (%)", ylim=(0, 101))
    axis.set_title(f"Mean confidence: {100 * test.value:+.1f} points\nadjusted p = {test.adjusted:.2g}", fontsize=10)
    axis.legend(fontsize=8, frameon=False, loc="upper left")
    axis.spines[["top", "right"]].set_visible(False)


INSIDE = "#2166ac"
OUTSIDE = ("#b2182b", "#f4a582", "#762a83", "#1b7837", "#b35806", "#666666")
_BINS = 40
_COLUMNS = 3


def detector_figure(detector: Any, judged: Any, alpha: float) -> Any:
    """Return a matplotlib figure of the calibration scores of a detector, the threshold and judged images.

    Args:
        detector: of `xai.fit_ood`.
        judged: of `found.judge`, or None.
        alpha: of the threshold.
    """
    from matplotlib import pyplot as plt

    canvas: Any = plt.figure(figsize=(6.4, 3.6), layout="constrained")
    axis = canvas.subplots()
    groups = {"calibration": detector.calibration_scores.numpy()}
    if judged is not None:
        groups["judged"] = judged.scores.numpy()
    _histograms(axis, groups)
    limit = detector.threshold(alpha)
    if np.isfinite(limit):
        axis.axvline(limit, color="black", linewidth=1, linestyle="--", label=f"rejected beyond (alpha {alpha:g})")
    axis.legend(fontsize=8, frameon=False)
    axis.set_xlabel(detector.fitted.detector.unit)
    axis.set_title(f"{detector.fitted.detector.title}: {detector.model['name']}", fontsize=10, parse_math=False)
    return canvas


def comparison_figure(comparison: Any, methods: list[str]) -> Any:
    """Return a matplotlib figure with one histogram per detector of a comparison, with the AUROC of each set.

    Args:
        comparison: of `xai.compare_ood`.
        methods: labels of detectors.
    """
    from matplotlib import pyplot as plt

    rows = -(-len(methods) // _COLUMNS)
    canvas: Any = plt.figure(figsize=(3.4 * _COLUMNS, 3.1 * rows), layout="constrained")
    axes = canvas.subplots(rows, _COLUMNS, squeeze=False).flatten()
    areas = comparison.areas
    for axis, method in zip(axes, methods, strict=False):
        inside, outside = comparison.scores_of(method)
        names = {f"{name} {areas.loc[method, name]:.3f}": scores.numpy() for name, scores in outside.items()}
        _histograms(axis, {"in-distribution": inside.numpy(), **names})
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
    axis.set_ylabel("share of images", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
