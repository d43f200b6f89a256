"""Audits on a page: the finished ones, those that run, and one with its findings."""

import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

import xai
from xai.dashboard.environment import audits_folder
from xai.dashboard.session import BackgroundTask, finished_audits, open_audit, open_audits
from xai.dashboard.text import bullets, file_stem, language, percent, report_word, safe, sentence, t, told, written
from xai.dashboard.widgets.background import time_left
from xai.dashboard.widgets.gallery import GalleryImage, show_image
from xai.dashboard.widgets.results import add_folder, everything, offer_download, show_table, zipped

_MOST = 200  # audits that are looked at
_SECONDS = 1.0  # between two looks at one that runs


@dataclass(frozen=True, eq=False)
class PastAudit:
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
        """Name of the model."""
        return str(self.audit.document["model"]["name"])

    @property
    def data(self) -> str:
        """What it was judged on."""
        return str(self.audit.document["data"]["data"]["source"])

    @property
    def when(self) -> str:
        """When it ended, to the minute."""
        return self.ended.astimezone().strftime("%Y-%m-%d %H:%M")


def past_audits() -> list[PastAudit]:
    """Return the audits of the folder, the newest first; damaged ones are told and left out."""
    result = []
    for folder in finished_audits()[:_MOST]:
        try:
            audit = open_audit(folder)
        except xai.XaiError as error:
            st.warning(safe(error), icon=":material/broken_image:")
            continue
        if audit is not None:
            result.append(PastAudit(folder.name, _ended(audit, folder), audit))
    return sorted(result, key=lambda past: past.ended, reverse=True)


def _ended(audit: xai.Audit, folder: Path) -> datetime:
    """Return when an audit ended: by its log, or by its file."""
    times = [line.get("time") for line in audit.log if line.get("event") == "ended"]
    try:
        return datetime.fromisoformat(str(times[-1]))
    except (IndexError, ValueError):
        return datetime.fromtimestamp((folder / "audit.json").stat().st_mtime, UTC)


def show_no_audits() -> None:
    """Say that there is no audit yet, and where they would be."""
    st.info(
        t("No audit yet in {folder}. Run one on the page Audit.", folder=safe(audits_folder())),
        icon=":material/folder_off:",
    )


def choose_audit(label: str, key: str, result: Sequence[PastAudit], first: int) -> PastAudit:
    """Let the user choose an audit; its folder's name goes into the address."""
    by_name = {past.name: past for past in result}
    name = st.selectbox(label, list(by_name), first, key=key, bind="query-params")
    past = by_name[name]
    st.caption(f"{past.when} · {safe(past.model, 60)} · {safe(report_word(f'verdict.{past.audit.verdict}'))}")
    return past


def show_others(folder: Path | None) -> None:
    """Show the audits at work but the one of this folder: a reload, or another page, finds them here."""
    for task in open_audits():
        if task.key[1] != str(folder):
            watch(task)


def watch(task: BackgroundTask) -> None:
    """Show how far an audit is, and the button that stops it; runs the page again when it has ended.

    The button is no part of what is drawn anew every second: a click on it could fall between two drawings.
    """
    with st.container(horizontal=True, vertical_alignment="center"):
        _show_progress(task)
        st.button(
            t("Stop"),
            key=f"stop {task.key[1]}",
            on_click=task.stop,
            disabled=task.stopping,
            icon=":material/stop_circle:",
        )


@st.fragment(run_every=_SECONDS)
def _show_progress(task: BackgroundTask) -> None:
    if task.over:
        st.rerun()
    title = safe(task.title)
    if task.stopping:
        text = t("{title}: stopping …", title=title)
    elif not task.working:
        text = t("{title}: waits for another audit.", title=title)
    else:
        far = f"{title} · {percent(task.share)}{time_left(task)}"
        text = t("{title}: summing up …", title=title) if task.share == 1 else far
    st.progress(task.share, text)


_BOXES = {"pass": "success", "fail": "error", "error": "error"}
_ICONS = {
    "pass": ":material/check_circle:",
    "fail": ":material/cancel:",
    "inconclusive": ":material/help:",
    "not run": ":material/block:",
    "error": ":material/error:",
    "measured": ":material/straighten:",
}
_WORDS = tuple(_ICONS)
_SHOWN = 6  # exhibits of a finding
_THUMB, _GAP = 96, 18  # pixels of their images: three fit on a phone, and two exhibits beside each other
_NEEDS = {"html": ("jinja2", "report"), "pdf": ("weasyprint", "pdf")}
_REPORTS = {
    "html": "report.html",
    "pdf": "report.pdf",
    "csv": "conditions.csv",
    "md": "summary.md",
    "junit": "junit.xml",
    "card": "card.md",
}


def show_audit(audit: xai.Audit, key: str) -> None:
    """Show everything that came of an audit.

    Args:
        audit: to show.
        key: of the widgets.
    """
    _show_headline(audit)
    for finding in audit.findings:
        _show_finding(audit, finding)
    _show_rest(audit)
    _show_exports(audit, key)


def _show_headline(audit: xai.Audit) -> None:
    summary = audit.document["summary"]
    counts = [report_word(f"count.{name}", n=summary[name]) for name in _WORDS if summary[name]]
    box = getattr(st, _BOXES.get(audit.verdict, "warning"))
    box(f"**{safe(report_word(f'overall.{audit.verdict}'))}.** {', '.join(counts)}.", icon=_ICONS[audit.verdict])
    model, images = audit.document["model"], audit.document["images"]["n"]
    source = audit.document["data"]["data"]["source"]
    st.caption(f"{safe(model['name'])} · {safe(source)} · {t('{n} images', n=written('{value:,}', images))}")
    if not audit.document["complete"]:
        st.warning(safe(report_word("incomplete")), icon=":material/hourglass:")


def _show_finding(audit: xai.Audit, finding: xai.results.Finding) -> None:
    """Show a finding: verdict, figure against threshold, why, and the images."""
    with st.container(border=True):
        title = safe(t(str(finding.details["title"])))
        st.markdown(f"{_ICONS[finding.verdict]} **{title}** · {safe(report_word(f'verdict.{finding.verdict}'))}")
        st.markdown(_summary(finding) or safe(sentence(finding.why)))
        if finding.claim:
            st.caption(safe(sentence(finding.claim)))
        _show_exhibits(audit, finding.evidence)
        with st.expander(t("Reproduce"), icon=":material/terminal:"):
            st.code(finding.reproduce["command"], language="bash", wrap_lines=True)
            st.code(finding.reproduce["python"], language="python", wrap_lines=True)


def _summary(finding: xai.results.Finding) -> str:
    """Say figure, interval and threshold in the language of the page; "" where there is no figure."""
    if finding.value is None or finding.threshold is None or finding.interval is None or finding.condition is None:
        return ""
    unit = str(finding.details["unit"])
    threshold = report_word(f"condition.{finding.condition}", t=measure_text(finding.threshold, unit))
    low, high = finding.interval
    span = "" if low is None or high is None else f" ({measure_text(low, unit)} \N{EN DASH} {measure_text(high, unit)})"
    n, needed = finding.details.get("n"), finding.details.get("needed")
    many = f", {t('{n} images', n=written('{value:,}', n))}" if n else ""
    more = f" {safe(report_word('needed', n=written('{value:,}', needed)))}" if needed else ""
    return f"**{measure_text(finding.value, unit)}**{span}{many}; {safe(threshold)}.{more}"


def measure_text(value: float | None, unit: str) -> str:
    """Return a figure in its unit, as text that is safe to show."""
    if value is None:
        return "\N{EN DASH}"
    if unit == "points":
        return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")
    if unit == "share":
        return percent(value) if 0 <= value <= 1 else written("{value:.1f} %", 100 * value)
    return written("{value:.3g}", value)


def _show_exhibits(audit: xai.Audit, evidence: Sequence[Mapping[str, Any]]) -> None:
    with st.container(horizontal=True):
        for exhibit in evidence[:_SHOWN]:
            shots = shots_of(audit, exhibit)
            if shots:
                with st.container(width=(_THUMB + _GAP) * max(2, len(shots))):
                    with st.container(horizontal=True, gap="small"):
                        for shot in shots:
                            with st.container(width=_THUMB):
                                show_image(shot)
                    st.caption(safe(told(exhibit["caption"]), 200))
    if len(evidence) > _SHOWN:
        st.caption(t("The first {shown} of {all}; the HTML report shows more.", shown=_SHOWN, all=len(evidence)))


def shots_of(audit: xai.Audit, exhibit: Mapping[str, Any]) -> list[GalleryImage]:
    """Return the images of one piece of evidence; a map is drawn in grey tones around 0."""
    result = []
    for image in exhibit["images"]:
        role = report_word(f"role.{image['role']}")
        try:
            pixels = _pixels(audit.files[str(image["file"]).rpartition("/")[2]], str(image["file"]))
        except (xai.XaiError, KeyError):
            continue  # the folder was copied without it, which the report says, too
        result.append(GalleryImage(pixels, safe(role), f"{told(exhibit['alt'])} ({role})"))
    return result


def _pixels(content: bytes, name: str) -> np.ndarray:
    if name.endswith(".npy"):
        values = np.load(io.BytesIO(content), allow_pickle=False).astype(np.float64)
        most = float(np.abs(values).max()) or 1.0
        grey = np.round(127.5 + 127.5 * values / most).astype(np.uint8)
        return np.repeat(grey[..., None], 3, -1)
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def _show_rest(audit: xai.Audit) -> None:
    """Show what passed or was only measured, and the whole table."""
    rest = [check for check in audit.checks if check["verdict"] in {"pass", "measured"}]
    if rest:
        with st.expander(t("Passed, or only measured: {n}", n=len(rest)), icon=":material/check:"):
            for check in rest:
                measured = check["measured"] or {}
                text = measure_text(measured.get("value"), str(measured.get("unit")))
                title = safe(t(check["title"]))
                st.markdown(f"{_ICONS[check['verdict']]} **{title}** · {text}. {safe(sentence(check['why']))}")
    show_table(t("All conditions"), audit.table, t("Every condition with value, interval and verdict"))
    limits = [limit["text"] if isinstance(limit, Mapping) else limit for limit in audit.document["limits"]]
    with st.expander(t("Limitations"), icon=":material/info:"):
        st.markdown(bullets(limits))


def _show_exports(audit: xai.Audit, key: str) -> None:
    """Offer every form of report, the audit itself, and its findings as tests."""
    st.markdown(f"**{t('Download')}**")
    stem = file_stem(str(audit.document["model"]["name"]), "audit")
    tips = {
        "html": t("One page that works offline"),
        "pdf": t("Tagged, for print"),
        "md": t("For a pull request"),
        "junit": t("For CI"),
        "card": t("A model card for Hugging Face"),
        "csv": t("A line per condition"),
    }
    labels = {"md": t("Summary"), "card": t("Model card"), "csv": t("Table"), "junit": "JUnit"}
    with st.container(horizontal=True):
        for kind, file in _REPORTS.items():
            make, missing = _report(audit, kind, file, language()), missing_package(kind)
            label = labels.get(kind, kind.upper())
            tip = missing or tips[kind]
            offer_download(label, make, f"{stem}-{file}", f"{key} {kind}", tip, disabled=bool(missing))
        tip = t("A pytest file with fixed images, one test per finding")
        offer_download(t("Tests"), partial(_tests, audit), f"{stem}-tests.zip", f"{key} tests", tip)
        whole = everything(audit)
        offer_download(whole.label, whole.make, f"{stem}.zip", f"{key} zip", whole.tip)


def missing_package(kind: str) -> str:
    """Return which package a form of report needs and does not have, as a sentence; "" where it has all."""
    package, extra = _NEEDS.get(kind, ("json", ""))
    return "" if find_spec(package) else t("Needs a package: {command}", command=f"pip install 'xai-toolkit[{extra}]'")


def _report(audit: xai.Audit, kind: str, file: str, language: str) -> Callable[[], bytes]:
    def make() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            return audit.report(Path(folder) / file, kind=kind, language=language).read_bytes()

    return make


def _tests(audit: xai.Audit) -> bytes:
    with zipped() as (stream, archive, folder):
        try:
            audit.write_tests(folder / "tests")
        except xai.XaiError as error:  # of a model that was uploaded: the tests could not load it
            (folder / "tests").mkdir(exist_ok=True)
            (folder / "tests" / "README.txt").write_text(f"{error}\n", encoding="utf-8")
        add_folder(archive, folder / "tests")
    return stream.getvalue()
