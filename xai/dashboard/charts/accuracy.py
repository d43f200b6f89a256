"""Charts of accuracy: by severity, radius, corruption, group, slice and shortcut strength."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

import xai
from xai.dashboard.charts import encodings as enc
from xai.dashboard.text import interval, m, radius, t, told

_LIGHT = 0.55  # accuracy above which numbers are written dark
_ENDS = {"low": m("at least"), "clean": m("clean"), "high": m("at most")}
_BOUNDS = {"attacked": m("attacked"), "certified": m("certified")}
_VERDICTS = {
    "unfair": m("differs by more than chance"),
    "no evidence": m("no evidence of a difference"),
    "too small to tell": m("too few images"),
}
_RIGHT = {"group": m("group"), "text": m("accuracy"), "kind": m("verdict")}


def probability_by_severity(severities: Sequence[float], shares: Sequence[float], chosen: float) -> enc.Chart:
    """Return the chart of one class's probability, with a mark at the chosen severity."""
    rows = [{"severity": s, "probability": p, "chosen": s == chosen} for s, p in zip(severities, shares, strict=True)]
    base = enc.chart_of(rows).encode(
        x=alt.X("severity:Q", axis=alt.Axis(title=t("severity"), values=list(range(6)))),
        y=enc.share(alt.Y, "probability"),
        tooltip=enc.tooltips(severity=t("severity"), **{"probability__.1%": t("probability")}),
    )
    line = base.mark_line(color=enc.CERTIFIED, point=alt.OverlayMarkDef(size=25, color=enc.CERTIFIED))
    mark = base.transform_filter("datum.chosen").mark_point(filled=True, size=140, color=enc.ATTACKED, opacity=1)
    return alt.layer(line, mark).properties(height=180)


def robust_accuracy(curve: xai.results.RobustnessCurve) -> enc.Chart:
    """Return the chart of both bounds with their intervals and the gap between them; its points can be clicked."""
    scale = 255 if curve.norm == "linf" else 1
    title = (t("eps ({norm}, in 1/255)") if scale == 255 else "eps ({norm})").format(norm=curve.norm)
    attacked, certified = (_bound(curve, kind, scale) for kind in _BOUNDS)
    names = [*map(t, _BOUNDS.values()), t("not certified")]
    kind = enc.kinds(names, [enc.ATTACKED, enc.CERTIFIED, enc.NEUTRAL], ["circle", "square", "square"])
    eps = alt.X("eps:Q", axis=alt.Axis(title=title), scale=alt.Scale(nice=False))
    gap = enc.chart_of(
        {"eps": a["eps"], "certified": c["accuracy"], "attacked": a["accuracy"], "kind": names[2]}
        for a, c in zip(attacked, certified, strict=True)
    ).encode(x=eps, color=kind["color"])
    base = enc.chart_of([*attacked, *certified]).encode(x=eps, color=kind["color"])
    points = base.mark_point(filled=True, size=90, opacity=1, cursor="pointer").properties(name="points")
    points = points.encode(
        y=enc.share(alt.Y, "accuracy"),
        shape=kind["shape"],
        tooltip=enc.tooltips(text=t("accuracy"), kind=t("bound"), radius=t("radius")),
    )
    return alt.layer(
        gap.mark_area(opacity=0.35).encode(y=enc.share(alt.Y, "certified"), y2="attacked"),
        base.mark_rule(strokeWidth=1.5).encode(y=enc.share(alt.Y, "low"), y2="high"),
        base.mark_line(strokeWidth=2).encode(y=enc.share(alt.Y, "accuracy")),
        points.add_params(alt.selection_point(name="point", fields=["level", "bound"])),
    ).properties(height=380)


def _bound(curve: xai.results.RobustnessCurve, kind: str, scale: int) -> list[dict[str, Any]]:
    """Return the points of one bound, the clean accuracy first."""
    spans = np.concatenate([curve.intervals["clean"][None], curve.intervals[kind]])
    radii, shares = (0.0, *curve.eps), (curve.clean, *getattr(curve, kind))
    return [
        {
            "kind": t(_BOUNDS[kind]),
            "bound": kind,
            "level": level,
            "eps": scale * eps,
            "radius": t("clean") if level == 0 else radius(eps, curve.norm),
            "accuracy": float(accuracy),
            "low": float(low),
            "high": float(high),
            "text": interval(float(accuracy), float(low), float(high)),
        }
        for level, (eps, accuracy, (low, high)) in enumerate(zip(radii, shares, spans, strict=True))
    ]


def accuracy_by_severity(result: xai.results.CorruptionResult) -> enc.Chart:
    """Return the matrix of corruptions and severities with intervals; its cells can be clicked."""
    names = [told(name.replace("_", " ")) for name in result.names]
    rows = [
        {
            "corruption": names[row],
            "severity": f"{result.severities[column]:g}",
            "row": row,
            "column": column,
            "accuracy": float(accuracy),
            "text": f"{100 * accuracy:.0f}",
            "span": "\N{EN DASH}".join(f"{100 * end:.0f}" for end in result.intervals[row, column]),
        }
        for (row, column), accuracy in np.ndenumerate(result.accuracy)
    ]
    about = {"corruption": t("corruption"), "severity": t("severity"), "text": t("accuracy (%)")}
    base = enc.chart_of(rows).encode(
        x=alt.X("severity:O", sort=None, axis=alt.Axis(title=t("severity"), labelAngle=0, orient="top")),
        y=enc.names_down("corruption"),
        tooltip=enc.tooltips(**about, span=t("95 % interval")),
    )
    shade = alt.Color("accuracy:Q", scale=alt.Scale(scheme="cividis", domain=[0, 1]), legend=None)
    ink = alt.condition(f"datum.accuracy > {_LIGHT}", alt.value("black"), alt.value("white"))
    cells = base.mark_rect(color="transparent", cursor="pointer").properties(name="cells")
    return alt.layer(
        base.mark_rect(aria=False).encode(color=shade),
        base.mark_text(dy=-6, fontSize=13, aria=False).encode(text="text:N", color=ink),
        base.mark_text(dy=9, fontSize=10, aria=False).encode(text="span:N", color=ink),
        cells.add_params(alt.selection_point(name="cell", fields=["row", "column"])),
    ).properties(height=alt.Step(40))


def spans(rows: Sequence[Mapping[str, Any]], line: float, title: str) -> enc.Chart:
    """Return the chart of a bar from `low` to `high` for each class, a point at `clean`, and a dashed line.

    Args:
        rows: "class", "low", "high", "clean", and "own": whether it is the predicted class.
        line: where the dashed line is.
        title: of the axis.
    """
    ends = {f"{name}__.4g": t(word) for name, word in _ENDS.items()}
    settings: dict[str, Any] = {
        "axis": alt.Axis(title=title, labelFlush=False),
        "scale": alt.Scale(zero=False, nice=True),
    }
    base = enc.chart_of(rows).encode(y=enc.names_down("class"), tooltip=enc.tooltips(**{"class": t("class")}, **ends))
    own = alt.condition("datum.own", alt.value(enc.CERTIFIED), alt.value(enc.NEUTRAL))
    return alt.layer(
        base.mark_bar(height=12, opacity=0.75).encode(x=alt.X("low:Q", **settings), x2="high", color=own),
        base.mark_point(filled=True, size=60, color=enc.ATTACKED, opacity=1).encode(x=alt.X("clean:Q", **settings)),
        enc.ruled(line),
    ).properties(height=alt.Step(26))


def right_by_group(result: xai.results.BiasResult, column: str) -> enc.Chart:
    """Return the accuracy of each group of a column, with intervals and verdicts, lowest first."""
    metric = result.gaps[0].metric
    own = [
        estimate
        for estimate in result.values
        if estimate.column == column and estimate.metric == metric and estimate.value is not None
    ]
    rows = [
        _row(
            f"{estimate.group} (n = {estimate.n})",
            estimate.value,
            estimate.low,
            estimate.high,
            t(_VERDICTS[estimate.verdict]),
        )
        for estimate in sorted(own, key=lambda estimate: estimate.value or 0)
    ]
    kind = enc.kinds(
        [t(word) for word in _VERDICTS.values()],
        [enc.ATTACKED, enc.CERTIFIED, enc.NEUTRAL],
        ["diamond", "circle", "square"],
        direction="vertical",
    )
    return _right(rows, kind, enc.ruled(float((result.labels == result.predictions).mean())))


def right_by_slice(result: xai.results.SliceResult) -> enc.Chart:
    """Return the accuracy of each weak slice, and of all other images."""
    names = [t("this slice"), t("all others")]
    rows = []
    for number, weak_slice in enumerate(result.findings, 1):
        label = f"{number}: {told(weak_slice.words)}"
        rows.append(_row(label, weak_slice.accuracy, *weak_slice.accuracy_interval, names[0]))
        rows.append(_row(label, weak_slice.rest, weak_slice.rest, weak_slice.rest, names[1]))
    return _right(rows, enc.kinds(names, [enc.ATTACKED, enc.NEUTRAL], ["diamond", "circle"], direction="vertical"))


def _row(label: str, value: float | None, low: float | None, high: float | None, kind: str) -> dict[str, Any]:
    assert value is not None
    ends = (value if low is None else low, value if high is None else high)
    return {
        "group": label,
        "kind": kind,
        "right": value,
        "low": ends[0],
        "high": ends[1],
        "text": interval(value, *ends),
    }


def _right(rows: Sequence[Mapping[str, Any]], kind: Mapping[str, Any], *more: alt.Chart) -> enc.Chart:
    axis = alt.Axis(format="%", tickCount=6, title=t("accuracy"))
    across = {"value": "right", "axis": axis, "scale": alt.Scale(zero=False, nice=True)}
    about = {name: t(word) for name, word in _RIGHT.items()}
    return alt.layer(*enc.dots(rows, "group", across, about, **kind), *more).properties(height=alt.Step(34))


def dose_response(result: xai.results.ShortcutResult, number: int) -> enc.Chart:
    """Return how many correct predictions a probe changes, and attracts to its class, as it gets stronger."""
    response, size = result.responses[number], len(result.strengths)
    wrong, turned = t("misclassified"), t("flipped to {label}", label=response.label)
    first = {"strength": 0, "share": 0, "low": 0, "high": 0, "text": "0 %"}
    rows = [first | {"kind": kind} for kind in (wrong, turned)]
    for dose in result.doses.iloc[number * size : (number + 1) * size].to_dict("records"):
        for name, kind in (("flips", wrong), ("attraction", turned)):
            value, low, high = (dose[key] for key in (name, f"{name}_low", f"{name}_high"))
            text = interval(value, low, high)
            rows.append(
                {"kind": kind, "strength": dose["strength"], "share": value, "low": low, "high": high, "text": text}
            )
    axis = alt.Axis(title=t("strength of the probe"), values=[0, *result.strengths], format="~g")
    base = enc.chart_of(sorted(rows, key=lambda row: row["strength"])).encode(
        x=alt.X("strength:Q", axis=axis), **enc.kinds([wrong, turned], [enc.NEUTRAL, enc.ATTACKED])
    )
    up: dict[str, Any] = {"title": t("images"), "tickCount": 5}
    about = enc.tooltips(kind=t("effect"), strength=t("strength of the probe"), text=t("images"))
    return alt.layer(
        base.mark_area(opacity=0.2).encode(y=enc.share(alt.Y, "low", **up), y2="high"),
        base.mark_line(point=alt.OverlayMarkDef(size=60)).encode(y=enc.share(alt.Y, "share", **up), tooltip=about),
    ).properties(height=340)
