"""Charts of groups, of weak slices and of planted cues, as Vega-Lite."""

from collections.abc import Mapping, Sequence
from typing import Any

import xai
from xai.dashboard.charts import ATTACKED, CERTIFIED, GAP, Spec
from xai.dashboard.language import m, t, told
from xai.dashboard.words import interval

_VERDICTS = {
    "unfair": m("differs by more than chance"),
    "no evidence": m("no evidence of a difference"),
    "too small to tell": m("too few pictures to tell"),
}
_COLOURS, _SHAPES = [ATTACKED, CERTIFIED, GAP], ["diamond", "circle", "square"]
_RULE = "#808080"  # seen on white and on black
_WRONG = m("wrong in any way")


def right_by_group(found: xai.BiasResult, column: str) -> Spec:
    """Return how often each group of a column is answered right, with intervals and verdicts, lowest first."""
    metric = found.gaps[0].metric
    own = [one for one in found.values if one.column == column and one.metric == metric and one.value is not None]
    rows = [
        _row(f"{one.group} (n = {one.n})", one.value, one.low, one.high, t(_VERDICTS[one.verdict]))
        for one in sorted(own, key=lambda one: one.value or 0)
    ]
    overall = float((found.labels == found.predictions).mean())
    return _dots(rows, [t(word) for word in _VERDICTS.values()], _COLOURS, _SHAPES, overall)


def right_by_slice(found: xai.SliceResult) -> Spec:
    """Return how often each weak slice is answered right, and all other pictures."""
    names = [t("this kind of pictures"), t("all others")]
    rows = []
    for number, one in enumerate(found.findings, 1):
        label = f"{number}: {told(one.words)}"
        rows.append(_row(label, one.accuracy, *one.accuracy_interval, names[0]))
        rows.append(_row(label, one.rest, one.rest, one.rest, names[1]))
    return _dots(rows, names, [ATTACKED, GAP], ["diamond", "circle"], None)


def _row(label: str, value: float | None, low: float | None, high: float | None, kind: str) -> dict[str, Any]:
    assert value is not None
    ends = (value if low is None else low, value if high is None else high)
    return {
        "group": label,
        "kind": kind,
        "right": value,
        "low": ends[0],
        "high": ends[1],
        "said": interval(value, *ends),
    }


def _dots(
    rows: Sequence[Mapping[str, Any]], kinds: list[str], colours: list[str], shapes: list[str], overall: float | None
) -> Spec:
    """Return values with intervals, one line each; what they mean shows as colour and as shape."""
    down: Spec = {"field": "group", "type": "nominal", "sort": None, "axis": {"title": None, "labelLimit": 230}}
    across: Spec = {"type": "quantitative", "scale": {"zero": False, "nice": True}}
    across["axis"] = {"format": "%", "tickCount": 6, "title": t("answered right")}
    legend = {"orient": "bottom", "direction": "vertical", "symbolOpacity": 1, "labelLimit": 300}
    kind: Spec = {"field": "kind", "type": "nominal", "title": None, "legend": legend}
    colour = {**kind, "scale": {"domain": kinds, "range": colours}}
    shape = {**kind, "scale": {"domain": kinds, "range": shapes}}
    tips = [
        {"field": "group", "title": t("group")},
        {"field": "said", "title": t("right")},
        {"field": "kind", "title": t("verdict")},
    ]
    values = {"data": {"values": list(rows)}}
    layers: list[Spec] = [
        {
            **values,
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {"y": down, "x": {"field": "low", **across}, "x2": {"field": "high"}, "color": colour},
        },
        {
            **values,
            "mark": {"type": "point", "filled": True, "opacity": 1, "size": 110},
            "encoding": {
                "y": down,
                "x": {"field": "right", **across},
                "color": colour,
                "shape": shape,
                "tooltip": tips,
            },
        },
    ]
    if overall is not None:
        line = {"type": "rule", "color": _RULE, "strokeDash": [6, 4]}
        at = {"x": {"field": "right", **across}}
        layers.append({"data": {"values": [{"right": overall}]}, "mark": line, "encoding": at})
    return {"height": {"step": 34}, "layer": layers}


def dose_response(found: xai.ShortcutResult, number: int) -> Spec:
    """Return how many right pictures a cue makes wrong, and turns into its class, as it gets stronger."""
    response, size = found.responses[number], len(found.strengths)
    wrong, turned = t(_WRONG), t("turned into {label}", label=response.label)
    rows = []
    for dose in found.doses.iloc[number * size : (number + 1) * size].to_dict("records"):
        for name, kind in (("flips", wrong), ("attraction", turned)):
            ends = (dose[f"{name}_low"], dose[f"{name}_high"])
            row = {"kind": kind, "strength": dose["strength"], "share": dose[name], "low": ends[0], "high": ends[1]}
            rows.append(row | {"said": interval(dose[name], *ends)})
    first = {"strength": 0, "share": 0, "low": 0, "high": 0, "said": "0 %"}
    rows += [first | {"kind": kind} for kind in (wrong, turned)]
    rows.sort(key=lambda row: row["strength"])
    legend = {"orient": "bottom", "symbolOpacity": 1, "labelLimit": 260}
    scale = {"domain": [wrong, turned], "range": [GAP, ATTACKED]}
    colour = {"field": "kind", "type": "nominal", "title": None, "scale": scale, "legend": legend}
    share: Spec = {"type": "quantitative", "scale": {"domain": [0, 1]}}
    share["axis"] = {"format": "%", "tickCount": 5, "title": t("pictures")}
    axis = {"title": t("strength of the cue"), "values": [0, *found.strengths], "format": "~g"}
    across = {"field": "strength", "type": "quantitative", "axis": axis}
    tips = [
        {"field": "kind", "title": t("effect")},
        {"field": "strength", "title": t("strength of the cue")},
        {"field": "said", "title": t("pictures")},
    ]
    return {
        "height": 340,
        "data": {"values": rows},
        "encoding": {"x": across, "color": colour},
        "layer": [
            {
                "mark": {"type": "area", "opacity": 0.2},
                "encoding": {"y": {"field": "low", **share}, "y2": {"field": "high"}},
            },
            {
                "mark": {"type": "line", "point": {"size": 60}},
                "encoding": {"y": {"field": "share", **share}, "tooltip": tips},
            },
        ],
    }
