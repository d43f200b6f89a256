"""Faults of a data set as a picture: pairs, suspicious labels, and what each kind does to the accuracy."""

from typing import Any

import numpy as np

HARM, GAIN = "#b2182b", "#2166ac"
_MOST = 8  # pictures in a row
_WORDS = {
    "leak": "also in train",
    "duplicates": "occur again",
    "labels": "labels to check",
    "imbalance": "classes counted alike",
    "broken": "broken",
}


def figure(found: Any) -> Any:
    """Return a matplotlib figure of the faults of a data set.

    Args:
        found: of `xai.data_faults`.
    """
    from matplotlib import pyplot as plt

    rows = 2 * bool(len(found.pair_pictures)) + bool(len(found.suspect_pictures))
    canvas: Any = plt.figure(figsize=(10, 1.8 + 0.35 * len(found.findings) + 1.35 * rows), layout="constrained")
    heights = [0.5 + 0.35 * len(found.findings), *([1.35] * rows)]
    parts = canvas.subfigures(1 + rows, 1, height_ratios=heights, squeeze=False)[:, 0]
    _draw_effects(parts[0].subplots(), found)
    place = 1
    if len(found.pair_pictures):
        _draw_pairs(parts[1], parts[2], found)
        place = 3
    if len(found.suspect_pictures):
        _draw_suspects(parts[place], found)
    canvas.suptitle(f"{len(found)} pictures: {_headline(found)}", fontsize=11, x=0.01, ha="left", parse_math=False)
    return canvas


def _headline(found: Any) -> str:
    return ", ".join(f"{fault.count} {_WORDS[fault.kind]}" for fault in found.findings) or "nothing found"


def _draw_effects(axis: Any, found: Any) -> None:
    faults = [fault for fault in found.findings if fault.effect is not None]
    for place, fault in enumerate(reversed(faults)):
        low, high = (100 * end for end in fault.effect.interval)
        change = 100 * fault.effect.change
        colour = HARM if change < 0 else GAIN
        axis.plot([low, high], [place, place], color=colour, linewidth=1.6)
        axis.plot(change, place, "o", color=colour, markersize=6)
    axis.axvline(0, color="#666666", linewidth=0.8, linestyle=":")
    axis.set_yticks(range(len(faults)), [f"{_WORDS[f.kind]} ({f.count})" for f in reversed(faults)], fontsize=9)
    axis.set_ylim(-0.6, max(1, len(faults)) - 0.4)
    axis.set_xlabel("change of accuracy without them (points), 95 % intervals", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_pairs(top: Any, bottom: Any, found: Any) -> None:
    upper = top.subplots(1, _MOST, squeeze=False)[0]
    lower = bottom.subplots(1, _MOST, squeeze=False)[0]
    for axis in (*upper, *lower):
        axis.set_axis_off()
    for one, two, pictures, pair in zip(upper, lower, found.pair_pictures, found.pairs, strict=False):
        _show(one, pictures[0], f"{pair.first_split} {pair.first_row}\n{pair.labels[0]}")
        turned = f"\n{pair.turn}" if pair.turn else ""
        _show(two, pictures[1], f"= {pair.second_split} {pair.second_row}\n{pair.labels[1]}{turned}")


def _draw_suspects(part: Any, found: Any) -> None:
    axes = part.subplots(1, _MOST, squeeze=False)[0]
    for axis in axes:
        axis.set_axis_off()
    for axis, picture, suspect in zip(axes, found.suspect_pictures, found.suspects, strict=False):
        _show(axis, picture, f"labelled {suspect.given}\nlooks like {suspect.suggested}")


def _show(axis: Any, pixels: np.ndarray, title: str) -> None:
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set_title(title, fontsize=7, parse_math=False)
