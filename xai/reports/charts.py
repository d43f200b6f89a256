"""Charts as numbers for a template: where marks stand, in the units of an SVG, and a sentence for who cannot see it."""

from collections.abc import Mapping, Sequence
from typing import Any

from xai.reports.words import SHARES, Words

WIDTH, LEFT, TOP, SIDE = 300, 44, 10, 200
_POSITIVE = ("share", "auroc", "iou")


def interval(check: Mapping[str, Any], outcome: Mapping[str, Any] | None, words: Words) -> dict[str, Any] | None:
    """Return a figure on its line with its interval and threshold; None where there is no interval.

    Args:
        check: of the document.
        outcome: one of its conditions; None shows the figure alone.
        words: of the report.
    """
    measured = check["measured"] or {}
    unit = measured.get("unit")
    low, high = (measured.get("low"), measured.get("high")) if outcome is None else outcome["interval"]
    value = measured.get("value") if outcome is None else outcome["value"]
    if value is None or low is None or high is None:
        return None
    threshold = None if outcome is None else outcome["threshold"]
    bottom, top = _range([low, high, value, *([] if threshold is None else [threshold])], unit)
    place = {name: _place(number, bottom, top) for name, number in (("low", low), ("high", high), ("value", value))}
    chart = {**place, "bottom": words.value(bottom, unit), "top": words.value(top, unit)}
    chart["threshold"] = None if threshold is None else _place(threshold, bottom, top)
    told = {"title": words.sentence(check["title"]), "value": words.value(value, unit)}
    told["span"] = words.span(low, high, unit)
    if outcome is None:
        return chart | {"alt": words("chart.plain", **told), "verdict": check["verdict"]}
    chart["alt"] = words("chart.interval", **told, asked=asked(outcome, unit, words))
    return chart | {"verdict": outcome["verdict"]}


def asked(outcome: Mapping[str, Any], unit: str | None, words: Words) -> str:
    """Return a condition in words."""
    drop = outcome["condition"] == "max_drop_vs_baseline" and unit in SHARES
    return words(f"condition.{outcome['condition']}", t=words.value(outcome["threshold"], "points" if drop else unit))


def bars(shares: Sequence[Mapping[str, Any]], words: Words, most: int = 30) -> list[dict[str, Any]]:
    """Return the shares of classes or groups, worst first."""
    worst = sorted((one for one in shares if one["n"]), key=lambda one: one["hits"] / one["n"])
    return [
        {
            "name": one["name"] if not one["column"] else f"{one['column']}: {one['name']}",
            "share": round(100 * one["hits"] / one["n"], 2),
            "value": words.percent(one["hits"] / one["n"]),
            "n": words.number(one["n"]),
        }
        for one in worst[:most]
    ]


def curve(name: str, columns: Mapping[str, Sequence[Any]], words: Words) -> dict[str, Any] | None:
    """Return a curve in the unit square; None where nothing is known of it."""
    if name == "reliability":
        found = _line(columns, "confidence", "accuracy", 1.0)
        axes = ("axis.confidence", "axis.accuracy")
    elif name == "risk_coverage":
        found = _line(columns, "coverage", "risk", max(0.05, *[v for v in columns["high"] if v is not None]))
        axes = ("axis.coverage", "axis.risk")
    else:
        return None
    x, y = (words(axis) for axis in axes)
    return {**found, "alt": words(f"curve.{name}"), "x": x, "y": y, "diagonal": name == "reliability"}


def _line(columns: Mapping[str, Sequence[Any]], x: str, y: str, top: float) -> dict[str, Any]:
    rows = [row for row in zip(*(columns[k] for k in (x, y, "low", "high")), strict=True) if None not in row]
    points = [(LEFT + SIDE * a, TOP + SIDE * (1 - b / top)) for a, b, _, _ in rows]
    band = [(LEFT + SIDE * a, TOP + SIDE * (1 - high / top)) for a, _, _, high in rows]
    band += [(LEFT + SIDE * a, TOP + SIDE * (1 - low / top)) for a, _, low, _ in reversed(rows)]
    return {"points": _points(points), "band": _points(band), "top": f"{top:.2g}", "dots": _rounded(points)}


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _rounded(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(round(x, 1), round(y, 1)) for x, y in points] if len(points) <= 30 else []


def _range(values: Sequence[float], unit: str | None) -> tuple[float, float]:
    if unit in _POSITIVE:
        return 0.0, 1.0
    low, high = min(0.0, *values), max(values)
    return low, high + 0.15 * max(high - low, 1e-9)


def _place(value: float, bottom: float, top: float) -> float:
    return round(100 * min(1.0, max(0.0, (value - bottom) / (top - bottom))), 2)
