"""What all charts have in common: colours seen on white and on black, axes of shares, legends and tooltips."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from xai.dashboard.text import t

Chart = alt.Chart | alt.LayerChart | alt.FacetChart

ATTACKED, CERTIFIED, NEUTRAL, RULE = "#d6604d", "#4393c3", "#a0a0a0", "#808080"
DASHED = [6, 4]
_LABEL_WIDTH = 230  # pixels


def chart_of(rows: Iterable[Mapping[Any, Any]]) -> alt.Chart:
    """Return a chart of rows, numbers of NumPy among them, without marks."""
    values = [
        {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()} for row in rows
    ]
    return alt.Chart(alt.Data(values=values))  # type: ignore[no-untyped-call]


def tooltips(**titles: str) -> list[alt.Tooltip]:
    """Return what is told of a mark under the pointer, by field; "low__.3g" names a field and its format."""
    parts = ((*name.partition("__"), title) for name, title in titles.items())
    return [
        alt.Tooltip(f"{field}:Q", title=title, format=form) if form else alt.Tooltip(f"{field}:N", title=title)
        for field, _, form, title in parts
    ]


def share(channel: Any, field: str, title: str | None = None, **axis: Any) -> Any:
    """Return an axis from 0 to 100 %; `channel` is alt.X or alt.Y."""
    return channel(
        f"{field}:Q", stack=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", title=title, **axis)
    )


def names_down(field: str) -> alt.Y:
    """Return an axis of names in the order of the rows."""
    return alt.Y(f"{field}:N", sort=None, axis=alt.Axis(title=None, labelLimit=_LABEL_WIDTH))


def kinds(
    names: Sequence[str], colours: Sequence[str], shapes: Sequence[str] = (), field: str = "kind", **legend: Any
) -> dict[str, Any]:
    """Return the encodings of a word that shows as colour, and as shape where there are shapes: never colour alone."""
    key = alt.Legend(orient="bottom", symbolOpacity=1, labelLimit=300, **legend)
    encode: dict[str, Any] = {"color": (alt.Color, colours)} | ({"shape": (alt.Shape, shapes)} if shapes else {})
    return {
        name: channel(f"{field}:N", title=None, legend=key, scale=alt.Scale(domain=list(names), range=list(values)))
        for name, (channel, values) in encode.items()
    }


def ruled(value: float) -> alt.Chart:
    """Return a dashed line down a chart at a value."""
    line: alt.Chart = chart_of([{}]).mark_rule(strokeDash=DASHED, color=RULE, aria=False).encode(x=alt.datum(value))
    return line


def dots(
    rows: Sequence[Mapping[str, Any]], field: str, across: Mapping[str, Any], about: Mapping[str, str], **kind: Any
) -> tuple[alt.Chart, alt.Chart]:
    """Return intervals and their values, one line each.

    Args:
        rows: "low", "high", the value, its line and its kind.
        field: of the line's name.
        across: settings of the axis of values, and "value": their field.
        about: titles of what is told under the pointer, by field.
        kind: encodings of the kind, see `kinds`.
    """
    settings = dict(across)
    value = settings.pop("value")
    base = chart_of(rows).encode(y=names_down(field))
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", **settings), x2="high", color=kind["color"])
    points = base.mark_point(filled=True, opacity=1, size=110)
    return bars, points.encode(x=alt.X(f"{value}:Q", **settings), tooltip=tooltips(**about), **kind)


def counted_tips(**more: str) -> list[alt.Tooltip]:
    """Return tooltips that begin with kind and number of images."""
    return tooltips(kind=t("kind"), images=t("images"), **more)
