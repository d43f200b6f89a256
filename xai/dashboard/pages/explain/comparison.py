"""Maps of one image beside each other: their verdicts, and how far the methods agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

import xai
from xai.dashboard import widgets as ui
from xai.dashboard.pages.explain.result import WORDS, rating_of
from xai.dashboard.session import Key, PageExplanation, session_jobs
from xai.dashboard.text import correlation, language, safe, t, told

_MARKS = {"trust": "\N{CHECK MARK}", "doubt": "?", "reject": "\N{MULTIPLICATION SIGN}"}
_COLOURS: Mapping[str, Any] = {"trust": "green", "doubt": "orange", "reject": "red"}


@dataclass(frozen=True, eq=False)
class MapComparison:
    """What is shown of one or more answers.

    Attributes:
        packed: for the viewer: class by class, one map per method, and with several methods where they disagree.
        agreement: None with one method.
    """

    packed: dict[str, Any]
    agreement: xai.results.Agreement | None


def compare(page_maps: Sequence[PageExplanation], versus: str | None) -> MapComparison:
    """Put answers to the same question side by side; asked again for the same ones, nothing is computed."""
    key = language(), *((*page_map.key, _verdict_of(page_map)) for page_map in page_maps)
    shown = session_jobs().shown
    if shown is None or shown[0] != key:
        shown = session_jobs().shown = key, _compare(page_maps, versus)
    result: MapComparison = shown[1]
    return result


def _compare(page_maps: Sequence[PageExplanation], versus: str | None) -> MapComparison:
    first = page_maps[0].explanation
    agreement = None
    if len(page_maps) > 1:
        agreement = xai.agreement({page_map.question.method.title: page_map.explanation for page_map in page_maps})
    panels = [panel for k in range(len(first)) for panel in _row(page_maps, agreement, k, versus)]
    return MapComparison(ui.pack(first.images[0], panels, first.geometries[0].seen), agreement)


def _row(
    page_maps: Sequence[PageExplanation], agreement: xai.results.Agreement | None, k: int, versus: str | None
) -> list[ui.MapPanel]:
    """Return the maps of the class with number `k`."""
    label = page_maps[0].explanation.target_names[k] + (t(" compared with {versus}", versus=versus) if versus else "")
    if agreement is not None:
        panels = ui.panels_of(agreement, k, label)
    else:
        explanation = page_maps[0].explanation
        panels = [ui.panel_of(page_maps[0].question.method.title, label, explanation.heatmaps[k], explanation.unit)]
    rated = [
        replace(panel, title=_judged(panel.title, page_map, k))
        for panel, page_map in zip(panels, page_maps, strict=False)
    ]
    return [*rated, *panels[len(rated) :]]


def _judged(title: str, page_map: PageExplanation, k: int) -> str:
    """Return the title of a map with its verdict, where it was checked."""
    rating = rating_of(page_map)
    return title if rating is None else f"{title} · {_MARKS[rating.verdicts[k]]} {t(WORDS[rating.verdicts[k]][0])}"


def _verdict_of(page_map: PageExplanation) -> tuple[str, ...]:
    rating = rating_of(page_map)
    return () if rating is None else tuple(rating.verdicts)


def check_maps(page_maps: Sequence[PageExplanation]) -> None:
    """Show the verdict on each map as a chip, and the button that asks for those that are missing."""
    open_keys = [("rating", *page_map.key) for page_map in page_maps if rating_of(page_map) is None]
    with st.container(horizontal=True, vertical_alignment="center"):
        for page_map in page_maps:
            rating = rating_of(page_map)
            if rating is not None:
                word, icon = WORDS[rating.verdict]
                title = safe(told(page_map.question.method.title))
                st.badge(f"{title}: {t(word)}", icon=icon, color=_COLOURS[rating.verdict])
        if open_keys:
            st.button(
                t("Check all maps") if len(page_maps) > 1 else t("Check this map"),
                key="check_maps",
                on_click=_request_all,
                args=(open_keys,),
                icon=":material/fact_check:",
                help=t(
                    "Removes what the map calls relevant, adds noise, randomises the weights: some hundred forward "
                    "passes."
                ),
                disabled=all(map(session_jobs().has_requested, open_keys)),
            )


def _request_all(keys: Sequence[Key]) -> None:
    for key in keys:
        session_jobs().request(key)


def show_agreement(agreement: xai.results.Agreement) -> None:
    """Show how far each two methods agree, as a table."""
    st.markdown(t("**Do the methods agree?**"))
    names = [safe(told(name)) for name in agreement.names]
    rows = zip(names, agreement.rank_correlation, strict=True)
    lines = [{"": name, **dict(zip(names, map(correlation, row), strict=True))} for name, row in rows]
    ui.show_lines(lines, t("Rank correlation between {names}", names=", ".join(map(told, agreement.names))))
    st.caption(
        t(
            "Rank correlation (Spearman) of the maps: 1 for the same order of pixels, 0 for unrelated "
            "maps. The last map of each class above shows where they differ."
        )
    )
