"""The page "History": the audits of a folder. It shows how a figure changed, and the audit that serves as baseline."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

import xai
from xai.dashboard import charts
from xai.dashboard import widgets as ui
from xai.dashboard.session import pin, pinned
from xai.dashboard.text import file_stem, report_word, safe, t, written

_VERDICTS = ("pass", "fail", "inconclusive", "measured")


def show_list(result: Sequence[ui.PastAudit]) -> None:
    """Show all audits as a table; the pinned one has a star."""
    baseline = pinned()
    lines = [
        {
            "": "\N{BLACK STAR}" if past.name == baseline else "",
            t("Ended"): past.when,
            t("Model"): past.model,
            t("Images"): f"{past.data} ({written('{value:,}', past.audit.document['images']['n'])})",
            t("Verdict"): report_word(f"verdict.{past.audit.verdict}"),
            t("Passed"): f"{past.audit.document['summary']['pass']} / {past.audit.document['summary']['asked']}",
        }
        for past in result
    ]
    st.dataframe(lines, hide_index=True, alt=t("Audits of this folder, the newest first"))


def offer_pin(past: ui.PastAudit) -> None:
    """Let the user pin an audit as the one that others are measured by, or let go of it."""
    is_baseline = pinned() == past.name
    st.button(
        t("Unpin the baseline") if is_baseline else t("Pin as baseline"),
        key="pin",
        on_click=_pin,
        args=(None if is_baseline else past.name,),
        icon=":material/push_pin:",
        help=t("Proposed as the baseline on the page Audit, and as the reference on the page Compare."),
    )
    if error := st.session_state.pop("pin error", None):
        st.error(safe(error), icon=":material/error:")


def _pin(name: str | None) -> None:
    try:
        pin(name)
    except xai.XaiError as error:
        st.session_state["pin error"] = str(error)


def show_trend(result: Sequence[ui.PastAudit]) -> None:
    """Show how the figure of a check went from audit to audit, with its intervals and threshold."""
    titles = {str(check["id"]): str(check["title"]) for past in result for check in past.audit.checks}
    if not titles:
        return
    st.markdown(f"**{t('Trend')}**")
    chosen = st.selectbox(
        t("Check"),
        list(titles),
        format_func=lambda name: f"{t(titles[name])} ({name})",
        key="trend",
        bind="query-params",
    )
    rows = [row for past in reversed(result) if (row := _row(past, chosen)) is not None]
    if not rows:
        st.caption(t("No audit measured it."))
        return
    text = _summary(t(titles[chosen]), rows)
    st.markdown(text)
    words = {name: report_word(f"verdict.{name}") for name in _VERDICTS}
    ui.show_chart(charts.trend(rows, words), "trend chart", text)
    ui.offer_chart_rows(rows, file_stem(chosen, "trend"), "trend_csv")
    st.caption(t("Bars: 95 % intervals. Do not compare audits with other images or other settings."))


def _summary(check: str, rows: Sequence[Mapping[str, Any]]) -> str:
    first, last = rows[0]["text"], rows[-1]["text"]
    if len(rows) == 1:
        return t("{check} in one audit: {first}.", check=check, first=first)
    return t(
        "{check} over {n} audits: {first} at first, {last} at last.", check=check, n=len(rows), first=first, last=last
    )


def _row(past: ui.PastAudit, check: str) -> dict[str, Any] | None:
    """Return the point of one audit; None where it did not measure the check."""
    record = {str(entry["id"]): entry for entry in past.audit.checks}.get(check)
    measured: Mapping[str, Any] = (record or {}).get("measured") or {}
    if record is None or measured.get("value") is None:
        return None
    value, unit = measured["value"], str(measured["unit"])
    low, high = (value if measured[end] is None else measured[end] for end in ("low", "high"))
    thresholds = [entry["threshold"] for entry in record["asked"] if entry["condition"] in {"at_least", "at_most"}]
    return {
        "when": past.ended.isoformat(),
        "audit": past.name,
        "model": past.model,
        "value": value,
        "low": low,
        "high": high,
        "threshold": thresholds[0] if thresholds else None,
        "verdict": record["verdict"] if record["verdict"] in {"pass", "fail", "measured"} else "inconclusive",
        "text": ui.measure_text(value, unit),
    }


def show_past(past: ui.PastAudit) -> None:
    """Show one audit whole."""
    with ui.stop_on_error():
        ui.show_audit(past.audit, "history")


ui.show_heading("history")
ui.show_others(None)
ui.run_next([])
audits = ui.past_audits()
if not audits:
    ui.show_no_audits()
    st.stop()
show_list(audits)
left, right = st.columns([1, 1.6], gap="medium")
with left:
    past = ui.choose_audit(t("Open"), "run", audits, 0)
    offer_pin(past)
with right:
    show_trend(audits)
show_past(past)
