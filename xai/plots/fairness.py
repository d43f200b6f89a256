"""Figures of groups, data faults, shortcuts and slices."""

import textwrap
from textwrap import fill
from typing import Any

import numpy as np

from xai.core.images.samples import to_rgb
from xai.plots.explanations import overlay, plain, scale

COLOURS = {"unfair": "#b2182b", "no evidence": "#2166ac", "too small to tell": "#8c8c8c"}
CHANCE = "#e6e6e6"
_MOST_GROUPS, _MOST_GAPS = 24, 14
_WORDS = {
    "unfair": "differs by more than chance",
    "no evidence": "no evidence of a difference",
    "too small to tell": "too few images to tell",
}
_WIDTH = 120


def bias_figure(result: Any, column: str) -> Any:
    """Return a matplotlib figure of one column of a bias report.

    On the left each group's accuracy (or the first metric asked) with its interval, on the right the gaps.

    Args:
        result: of `xai.bias`.
        column: its name.
    """
    from matplotlib import pyplot as plt

    values, gaps = _groups_of(result, column), _gaps_of(result, column)
    rows = max(len(values), len(gaps), 4)
    canvas: Any = plt.figure(figsize=(11, 1.9 + 0.3 * rows), layout="constrained")
    left, right = canvas.subplots(1, 2, width_ratios=(1, 1.25))
    _draw_groups(left, result, column, values)
    _draw_gaps(right, gaps)
    for axis in (left, right):
        axis.set_ylim(-0.7 - (rows - len(axis.get_yticks())), len(axis.get_yticks()) - 0.3)
        axis.spines[["top", "right"]].set_visible(False)
    canvas.legend(handles=_marks(), fontsize=9, frameon=False, loc="outside lower center", ncols=2)
    canvas.suptitle(_bias_headline(result, column), fontsize=11, x=0.01, ha="left", parse_math=False)
    return canvas


def _groups_of(result: Any, column: str) -> list[Any]:
    """Return the groups by the first metric asked, lowest first; when there are many, the two ends."""
    metric = result.gaps[0].metric
    rows = [v for v in result.values if v.column == column and v.metric == metric and v.value is not None]
    label = rows[0].label if rows else ""
    rows = sorted((v for v in rows if v.label == label), key=lambda v: v.value)
    half = _MOST_GROUPS // 2
    return rows if len(rows) <= _MOST_GROUPS else rows[:half] + rows[-half:]


def _gaps_of(result: Any, column: str) -> list[Any]:
    """Return the widest gap of each metric and everything unfair, most certain first."""
    own = [g for g in result.gaps if g.column == column and g.gap is not None and not g.repeats]
    widest: dict[str, Any] = {}
    for gap in sorted(own, key=lambda gap: (gap.p_adjusted, -gap.gap)):
        widest.setdefault(gap.metric, gap)
    unfair = sorted((gap for gap in own if gap.verdict == "unfair"), key=lambda gap: gap.p_adjusted)
    chosen = [*unfair, *(gap for gap in widest.values() if gap.verdict != "unfair")]
    return chosen[:_MOST_GAPS]


def _bias_headline(result: Any, column: str) -> str:
    findings = [gap for gap in result.findings if gap.column == column]
    first = findings[0] if findings else next(gap for gap in result.gaps if gap.column == column)
    more = f" (and {len(findings) - 1} more gaps)" if len(findings) > 1 else ""
    headline = first.headline[0].upper() + first.headline[1:] + more
    return "\n".join(textwrap.wrap(headline, _WIDTH))


def _draw_groups(axis: Any, result: Any, column: str, values: list[Any]) -> None:
    places = np.arange(len(values))[::-1]
    total = sum(v.n for v in values)
    overall = sum(v.n * v.value for v in values) / max(total, 1)
    for place, v in zip(places, values, strict=True):
        spread = 1.96 * np.sqrt(overall * (1 - overall) / max(v.n, 1)) if 0 <= overall <= 1 else 0
        low, high = max(0, overall - spread), min(1, overall + spread)
        axis.barh(place, 100 * (high - low), left=100 * low, height=0.62, color=CHANCE, linewidth=0)
        axis.plot([100 * v.low, 100 * v.high], [place, place], color=COLOURS[v.verdict], linewidth=1.6)
        axis.plot(100 * v.value, place, "o", color=COLOURS[v.verdict], markersize=6)
    axis.axvline(100 * overall, color="#666666", linewidth=0.8, linestyle=":")
    axis.set_yticks(places, [f"{v.group}  (n = {v.n})" for v in values], fontsize=9, parse_math=False)
    metric = result.gaps[0].metric.replace("_", " ")
    axis.set_xlabel(f"{metric} (%)", fontsize=9)
    axis.set_title(f"Each group by {column}", fontsize=10, parse_math=False)


def _draw_gaps(axis: Any, gaps: list[Any]) -> None:
    places = np.arange(len(gaps))[::-1]
    for place, gap in zip(places, gaps, strict=True):
        axis.barh(place, 100 * (gap.expected_high or 0), height=0.62, color=CHANCE, linewidth=0)
        low, high = (gap.gap if end is None else end for end in gap.interval)
        axis.plot([100 * low, 100 * high], [place, place], color=COLOURS[gap.verdict], linewidth=1.6)
        axis.plot(100 * gap.gap, place, "o", color=COLOURS[gap.verdict], markersize=6)
    names = [" ".join([gap.metric.replace("_", " "), gap.label]).strip() for gap in gaps]
    axis.set_yticks(places, names, fontsize=9, parse_math=False)
    axis.set_xlim(left=0)
    axis.set_xlabel("largest gap between groups (points)", fontsize=9)
    axis.set_title("How far the groups are apart", fontsize=10)


def _marks() -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    marks = [
        Line2D([], [], color=colour, marker="o", linewidth=1.6, label=f"{_WORDS[verdict]} (95 % interval)")
        for verdict, colour in COLOURS.items()
    ]
    return [*marks, Patch(color=CHANCE, label="what chance alone does")]


HARM, GAIN = "#b2182b", "#2166ac"
_MOST = 8  # images in a row
_FAULT_NAMES = {
    "leak": "also in train",
    "duplicates": "occur again",
    "labels": "labels to check",
    "imbalance": "classes counted alike",
    "broken": "broken",
}


def faults_figure(faults: Any) -> Any:
    """Return a matplotlib figure of the faults of a data set.

    Args:
        faults: of `xai.data_faults`.
    """
    from matplotlib import pyplot as plt

    rows = 2 * bool(len(faults.pair_images)) + bool(len(faults.suspect_images))
    canvas: Any = plt.figure(figsize=(10, 1.8 + 0.35 * len(faults.findings) + 1.35 * rows), layout="constrained")
    heights = [0.5 + 0.35 * len(faults.findings), *([1.35] * rows)]
    parts = canvas.subfigures(1 + rows, 1, height_ratios=heights, squeeze=False)[:, 0]
    _draw_effects(parts[0].subplots(), faults)
    place = 1
    if len(faults.pair_images):
        _draw_pairs(parts[1], parts[2], faults)
        place = 3
    if len(faults.suspect_images):
        _draw_suspects(parts[place], faults)
    canvas.suptitle(
        f"{len(faults)} images: {_faults_headline(faults)}", fontsize=11, x=0.01, ha="left", parse_math=False
    )
    return canvas


def _faults_headline(faults: Any) -> str:
    return ", ".join(f"{fault.count} {_FAULT_NAMES[fault.kind]}" for fault in faults.findings) or "nothing found"


def _draw_effects(axis: Any, result: Any) -> None:
    faults = [fault for fault in result.findings if fault.effect is not None]
    for place, fault in enumerate(reversed(faults)):
        low, high = (100 * end for end in fault.effect.interval)
        change = 100 * fault.effect.change
        colour = HARM if change < 0 else GAIN
        axis.plot([low, high], [place, place], color=colour, linewidth=1.6)
        axis.plot(change, place, "o", color=colour, markersize=6)
    axis.axvline(0, color="#666666", linewidth=0.8, linestyle=":")
    axis.set_yticks(range(len(faults)), [f"{_FAULT_NAMES[f.kind]} ({f.count})" for f in reversed(faults)], fontsize=9)
    axis.set_ylim(-0.6, max(1, len(faults)) - 0.4)
    axis.set_xlabel("change of accuracy without them (points), 95 % intervals", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_pairs(top: Any, bottom: Any, result: Any) -> None:
    upper = top.subplots(1, _MOST, squeeze=False)[0]
    lower = bottom.subplots(1, _MOST, squeeze=False)[0]
    for axis in (*upper, *lower):
        axis.set_axis_off()
    for upper_axis, two, images, pair in zip(upper, lower, result.pair_images, result.pairs, strict=False):
        _show(upper_axis, images[0], f"{pair.first_split} {pair.first_row}\n{pair.labels[0]}")
        turned = f"\n{pair.turn}" if pair.turn else ""
        _show(two, images[1], f"= {pair.second_split} {pair.second_row}\n{pair.labels[1]}{turned}")


def _draw_suspects(part: Any, result: Any) -> None:
    axes = part.subplots(1, _MOST, squeeze=False)[0]
    for axis in axes:
        axis.set_axis_off()
    for axis, image, suspect in zip(axes, result.suspect_images, result.suspects, strict=False):
        _show(axis, image, f"labelled {suspect.given}\nlooks like {suspect.suggested}")


def _show(axis: Any, pixels: np.ndarray, title: str) -> None:
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set_title(title, fontsize=7, parse_math=False)


TURNED, WRONG, NEUTRAL = "#b2182b", "#666666", "#2166ac"
_ROWS, _COLUMNS, _OTHERS = 4, 4, 6  # shortcuts, images of each, probes shown when there is no shortcut


def shortcuts_figure(result: Any) -> Any:
    """Return a matplotlib figure: a row for each shortcut, strongest first; without any, the most harmful probes.

    Args:
        result: of `xai.shortcuts`.
    """
    from matplotlib import pyplot as plt

    canvas: Any = plt.figure(layout="constrained")
    numbers = [result.responses.index(each) for each in result.findings[:_ROWS]]
    if not numbers:
        return _harmless(canvas, result)
    canvas.set_size_inches(11, 4.4 * len(numbers))
    for part, number in zip(np.atleast_1d(canvas.subfigures(len(numbers))), numbers, strict=True):
        part.suptitle(fill(plain(result.responses[number].reason, 400), 120), fontsize=9, parse_math=False)
        left, right = part.subfigures(1, 2, width_ratios=(2, 3))
        _curves(left.subplots(), result, number)
        _shortcut_images(right, result, number)
    return canvas


def _harmless(canvas: Any, result: Any) -> Any:
    """Draw the probes that make most predictions wrong, none of which is a shortcut."""
    harm = [
        float(((predictions != result.labels) & (result.clean == result.labels)).mean(1).max())
        for predictions in result.predictions
    ]
    numbers = np.argsort(-np.array(harm), kind="stable")[:_OTHERS].tolist()
    across = min(3, len(numbers))
    canvas.set_size_inches(3.6 * across, 3.4 * -(-len(numbers) // across) + 0.4)
    canvas.suptitle(f"No shortcut found ({result.verdict}). The probes that change most predictions:", fontsize=10)
    axes = canvas.subplots(-(-len(numbers) // across), across, squeeze=False).flatten()
    for axis in axes[len(numbers) :]:
        axis.set_axis_off()
    for axis, number in zip(axes, numbers, strict=False):
        _curves(axis, result, number)
        response = result.responses[number]
        title = f"{response.probe.replace('_', ' ')}: {response.words}\n{response.verdict}"
        axis.set_title(fill(title, 44, replace_whitespace=False), fontsize=8, parse_math=False)
    return canvas


def _curves(axis: Any, result: Any, number: int) -> None:
    """Draw shares over strength: turned into the class, and wrong in any way."""
    response = result.responses[number]
    size = len(result.strengths)
    rows = result.doses.iloc[number * size : (number + 1) * size]
    strengths = np.array([0.0, *result.strengths])
    for name, colour, label in (
        ("flips", WRONG, "wrong in any way"),
        ("attraction", TURNED, f"flipped to {plain(response.label, 20)!r}"),
    ):
        values, low, high = (100 * np.array([0.0, *rows[f"{name}{end}"]]) for end in ("", "_low", "_high"))
        axis.fill_between(strengths, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.plot(strengths, values, "o-", color=colour, markersize=3, label=label)
    axis.plot(response.strength, 100 * response.neutral, "x", color=NEUTRAL, label="into it by neutral changes")
    axis.plot(response.strength, 100 * response.neutral_flips, "+", color=NEUTRAL, label="wrong by neutral changes")
    axis.axhline(10, color="#bbbbbb", linewidth=0.8, linestyle=":")
    axis.set(xlim=(0, 1.03), ylim=(0, 102), xlabel="strength of the probe", ylabel="right images (%)")
    axis.legend(fontsize=7, loc="upper left", frameon=False)
    axis.spines[["top", "right"]].set_visible(False)


def _shortcut_images(canvas: Any, result: Any, number: int) -> None:
    """Draw some images as they are, with the probe, and with the explanation of what they became."""
    places = np.flatnonzero(result.shown[:, 0] == number)[:_COLUMNS]
    grid = canvas.subplots(3, max(1, len(places)), squeeze=False)
    for axis in grid.flatten():
        axis.set_axis_off()
    for column, place in enumerate(places):
        row = result.shown[place, 1]
        before, after = (_pixels(part[place]) for part in (result.before, result.after))
        heatmap = result.heatmaps[place]
        shown = (before, after, overlay(after, heatmap, *scale(heatmap)))
        names = (result.class_names[result.labels[row]], f"with the probe: {result.responses[number].label}", "why")
        for axis, pixels, name in zip(grid[:, column], shown, names, strict=True):
            axis.imshow(pixels, interpolation="nearest")
            axis.set_title(plain(str(name), 26), fontsize=8, parse_math=False)


def _pixels(image: np.ndarray) -> np.ndarray:
    """Return (h, w, 3) of (C, h, w)."""
    return to_rgb(np.moveaxis(image.astype(np.float64), 0, -1))


WEAK, REST = "#b2182b", "#999999"
_MOST_SLICES, _SLICE_COLUMNS = 8, 6


def slices_figure(result: Any) -> Any:
    """Return a matplotlib figure: a row for each weak slice, most certain first, at most eight.

    Args:
        result: of `xai.slices`.
    """
    from matplotlib import pyplot as plt

    canvas: Any = plt.figure(layout="constrained")
    weak = result.findings[:_MOST_SLICES]
    if not weak:
        canvas.set_size_inches(6, 1.2)
        canvas.text(0.5, 0.5, plain(str(result)), ha="center", va="center", fontsize=10)
        return canvas
    canvas.set_size_inches(11, 1.5 * len(weak) + 0.6)
    canvas.suptitle(
        "Images on which the classifier is weak, and some that it gets wrong (what it is: what it says)", fontsize=10
    )
    grid = canvas.subplots(len(weak), 1 + _SLICE_COLUMNS, squeeze=False, width_ratios=[4] + [1.3] * _SLICE_COLUMNS)
    for axes, each in zip(grid, weak, strict=True):
        _bar(axes[0], each)
        _slice_images(axes[1:], result, result.slices.index(each))
    grid[-1, 0].set_xlabel("right (%)", fontsize=8)
    return canvas


def _bar(axis: Any, each: Any) -> None:
    """Draw accuracy with its interval beside that of all others."""
    low, high = (100 * end for end in each.accuracy_interval)
    value = 100 * each.accuracy
    axis.barh(0, value, color=WEAK, height=0.5)
    axis.errorbar(value, 0, xerr=[[value - low], [high - value]], color="black", capsize=3, linewidth=1)
    axis.axvline(100 * each.rest, color=REST, linewidth=2)
    axis.set(xlim=(0, 101), ylim=(-0.6, 0.6), yticks=[])
    axis.tick_params(labelsize=7)
    title = f"{each.words}: {value:.0f} % of {each.images}; others {100 * each.rest:.0f} %"
    axis.set_title(fill(plain(title, 140), 62), fontsize=8, loc="left", parse_math=False)
    axis.spines[["top", "right", "left"]].set_visible(False)


def _slice_images(axes: Any, result: Any, number: int) -> None:
    for axis in axes:
        axis.set_axis_off()
    places = np.flatnonzero(result.shown[:, 0] == number)
    for axis, place in zip(axes, places, strict=False):
        row = result.shown[place, 1]
        pixels = np.moveaxis(result.images[place].astype(np.float64), 0, -1)
        axis.imshow(to_rgb(pixels), interpolation="nearest")
        label, prediction = (
            plain(str(result.class_names[int(part[row])]), 11) for part in (result.labels, result.predictions)
        )
        axis.set_title(f"{label}:\n{prediction}", fontsize=7, parse_math=False)
