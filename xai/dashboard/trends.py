"""Charts over audits: how a figure went, and what two audits differ in."""

from collections.abc import Mapping, Sequence
from typing import Any

from xai.dashboard.charts import ATTACKED, CERTIFIED, GAP, Spec
from xai.dashboard.language import t

_COLOURS = {"pass": CERTIFIED, "fail": ATTACKED, "inconclusive": GAP, "measured": "#7a6ab0"}
_SHAPES = {"pass": "circle", "fail": "diamond", "inconclusive": "triangle-up", "measured": "square"}
_LEGEND = {"orient": "bottom", "symbolOpacity": 1, "columns": 2}  # two of them fit on a phone
_CHANGES = {"better": CERTIFIED, "worse": ATTACKED, "cannot tell": GAP}
_MARKS = {"better": "circle", "worse": "diamond", "cannot tell": "triangle-up"}


def trend(rows: Sequence[Mapping[str, Any]], words: Mapping[str, str]) -> Spec:
    """Return a figure over time with its intervals, thresholds as ticks, verdicts as colour and shape.

    Args:
        rows: from first to last; when, audit, model, value, low, high, threshold, verdict, said.
        words: what verdicts are called.
    """
    shown = [{**row, "number": k + 1, "verdict": words[row["verdict"]]} for k, row in enumerate(rows)]
    across: Spec = {"field": "number", "type": "ordinal", "axis": {"title": None, "labelAngle": 0}}
    up: Spec = {"type": "quantitative", "scale": {"zero": False, "nice": True}, "axis": {"title": None}}
    kind = _kind("verdict", words, _COLOURS, _SHAPES)
    tips = [{"field": name} for name in ("said", "verdict", "model", "when", "audit")]
    ticks = [row for row in shown if row["threshold"] is not None]
    return {
        "data": {"values": shown},
        "height": 240,
        "layer": [
            {
                "mark": {"type": "line", "color": GAP, "strokeWidth": 1.5},
                "encoding": {"x": across, "y": {"field": "value", **up}},
            },
            {
                "data": {"values": ticks},
                "mark": {"type": "tick", "thickness": 2, "size": 40, "color": "#b8860b"},
                "encoding": {"x": across, "y": {"field": "threshold", **up}},
            },
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {"x": across, "y": {"field": "low", **up}, "y2": {"field": "high"}, "color": kind["color"]},
            },
            {
                "mark": {"type": "point", "filled": True, "opacity": 1, "size": 110},
                "encoding": {"x": across, "y": {"field": "value", **up}, **kind, "tooltip": tips},
            },
        ],
    }


def differences(rows: Sequence[Mapping[str, Any]], words: Mapping[str, str]) -> Spec:
    """Return differences with intervals around 0, one line per check.

    Args:
        rows: check, difference, low, high, verdict, said.
        words: what verdicts are called.
    """
    shown = [{**row, "verdict": words[row["verdict"]]} for row in rows]
    down: Spec = {"field": "check", "type": "nominal", "sort": None, "axis": {"title": None, "labelLimit": 240}}
    across: Spec = {"type": "quantitative", "axis": {"title": None}}
    kind = _kind("verdict", words, _CHANGES, _MARKS)
    tips = [
        {"field": "check", "title": t("check")},
        {"field": "said", "title": t("difference")},
        {"field": "verdict", "title": t("verdict")},
    ]
    return {
        "data": {"values": shown},
        "height": {"step": 36},
        "layer": [
            {
                "data": {"values": [{"zero": 0}]},
                "mark": {"type": "rule", "strokeDash": [6, 4], "color": GAP},
                "encoding": {"x": {"field": "zero", **across}},
            },
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {
                    "y": down,
                    "x": {"field": "low", **across},
                    "x2": {"field": "high"},
                    "color": kind["color"],
                },
            },
            {
                "mark": {"type": "point", "filled": True, "opacity": 1, "size": 110},
                "encoding": {"y": down, "x": {"field": "difference", **across}, **kind, "tooltip": tips},
            },
        ],
    }


def _kind(field: str, words: Mapping[str, str], colours: Mapping[str, str], shapes: Mapping[str, str]) -> Spec:
    """Return the encodings of a word that shows as colour and as shape."""
    names, known = [words[name] for name in colours], list(colours)
    base: Spec = {"field": field, "type": "nominal", "title": None, "legend": _LEGEND}
    return {
        "color": {**base, "scale": {"domain": names, "range": [colours[name] for name in known]}},
        "shape": {**base, "scale": {"domain": names, "range": [shapes[name] for name in known]}},
    }


def climb(values: Sequence[float], octaves: Sequence[int]) -> Spec:
    """Return what a dream raised, step by step, a line per octave."""
    pairs = zip(values, octaves, strict=True)
    rows = [
        {"step": k + 1, "value": float(value), "octave": int(octave) + 1} for k, (value, octave) in enumerate(pairs)
    ]
    tips = [
        {"field": "step", "title": t("step")},
        {"field": "octave", "title": t("octave")},
        {"field": "value", "title": t("value")},
    ]
    return {
        "data": {"values": rows},
        "height": 200,
        "mark": {"type": "line", "strokeWidth": 2, "color": CERTIFIED},
        "encoding": {
            "x": {"field": "step", "type": "quantitative", "axis": {"title": None}},
            "y": {"field": "value", "type": "quantitative", "axis": {"title": None}, "scale": {"zero": False}},
            "detail": {"field": "octave"},
            "tooltip": tips,
        },
    }
