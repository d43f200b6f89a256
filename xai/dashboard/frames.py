"""Tables of results as they are, with headings and words in the language of the page."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from xai.dashboard.language import told

_SPOKEN = frozenset(  # columns in which the library speaks
    [
        "verdict", "reason", "words", "within", "effect", "measure", "metric", "kind", "turn", "title", "headline",
        "why", "condition", "rule", "note",
    ]
)  # fmt: skip


def show_frame(
    frame: pd.DataFrame,
    alt: str,
    words: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
    *,
    hide_index: bool = True,
) -> None:
    """Show a table.

    Args:
        frame: of a result; its columns keep their names, for whoever downloads it.
        alt: a sentence for those who cannot see it.
        words: columns in which the library speaks, besides those that always are; names of classes, groups and files
            are in the others.
        config: of columns, by name.
        hide_index: whether the rows have no names of their own.
    """
    named = [str(name) for name in frame.columns if name in _SPOKEN or name in words]
    spoken = {name: [told(text) if isinstance(text, str) else text for text in frame[name]] for name in named}
    settings = {str(name): _headed(str(name), (config or {}).get(str(name))) for name in frame.columns}
    st.dataframe(frame.assign(**spoken), hide_index=hide_index, column_config=settings, alt=alt)


def _headed(name: str, settings: Any) -> Any:
    """Return the settings of a column with its heading, unless they have one."""
    found = dict(settings or {})
    return {**found, "label": found.get("label") or told(name)}
