"""Several explanations of one picture: the maps for the viewer, and how far they agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

import xai
from xai.dashboard.jobs import desk
from xai.dashboard.language import language, m, t, told
from xai.dashboard.panels import Panel, pack, shown_pixels
from xai.dashboard.words import correlation, describe_map, safe
from xai.dashboard.work import Answer

_UNIT = m("spread of the maps, each divided by its largest value")


@dataclass(frozen=True, eq=False)
class Comparison:
    """What is shown of one or more answers.

    Attributes:
        packed: for the viewer: class by class, one map per method, and with several methods where they disagree.
        agreement: None with one method.
    """

    packed: dict[str, Any]
    agreement: xai.Agreement | None


def compare(answers: Sequence[Answer], versus: str | None) -> Comparison:
    """Put answers to the same question side by side; asked again for the same ones, nothing is computed."""
    key = language(), *(answer.key for answer in answers)
    shown = desk().shown
    if shown is None or shown[0] != key:
        shown = desk().shown = key, _compare(answers, versus)
    found: Comparison = shown[1]
    return found


def _compare(answers: Sequence[Answer], versus: str | None) -> Comparison:
    first = answers[0].explanation
    agreement = None
    if len(answers) > 1:
        agreement = xai.agreement({answer.question.method.title: answer.explanation for answer in answers})
    panels = [panel for k in range(len(first)) for panel in _row(answers, agreement, k, versus)]
    return Comparison(pack(first.pictures[0], panels, first.geometries[0].seen), agreement)


def _row(answers: Sequence[Answer], agreement: xai.Agreement | None, k: int, versus: str | None) -> list[Panel]:
    """Return the maps of the class with number `k`."""
    label = answers[0].explanation.labels[k] + (t(" rather than {versus}", versus=versus) if versus else "")
    if agreement is not None:
        return panels_of(agreement, k, label)
    return [panel_of(a.question.method.title, label, a.explanation.heatmaps[k], a.explanation.unit) for a in answers]


def panels_of(agreement: xai.Agreement, k: int, label: str) -> list[Panel]:
    """Return the compared maps of the class with number `k`, and where they disagree."""
    named = zip(agreement.names, agreement.explanations, strict=True)
    panels = [panel_of(name, label, explanation.heatmaps[k], explanation.unit) for name, explanation in named]
    return [*panels, panel_of(t("Disagreement"), label, agreement.disagreements[k], t(_UNIT))]


def panel_of(title: str, label: str, heatmap: np.ndarray, unit: str) -> Panel:
    """Return a map with its title and the sentence about it; `title` and `unit` are words of the library."""
    title = told(title)
    small = heatmap[np.ix_(*(shown_pixels(side, heatmap.shape) for side in heatmap.shape))]
    return Panel(
        t("{title} for {label}", title=title, label=label), heatmap, told(unit), describe_map(title, label, small)
    )


def show_agreement(agreement: xai.Agreement) -> None:
    """Show how far each two methods agree, as a table."""
    st.markdown(t("**Do the methods agree?**"))
    names = [safe(told(name)) for name in agreement.names]
    lines = [
        {
            "": name,
            **{other: correlation(value) for other, value in zip(names, row, strict=True)},
        }
        for name, row in zip(names, agreement.rank_correlation, strict=True)
    ]
    st.table(
        lines,
        border="horizontal",
        hide_index=True,
        alt=t("Rank correlation between {names}", names=", ".join(map(told, agreement.names))),
    )
    st.caption(
        t(
            "Rank correlation (Spearman) of the maps: 1 when they put all places in the same "
            "order, 0 when one says nothing about the other. The last map of each class above "
            "shows where they differ."
        )
    )
