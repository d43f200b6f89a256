"""Charts of scores, probabilities, differences and trends."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import altair as alt
import numpy as np

import xai
from xai.dashboard.charts import encodings as enc
from xai.dashboard.text import interval, t, told

_BINS = 40
_RARE = 0.005  # of the images may lie beyond either end, and are counted there
_VERDICTS = {
    "pass": (enc.CERTIFIED, "circle"),
    "fail": (enc.ATTACKED, "diamond"),
    "inconclusive": (enc.NEUTRAL, "triangle-up"),
    "measured": ("#7a6ab0", "square"),
}
_CHANGES = {
    "better": (enc.CERTIFIED, "circle"),
    "worse": (enc.ATTACKED, "diamond"),
    "cannot tell": (enc.NEUTRAL, "triangle-up"),
}


def histogram(groups: Mapping[str, np.ndarray], limit: float, unit: str) -> enc.Chart:
    """Return histograms of scores over each other, with the score from which on images are rejected.

    Args:
        groups: scores by name: the in-distribution images first, then the out-of-distribution ones.
        limit: that score; infinite where none is rejected.
        unit: of the scores.
    """
    edges = _edges(list(groups.values()))
    rows = [row for name, scores in groups.items() for row in _bars(name, scores, edges)]
    bars = enc.chart_of(rows).mark_bar(opacity=0.6, binSpacing=0)
    bars = bars.encode(
        x=alt.X("low:Q", bin=alt.BinParams(binned=True), title=told(unit), axis=alt.Axis(grid=False)),
        x2="high",
        y=alt.Y("share:Q", stack=None, axis=alt.Axis(format="%", title=t("images"))),
        tooltip=enc.counted_tips(**{"low__.3g": t("from"), "high__.3g": t("to")}),
        **enc.kinds(list(groups), [enc.CERTIFIED, enc.ATTACKED]),
    )
    line = [enc.ruled(float(np.clip(limit, edges[0], edges[-1])))] if isfinite(limit) else []
    return alt.layer(bars, *line).properties(height=330)


def _edges(groups: Sequence[np.ndarray]) -> np.ndarray:
    ends = [np.quantile(scores, [_RARE, 1 - _RARE]) for scores in groups]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    return np.linspace(low, high if high > low else low + 1, _BINS + 1)


def _bars(name: str, scores: np.ndarray, edges: np.ndarray) -> list[dict[str, Any]]:
    counts, _ = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)
    return [
        {"kind": name, "low": float(low), "high": float(high), "images": int(n), "share": float(n / len(scores))}
        for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)
        if n
    ]


def reliability(result: xai.results.Calibration) -> enc.Chart:
    """Return accuracy by confidence, as it is and with the temperature."""
    names = [t("as it is"), t("temperature {value:.2f}", value=result.temperature.value)]
    rows = [
        {
            "kind": name,
            "confidence": interval_bin.confidence,
            "right": interval_bin.accuracy,
            "low": interval_bin.low,
            "high": interval_bin.high,
            "images": interval_bin.count,
            "text": interval(interval_bin.accuracy, interval_bin.low, interval_bin.high),
        }
        for name, measures in zip(names, (result.before, result.after), strict=True)
        for interval_bin in measures.ece.bins
    ]
    kind, up = enc.kinds(names, [enc.ATTACKED, enc.CERTIFIED], ["circle", "diamond"]), t("accuracy")
    confidence = enc.share(alt.X, "confidence", t("confidence"))
    base = enc.chart_of(rows).encode(x=confidence, color=kind["color"])
    ideal = enc.chart_of([{"confidence": end, "right": end} for end in (0, 1)])
    about = enc.counted_tips(text=t("accuracy"), **{"confidence__.1%": t("confidence")})
    return alt.layer(
        ideal.mark_line(color=enc.RULE, strokeDash=enc.DASHED, strokeWidth=1).encode(
            x=confidence, y=enc.share(alt.Y, "right", up)
        ),
        base.mark_rule().encode(y=enc.share(alt.Y, "low", up), y2="high"),
        base.mark_point(filled=True, opacity=1, size=70).encode(
            y=enc.share(alt.Y, "right", up), shape=kind["shape"], tooltip=about
        ),
    ).properties(height=400)


def risk_by_coverage(result: xai.results.Calibration) -> enc.Chart:
    """Return the share of wrong predictions when only the most confident are given."""
    base = enc.chart_of(result.risk_coverage.to_dict("records"))
    base = base.encode(x=enc.share(alt.X, "coverage", t("coverage: share of images with a prediction")))
    axis = alt.Axis(format="%", title=t("error rate"))
    return alt.layer(
        base.mark_area(opacity=0.25, color=enc.ATTACKED).encode(y=alt.Y("low:Q", axis=axis), y2="high"),
        base.mark_line(color=enc.ATTACKED).encode(y=alt.Y("risk:Q", axis=axis)),
    ).properties(height=240)


def shares_of_classes(result: xai.results.Drift, names: Sequence[str]) -> enc.Chart:
    """Return how often each class is predicted in both data sets; a line joins the two."""
    pairs = [{"class": row.name, "low": row.share_a, "high": row.share_b} for row in result.class_shares]
    points = [
        {"class": row.name, "kind": name, "share": value}
        for row in result.class_shares
        for name, value in zip(names, (row.share_a, row.share_b), strict=True)
    ]
    axis = alt.Axis(format="%", title=t("share of predictions"), tickCount=6)
    about = enc.tooltips(**{"class": t("class"), "kind": t("images"), "share__.1%": t("share")})
    line, point = (enc.chart_of(rows).encode(y=enc.names_down("class")) for rows in (pairs, points))
    return alt.layer(
        line.mark_rule(color=enc.NEUTRAL, strokeWidth=3).encode(x=alt.X("low:Q", axis=axis), x2="high"),
        point.mark_point(filled=True, opacity=1, size=90).encode(
            x=alt.X("share:Q", axis=axis), tooltip=about, **enc.kinds(names, [enc.CERTIFIED, enc.ATTACKED])
        ),
    ).properties(height=alt.Step(24))


def trend(rows: Sequence[Mapping[str, Any]], words: Mapping[str, str]) -> enc.Chart:
    """Return a figure over time with its intervals, thresholds as ticks, verdicts as colour and shape.

    Args:
        rows: from first to last; when, audit, model, value, low, high, threshold, verdict, text.
        words: what verdicts are called.
    """
    shown = [{**row, "number": k + 1, "verdict": words[row["verdict"]]} for k, row in enumerate(rows)]
    number = alt.X("number:O", axis=alt.Axis(title=None, labelAngle=0))
    up: dict[str, Any] = {"title": None, "scale": alt.Scale(zero=False, nice=True)}
    kind = _verdict(words, _VERDICTS)
    base, ticks = (
        enc.chart_of(part).encode(x=number) for part in (shown, [r for r in shown if r["threshold"] is not None])
    )
    value = alt.Y("value:Q", **up)
    about = enc.tooltips(text=t("value"), verdict=t("verdict"), model=t("model"), when=t("date"), audit=t("audit"))
    return alt.layer(
        base.mark_line(color=enc.NEUTRAL, strokeWidth=1.5).encode(y=value),
        ticks.mark_tick(thickness=2, size=40, color="#b8860b").encode(y=alt.Y("threshold:Q", **up)),
        base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", **up), y2="high", color=kind["color"]),
        base.mark_point(filled=True, opacity=1, size=110).encode(y=value, tooltip=about, **kind),
    ).properties(height=240)


def differences(rows: Sequence[Mapping[str, Any]], words: Mapping[str, str]) -> enc.Chart:
    """Return differences with intervals around 0, one line per check.

    Args:
        rows: check, difference, low, high, verdict, text.
        words: what verdicts are called.
    """
    shown = [{**row, "verdict": words[row["verdict"]]} for row in rows]
    about = {"check": t("check"), "text": t("difference"), "verdict": t("verdict")}
    across = {"value": "difference", "title": None}
    return alt.layer(enc.ruled(0), *enc.dots(shown, "check", across, about, **_verdict(words, _CHANGES))).properties(
        height=alt.Step(36)
    )


def _verdict(words: Mapping[str, str], looks: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Return the encodings of a verdict; two columns of the legend fit on a phone."""
    colours, shapes = zip(*looks.values(), strict=True)
    return enc.kinds([words[name] for name in looks], colours, shapes, "verdict", columns=2)


def climb(values: Sequence[float], octaves: Sequence[int]) -> enc.Chart:
    """Return what a dream raised, step by step, a line per octave."""
    pairs = enumerate(zip(values, octaves, strict=True), 1)
    rows = [{"step": k, "value": float(value), "octave": int(octave) + 1} for k, (value, octave) in pairs]
    line = enc.chart_of(rows).mark_line(strokeWidth=2, color=enc.CERTIFIED)
    chart: enc.Chart = line.encode(
        x=alt.X("step:Q", title=None),
        y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
        detail="octave:N",
        tooltip=enc.tooltips(step=t("step"), octave=t("octave"), value=t("value")),
    )
    return chart.properties(height=200)
