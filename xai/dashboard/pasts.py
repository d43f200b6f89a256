"""The page "History": the audits of a folder, how a figure went, and the one that others are measured by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import streamlit as st

import xai
from xai.dashboard.board import figure, show_audit
from xai.dashboard.charts import draw, offer_rows
from xai.dashboard.language import report_word, t
from xai.dashboard.pins import pin, pinned
from xai.dashboard.runs import audits_folder, finished, open_audit
from xai.dashboard.trends import trend
from xai.dashboard.words import file_stem, safe
from xai.dashboard.work import sentences

_MOST = 200  # audits that are looked at
_VERDICTS = ("pass", "fail", "inconclusive", "measured")


@dataclass(frozen=True, eq=False)
class Past:
    """An audit of the folder.

    Attributes:
        name: of its folder.
        ended: when it ended.
        audit: what came of it.
    """

    name: str
    ended: datetime
    audit: xai.Audit

    @property
    def model(self) -> str:
        """Name of the network."""
        return str(self.audit.document["model"]["name"])

    @property
    def data(self) -> str:
        """What it was judged on."""
        return str(self.audit.document["data"]["data"]["source"])

    @property
    def when(self) -> str:
        """When it ended, to the minute."""
        return self.ended.astimezone().strftime("%Y-%m-%d %H:%M")


def pasts() -> list[Past]:
    """Return the audits of the folder, the newest first; damaged ones are told and left out."""
    found = []
    for folder in finished()[:_MOST]:
        try:
            audit = open_audit(folder)
        except xai.XaiError as error:
            st.warning(safe(error), icon=":material/broken_image:")
            continue
        if audit is not None:
            found.append(Past(folder.name, _ended(audit, folder), audit))
    return sorted(found, key=lambda past: past.ended, reverse=True)


def _ended(audit: xai.Audit, folder: Path) -> datetime:
    """Return when an audit ended: by its log, or by its file."""
    times = [line.get("time") for line in audit.log if line.get("event") == "ended"]
    try:
        return datetime.fromisoformat(str(times[-1]))
    except (IndexError, ValueError):
        return datetime.fromtimestamp((folder / "audit.json").stat().st_mtime, UTC)


def say_where() -> None:
    """Say that there is no audit yet, and where they would be."""
    st.info(
        t("No audit yet in {folder}. Run one on the page Audit.", folder=safe(audits_folder())),
        icon=":material/folder_off:",
    )


def show_list(found: Sequence[Past]) -> None:
    """Show all audits as a table; the pinned one has a star."""
    held = pinned()
    lines = [
        {
            "": "\N{BLACK STAR}" if past.name == held else "",
            t("Ended"): past.when,
            t("Network"): past.model,
            t("Pictures"): f"{past.data} ({past.audit.document['pictures']['n']:,})",
            t("Verdict"): report_word(f"verdict.{past.audit.verdict}"),
            t("Passed"): f"{past.audit.document['summary']['pass']} / {past.audit.document['summary']['asked']}",
        }
        for past in found
    ]
    st.dataframe(lines, hide_index=True, alt=t("Audits of this folder, the newest first"))


def choose_past(label: str, key: str, found: Sequence[Past], first: int) -> Past:
    """Let the user choose an audit; its folder's name goes into the address."""
    by_name = {past.name: past for past in found}
    name = st.selectbox(label, list(by_name), first, key=key, bind="query-params")
    past = by_name[name]
    st.caption(f"{past.when} · {safe(past.model, 60)} · {safe(report_word(f'verdict.{past.audit.verdict}'))}")
    return past


def offer_pin(past: Past) -> None:
    """Let the user pin an audit as the one that others are measured by, or let go of it."""
    held = pinned() == past.name
    st.button(
        t("Let go of the baseline") if held else t("Pin as baseline"),
        key="pin",
        on_click=_pin,
        args=(None if held else past.name,),
        icon=":material/push_pin:",
        help=t("The page Audit proposes it as baseline, the page Compare as the yardstick."),
    )
    if error := st.session_state.pop("pin error", None):
        st.error(safe(error), icon=":material/error:")


def _pin(name: str | None) -> None:
    try:
        pin(name)
    except xai.XaiError as error:
        st.session_state["pin error"] = str(error)


def show_trend(found: Sequence[Past]) -> None:
    """Show how the figure of a check went from audit to audit, with its intervals and threshold."""
    titles = {str(check["id"]): str(check["title"]) for past in found for check in past.audit.checks}
    if not titles:
        return
    st.markdown(f"**{t('How it went')}**")
    chosen = st.selectbox(
        t("Check"),
        list(titles),
        format_func=lambda name: f"{t(titles[name])} ({name})",
        key="trend",
        bind="query-params",
    )
    rows = [row for past in reversed(found) if (row := _row(past, chosen)) is not None]
    if not rows:
        st.caption(t("No audit measured it."))
        return
    said = _said(t(titles[chosen]), rows)
    st.markdown(said)
    words = {name: report_word(f"verdict.{name}") for name in _VERDICTS}
    draw(trend(rows, words), "trend chart", said)
    offer_rows(rows, file_stem(chosen, "trend"), "trend_csv")
    st.caption(t("Bars: 95 % intervals. Audits on other pictures or with other settings are not to be compared."))


def _said(check: str, rows: Sequence[Mapping[str, Any]]) -> str:
    first, last = rows[0]["said"], rows[-1]["said"]
    if len(rows) == 1:
        return t("{check} in one audit: {first}.", check=check, first=first)
    return t(
        "{check} over {n} audits: {first} at first, {last} at last.", check=check, n=len(rows), first=first, last=last
    )


def _row(past: Past, check: str) -> dict[str, Any] | None:
    """Return the point of one audit; None where it did not measure the check."""
    held = {str(one["id"]): one for one in past.audit.checks}.get(check)
    measured: Mapping[str, Any] = (held or {}).get("measured") or {}
    if held is None or measured.get("value") is None:
        return None
    value, unit = measured["value"], str(measured["unit"])
    low, high = (value if measured[end] is None else measured[end] for end in ("low", "high"))
    asked = [one["threshold"] for one in held["asked"] if one["condition"] in {"at_least", "at_most"}]
    return {
        "when": past.ended.isoformat(),
        "audit": past.name,
        "model": past.model,
        "value": value,
        "low": low,
        "high": high,
        "threshold": asked[0] if asked else None,
        "verdict": held["verdict"] if held["verdict"] in {"pass", "fail", "measured"} else "inconclusive",
        "said": figure(value, unit),
    }


def show_past(past: Past) -> None:
    """Show one audit whole."""
    with sentences():
        show_audit(past.audit, "history")
