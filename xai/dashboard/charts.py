"""Charts as Vega-Lite: what is drawn, and which part of it was clicked."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

import xai
from xai.dashboard.language import m, t, told
from xai.dashboard.offers import offer
from xai.dashboard.words import interval, radius

ATTACKED, CERTIFIED, GAP = "#d6604d", "#4393c3", "#a0a0a0"  # seen on white and on black
_LIGHT = 0.55  # accuracy above which numbers are written dark
_ENDS = {"low": m("at least"), "clean": m("clean"), "high": m("at most")}
_BOUNDS = {"attacked": m("attacked"), "certified": m("certified")}
_PERCENT = {"format": "%", "title": None}
Spec = dict[str, Any]


def probability_by_severity(severities: Sequence[float], shares: Sequence[float], chosen: float) -> Spec:
    """Return the chart of one class's probability, with a mark at the chosen severity."""
    rows = [{"severity": s, "probability": p, "chosen": s == chosen} for s, p in zip(severities, shares, strict=True)]
    tips = [
        {"field": "severity", "title": t("severity")},
        {"field": "probability", "title": t("probability"), "format": ".1%"},
    ]
    return {
        "data": {"values": rows},
        "height": 180,
        "encoding": {
            "x": _across("severity", t("severity"), values=[0, 1, 2, 3, 4, 5]),
            "y": _share("probability"),
            "tooltip": tips,
        },
        "layer": [
            {"mark": {"type": "line", "color": CERTIFIED, "point": {"size": 25, "color": CERTIFIED}}},
            {
                "transform": [{"filter": "datum.chosen"}],
                "mark": {"type": "point", "filled": True, "size": 140, "color": ATTACKED, "opacity": 1},
            },
        ],
    }


def robust_accuracy(curve: xai.RobustnessCurve) -> Spec:
    """Return the chart of both bounds with their intervals and the gap between them; its points can be clicked."""
    scale = 255 if curve.norm == "linf" else 1
    title = t("eps ({norm}, in 1/255)") if scale == 255 else "eps ({norm})"
    axis = {"title": title.format(norm=curve.norm)}
    bounds = [row for kind in ("attacked", "certified") for row in _bound(curve, kind, scale)]
    gap = [
        {"eps": a["eps"], "certified": c["accuracy"], "attacked": a["accuracy"], "kind": t("unproven")}
        for a, c in zip(_bound(curve, "attacked", scale), _bound(curve, "certified", scale), strict=True)
    ]
    kinds = [t(_BOUNDS["attacked"]), t(_BOUNDS["certified"]), t("unproven")]
    colour: Spec = {"type": "nominal", "title": None, "legend": {"orient": "bottom", "symbolOpacity": 1}}
    colour["scale"] = {"domain": kinds, "range": [ATTACKED, CERTIFIED, GAP]}
    kind = {"field": "kind", **colour}
    across = {"field": "eps", "type": "quantitative", "axis": axis, "scale": {"nice": False}}
    tips = [
        {"field": "said", "title": t("accuracy")},
        {"field": "kind", "title": t("bound")},
        {"field": "radius", "title": t("radius")},
    ]
    return {
        "height": 380,
        "params": [
            {"name": "point", "select": {"type": "point", "fields": ["level", "bound"]}, "views": ["points"]},
        ],
        "encoding": {"x": across},
        "layer": [
            {
                "data": {"values": gap},
                "mark": {"type": "area", "opacity": 0.35},
                "encoding": {
                    "y": _share("certified"),
                    "y2": {"field": "attacked"},
                    "color": kind,
                },
            },
            {
                "data": {"values": bounds},
                "mark": {"type": "rule", "strokeWidth": 1.5},
                "encoding": {"y": _share("low"), "y2": {"field": "high"}, "color": kind},
            },
            {
                "data": {"values": bounds},
                "mark": {"type": "line", "strokeWidth": 2},
                "encoding": {"y": _share("accuracy"), "color": kind},
            },
            {
                "name": "points",
                "data": {"values": bounds},
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1, "cursor": "pointer"},
                "encoding": {
                    "y": _share("accuracy"),
                    "color": kind,
                    "shape": {**kind, "scale": {"domain": kinds, "range": ["circle", "square", "square"]}},
                    "tooltip": tips,
                },
            },
        ],
    }


def _bound(curve: xai.RobustnessCurve, kind: str, scale: int) -> list[dict[str, Any]]:
    """Return the points of one bound, the clean accuracy first."""
    spans = np.concatenate([curve.intervals["clean"][None], curve.intervals[kind]])
    return [
        {
            "kind": t(_BOUNDS[kind]),
            "bound": kind,
            "level": level,
            "eps": scale * eps,
            "radius": t("clean") if level == 0 else radius(eps, curve.norm),
            "accuracy": float(share),
            "low": float(low),
            "high": float(high),
            "said": interval(float(share), float(low), float(high)),
        }
        for level, (eps, share, (low, high)) in enumerate(
            zip((0.0, *curve.eps), (curve.clean, *getattr(curve, kind)), spans, strict=True)
        )
    ]


def accuracy_by_severity(found: xai.CorruptionResult) -> Spec:
    """Return the matrix of corruptions and severities with intervals; its cells can be clicked."""
    names = [told(name.replace("_", " ")) for name in found.names]
    rows = [
        {
            "corruption": names[row],
            "severity": f"{found.severities[column]:g}",
            "row": row,
            "column": column,
            "accuracy": float(share),
            "said": f"{100 * share:.0f}",
            "span": "\N{EN DASH}".join(f"{100 * end:.0f}" for end in found.intervals[row, column]),
        }
        for (row, column), share in np.ndenumerate(found.accuracy)
    ]
    ink = {"condition": {"test": f"datum.accuracy > {_LIGHT}", "value": "black"}, "value": "white"}
    top = {"title": t("severity"), "labelAngle": 0, "orient": "top"}
    tips = [
        {"field": "corruption", "title": t("corruption")},
        {"field": "severity", "title": t("severity")},
        {"field": "said", "title": t("accuracy (%)")},
        {"field": "span", "title": t("95 % interval")},
    ]
    return {
        "data": {"values": rows},
        "height": {"step": 40},
        "params": [
            {"name": "cell", "select": {"type": "point", "fields": ["row", "column"]}, "views": ["cells"]},
        ],
        "encoding": {
            "x": {"field": "severity", "type": "ordinal", "sort": None, "axis": top},
            "y": {"field": "corruption", "type": "ordinal", "sort": None, "axis": {"title": None, "labelLimit": 160}},
            "tooltip": tips,
        },
        "layer": [
            {
                "mark": {"type": "rect", "aria": False},
                "encoding": {
                    "color": {
                        "field": "accuracy",
                        "type": "quantitative",
                        "scale": {"scheme": "cividis", "domain": [0, 1]},
                        "legend": None,
                    }
                },
            },
            _text("said", -6, 13, ink),
            _text("span", 9, 10, ink),
            {"name": "cells", "mark": {"type": "rect", "color": "transparent", "cursor": "pointer"}},
        ],
    }


def spans(rows: Sequence[Mapping[str, Any]], line: float, title: str) -> Spec:
    """Return the chart of a bar from `low` to `high` for each class, a point at `clean`, and a dashed line.

    Args:
        rows: "class", "low", "high", "clean", and "own": whether it is the class that was answered.
        line: where the dashed line is.
        title: of the axis.
    """
    axis = {"title": title, "labelFlush": False}
    tips = [{"field": "class", "title": t("class")}]
    tips += [{"field": name, "title": t(said), "format": ".4g"} for name, said in _ENDS.items()]
    colour = {"condition": {"test": "datum.own", "value": CERTIFIED}, "value": GAP}
    across = {"field": "low", "type": "quantitative", "axis": axis, "scale": {"zero": False, "nice": True}}
    return {
        "data": {"values": list(rows)},
        "height": {"step": 26},
        "encoding": {
            "y": {"field": "class", "type": "nominal", "sort": None, "axis": {"title": None, "labelLimit": 160}},
            "tooltip": tips,
        },
        "layer": [
            {
                "mark": {"type": "bar", "height": 12, "opacity": 0.75},
                "encoding": {"x": across, "x2": {"field": "high"}, "color": colour},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 60, "color": ATTACKED, "opacity": 1},
                "encoding": {"x": {**across, "field": "clean"}},
            },
            {
                "mark": {"type": "rule", "strokeDash": [4, 3], "strokeWidth": 1.5, "color": ATTACKED, "aria": False},
                "encoding": {"x": {"datum": line}, "y": None, "tooltip": None},
            },
        ],
    }


def _text(field: str, down: int, size: int, ink: Spec) -> Spec:
    mark = {"type": "text", "dy": down, "fontSize": size, "aria": False}
    return {"mark": mark, "encoding": {"text": {"field": field}, "color": ink}}


def _across(field: str, title: str, **axis: Any) -> Spec:
    return {"field": field, "type": "quantitative", "axis": {"title": title, **axis}}


def _share(field: str) -> Spec:
    return {"field": field, "type": "quantitative", "scale": {"domain": [0, 1]}, "axis": dict(_PERCENT)}


def offer_rows(rows: Sequence[Mapping[str, Any]], stem: str, key: str) -> None:
    """Offer what a chart shows as a table."""
    csv = pd.DataFrame(rows).to_csv(index=False).encode
    offer(t("Table (.csv)"), csv, f"{stem}.csv", "text/csv", key, t("What the chart shows, a line per point"))


def draw(spec: Spec, key: str, alt: str, on_pick: Callable[[Mapping[str, Any]], None] | None = None) -> None:
    """Show a chart; `on_pick` gets the fields of what was clicked, before the page runs again."""
    if on_pick is None:
        st.vega_lite_chart(spec=spec, key=key, alt=alt)
        return

    def picked() -> None:
        selection = st.session_state[key]["selection"]
        chosen = [one for found in selection.values() for one in found]
        if chosen:
            on_pick(chosen[0])

    st.vega_lite_chart(spec=spec, key=key, alt=alt, on_select=picked)
