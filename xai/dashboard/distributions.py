"""Charts of scores, of probabilities and of shares of classes, as Vega-Lite."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

import xai
from xai.dashboard.charts import ATTACKED, CERTIFIED, GAP, Spec
from xai.dashboard.language import t, told
from xai.dashboard.words import interval

INSIDE, OUTSIDE = CERTIFIED, ATTACKED
_BINS = 40
_RARE = 0.005  # of the pictures may lie beyond either end, and are counted there
_RULE = "#808080"  # seen on white and on black
_SHARE: Spec = {"format": "%", "title": None}


def histogram(groups: Mapping[str, np.ndarray], limit: float, unit: str) -> Spec:
    """Return histograms of scores over each other, with the score from which on pictures are rejected.

    Args:
        groups: scores by name: the ordinary pictures first, then the foreign ones.
        limit: that score; infinite where none is rejected.
        unit: of the scores.
    """
    edges = _edges(list(groups.values()))
    rows = [row for name, scores in groups.items() for row in _bars(name, scores, edges)]
    tips = [
        {"field": "kind", "title": t("kind")},
        {"field": "pictures", "title": t("pictures")},
        {"field": "low", "title": t("from"), "format": ".3g"},
        {"field": "high", "title": t("to"), "format": ".3g"},
    ]
    bars: Spec = {
        "data": {"values": rows},
        "mark": {"type": "bar", "opacity": 0.6, "binSpacing": 0},
        "encoding": {
            "x": {
                "field": "low",
                "type": "quantitative",
                "bin": {"binned": True},
                "title": told(unit),
                "axis": {"grid": False},
            },
            "x2": {"field": "high"},
            "y": {"field": "share", "type": "quantitative", "stack": None, "axis": {**_SHARE, "title": t("pictures")}},
            "color": _kinds(list(groups), [INSIDE, OUTSIDE]),
            "tooltip": tips,
        },
    }
    layers = [bars]
    if isfinite(limit):
        layers.append(
            {
                "data": {"values": [{"limit": float(np.clip(limit, edges[0], edges[-1]))}]},
                "mark": {"type": "rule", "strokeWidth": 2, "strokeDash": [6, 4], "color": _RULE},
                "encoding": {"x": {"field": "limit", "type": "quantitative", "title": told(unit)}},
            }
        )
    return {"height": 330, "layer": layers}


def _edges(groups: Sequence[np.ndarray]) -> np.ndarray:
    ends = [np.quantile(scores, [_RARE, 1 - _RARE]) for scores in groups]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    return np.linspace(low, high if high > low else low + 1, _BINS + 1)


def _bars(name: str, scores: np.ndarray, edges: np.ndarray) -> list[dict[str, Any]]:
    counts, _ = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)
    return [
        {
            "kind": name,
            "low": float(low),
            "high": float(high),
            "pictures": int(count),
            "share": float(count / len(scores)),
        }
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        if count
    ]


def reliability(found: xai.Calibration) -> Spec:
    """Return how often answers are right by how sure the network is, as it is and with the temperature."""
    names = (t("as it is"), t("temperature {value:.2f}", value=found.temperature.value))
    curves = zip(names, (found.before, found.after), strict=True)
    rows = [
        {
            "kind": name,
            "confidence": one.confidence,
            "right": one.accuracy,
            "low": one.low,
            "high": one.high,
            "pictures": one.count,
            "said": interval(one.accuracy, one.low, one.high),
        }
        for name, measures in curves
        for one in measures.ece.bins
    ]
    across: Spec = {"field": "confidence", "type": "quantitative", "scale": {"domain": [0, 1]}}
    across["axis"] = {**_SHARE, "title": t("how sure it is")}
    kind = _kinds(list(names), [ATTACKED, CERTIFIED])
    shape = {**kind, "scale": {"domain": list(names), "range": ["circle", "diamond"]}}
    tips = [
        {"field": "kind", "title": t("kind")},
        {"field": "said", "title": t("right")},
        {"field": "confidence", "title": t("how sure it is"), "format": ".1%"},
        {"field": "pictures", "title": t("pictures")},
    ]
    return {
        "height": 400,
        "data": {"values": rows},
        "encoding": {"x": across, "color": kind},
        "layer": [
            {
                "data": {"values": [{"confidence": 0, "right": 0}, {"confidence": 1, "right": 1}]},
                "mark": {"type": "line", "color": _RULE, "strokeDash": [6, 4], "strokeWidth": 1},
                "encoding": {"y": _up("right"), "color": {"value": _RULE}},
            },
            {"mark": {"type": "rule"}, "encoding": {"y": _up("low"), "y2": {"field": "high"}}},
            {
                "mark": {"type": "point", "filled": True, "opacity": 1, "size": 70},
                "encoding": {"y": _up("right"), "shape": shape, "tooltip": tips},
            },
        ],
    }


def risk_by_coverage(found: xai.Calibration) -> Spec:
    """Return the share of wrong answers when only the surest are given."""
    rows = found.risk_coverage.to_dict("records")
    across: Spec = {"field": "coverage", "type": "quantitative", "scale": {"domain": [0, 1]}}
    across["axis"] = {**_SHARE, "title": t("share of pictures that get an answer")}
    up: Spec = {"type": "quantitative", "axis": {**_SHARE, "title": t("wrong answers")}}
    return {
        "height": 240,
        "data": {"values": rows},
        "encoding": {"x": across},
        "layer": [
            {
                "mark": {"type": "area", "opacity": 0.25, "color": ATTACKED},
                "encoding": {"y": {"field": "low", **up}, "y2": {"field": "high"}},
            },
            {"mark": {"type": "line", "color": ATTACKED}, "encoding": {"y": {"field": "risk", **up}}},
        ],
    }


def shares_of_classes(found: xai.Drift, names: Sequence[str]) -> Spec:
    """Return how often each class is answered in both data sets; a line joins the two."""
    pairs = [
        {"class": one.name, "low": one.share_a, "high": one.share_b, "said": f"{one.low:+.1%} to {one.high:+.1%}"}
        for one in found.classes
    ]
    points = [
        {"class": one.name, "kind": name, "share": share}
        for one in found.classes
        for name, share in zip(names, (one.share_a, one.share_b), strict=True)
    ]
    tips = [
        {"field": "class", "title": t("class")},
        {"field": "kind", "title": t("pictures")},
        {"field": "share", "title": t("share"), "format": ".1%"},
    ]
    down: Spec = {"field": "class", "type": "nominal", "sort": None, "axis": {"title": None, "labelLimit": 160}}
    across: Spec = {"type": "quantitative", "axis": {**_SHARE, "title": t("answered in"), "tickCount": 6}}
    return {
        "height": {"step": 24},
        "layer": [
            {
                "data": {"values": pairs},
                "mark": {"type": "rule", "color": GAP, "strokeWidth": 3},
                "encoding": {"y": down, "x": {"field": "low", **across}, "x2": {"field": "high"}},
            },
            {
                "data": {"values": points},
                "mark": {"type": "point", "filled": True, "opacity": 1, "size": 90},
                "encoding": {
                    "y": down,
                    "x": {"field": "share", **across},
                    "color": _kinds(list(names), [INSIDE, OUTSIDE]),
                    "tooltip": tips,
                },
            },
        ],
    }


def _kinds(names: list[str], colours: list[str]) -> Spec:
    scale = {"domain": names, "range": colours}
    legend = {"orient": "bottom", "symbolOpacity": 1, "labelLimit": 260}
    return {"field": "kind", "type": "nominal", "title": None, "scale": scale, "legend": legend}


def _up(field: str) -> Spec:
    return {
        "field": field,
        "type": "quantitative",
        "scale": {"domain": [0, 1]},
        "axis": {**_SHARE, "title": t("how often it is right")},
    }
