"""Groups as a picture: how each fares, how sure that is, what chance alone does, and which gaps are more than that."""

import textwrap
from typing import Any

import numpy as np

COLOURS = {"unfair": "#b2182b", "no evidence": "#2166ac", "too small to tell": "#8c8c8c"}
CHANCE = "#e6e6e6"
_MOST_GROUPS, _MOST_GAPS = 24, 14
_WORDS = {
    "unfair": "differs by more than chance",
    "no evidence": "no evidence of a difference",
    "too small to tell": "too few pictures to tell",
}
_WIDTH = 120


def figure(found: Any, column: str) -> Any:
    """Return a matplotlib figure of one column of a bias report.

    On the left each group's accuracy (or the first metric asked) with its interval, on the right the gaps.

    Args:
        found: of `xai.bias`.
        column: its name.
    """
    from matplotlib import pyplot as plt

    values, gaps = _groups_of(found, column), _gaps_of(found, column)
    rows = max(len(values), len(gaps), 4)
    canvas: Any = plt.figure(figsize=(11, 1.9 + 0.3 * rows), layout="constrained")
    left, right = canvas.subplots(1, 2, width_ratios=(1, 1.25))
    _draw_groups(left, found, column, values)
    _draw_gaps(right, gaps)
    for axis in (left, right):
        axis.set_ylim(-0.7 - (rows - len(axis.get_yticks())), len(axis.get_yticks()) - 0.3)
        axis.spines[["top", "right"]].set_visible(False)
    canvas.legend(handles=_marks(), fontsize=9, frameon=False, loc="outside lower center", ncols=2)
    canvas.suptitle(_headline(found, column), fontsize=11, x=0.01, ha="left", parse_math=False)
    return canvas


def _groups_of(found: Any, column: str) -> list[Any]:
    """Return the groups by the first metric asked, lowest first; when there are many, the two ends."""
    metric = found.gaps[0].metric
    rows = [v for v in found.values if v.column == column and v.metric == metric and v.value is not None]
    label = rows[0].label if rows else ""
    rows = sorted((v for v in rows if v.label == label), key=lambda v: v.value)
    half = _MOST_GROUPS // 2
    return rows if len(rows) <= _MOST_GROUPS else rows[:half] + rows[-half:]


def _gaps_of(found: Any, column: str) -> list[Any]:
    """Return the widest gap of each metric and everything unfair, most certain first."""
    own = [g for g in found.gaps if g.column == column and g.gap is not None and not g.repeats]
    widest: dict[str, Any] = {}
    for gap in sorted(own, key=lambda gap: (gap.p_adjusted, -gap.gap)):
        widest.setdefault(gap.metric, gap)
    unfair = sorted((gap for gap in own if gap.verdict == "unfair"), key=lambda gap: gap.p_adjusted)
    chosen = [*unfair, *(gap for gap in widest.values() if gap.verdict != "unfair")]
    return chosen[:_MOST_GAPS]


def _headline(found: Any, column: str) -> str:
    findings = [gap for gap in found.findings if gap.column == column]
    first = findings[0] if findings else next(gap for gap in found.gaps if gap.column == column)
    more = f" (and {len(findings) - 1} more gaps)" if len(findings) > 1 else ""
    said = first.headline[0].upper() + first.headline[1:] + more
    return "\n".join(textwrap.wrap(said, _WIDTH))


def _draw_groups(axis: Any, found: Any, column: str, values: list[Any]) -> None:
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
    metric = found.gaps[0].metric.replace("_", " ")
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
