"""What came of an audit: verdicts, the worst first, with the pictures that back them, and its reports as files."""

import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

import xai
from xai.dashboard.files import add_folder, whole_zip, zipped
from xai.dashboard.frames import show_frame
from xai.dashboard.gallery import Shot, show
from xai.dashboard.language import language, report_word, t, told
from xai.dashboard.offers import offer
from xai.dashboard.words import file_stem, percent, safe, sentence

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
_THUMB, _GAP = 96, 18  # pixels of their pictures: three fit on a phone, and two exhibits beside each other
_POINTS = ("share", "iou", "ece", "auroc")
_NEEDS = {"html": ("jinja2", "report"), "pdf": ("weasyprint", "pdf")}
_REPORTS = (
    ("html", "report.html", "text/html"),
    ("pdf", "report.pdf", "application/pdf"),
    ("md", "summary.md", "text/markdown"),
    ("junit", "junit.xml", "application/xml"),
    ("card", "card.md", "text/markdown"),
    ("csv", "conditions.csv", "text/csv"),
)


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
    model, pictures = audit.document["model"], audit.document["pictures"]["n"]
    source = audit.document["data"]["data"]["source"]
    st.caption(f"{safe(model['name'])} · {safe(source)} · {t('{n} pictures', n=f'{pictures:,}')}")
    if not audit.document["complete"]:
        st.warning(safe(report_word("incomplete")), icon=":material/hourglass:")


def _show_finding(audit: xai.Audit, finding: xai.Finding) -> None:
    """Show a finding: verdict, figure against threshold, why, and the pictures."""
    with st.container(border=True):
        title = safe(t(str(finding.details["title"])))
        st.markdown(f"{_ICONS[finding.verdict]} **{title}** · {safe(report_word(f'verdict.{finding.verdict}'))}")
        st.markdown(_told(finding) or safe(sentence(finding.why)))
        if finding.claim:
            st.caption(safe(sentence(finding.claim)))
        _show_exhibits(audit, finding.evidence)
        with st.expander(t("Reproduce"), icon=":material/terminal:"):
            st.code(finding.reproduce["command"], language="bash", wrap_lines=True)
            st.code(finding.reproduce["python"], language="python", wrap_lines=True)


def _told(finding: xai.Finding) -> str:
    """Say figure, interval and threshold in the language of the page; "" where there is no figure."""
    if finding.value is None or finding.threshold is None or finding.interval is None or finding.condition is None:
        return ""
    unit = str(finding.details["unit"])
    asked = report_word(f"condition.{finding.condition}", t=figure(finding.threshold, unit))
    low, high = finding.interval
    span = "" if low is None or high is None else f" ({figure(low, unit)} \N{EN DASH} {figure(high, unit)})"
    n, needed = finding.details.get("n"), finding.details.get("needed")
    many = f", {t('{n} pictures', n=f'{n:,}')}" if n else ""
    more = f" {safe(report_word('needed', n=f'{needed:,}'))}" if needed else ""
    return f"**{figure(finding.value, unit)}**{span}{many}; {safe(asked)}.{more}"


def figure(value: float | None, unit: str) -> str:
    """Return a figure in its unit, as text that is safe to show."""
    if value is None:
        return "\N{EN DASH}"
    if unit == "points":
        return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")
    if unit == "share":
        return percent(value) if 0 <= value <= 1 else f"{100 * value:.1f} %"
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def _show_exhibits(audit: xai.Audit, evidence: Sequence[Mapping[str, Any]]) -> None:
    with st.container(horizontal=True):
        for exhibit in evidence[:_SHOWN]:
            shots = shots_of(audit, exhibit)
            if shots:
                with st.container(width=(_THUMB + _GAP) * max(2, len(shots))):
                    with st.container(horizontal=True, gap="small"):
                        for shot in shots:
                            with st.container(width=_THUMB):
                                show(shot)
                    st.caption(safe(told(str(exhibit["caption"])), 200))
    if len(evidence) > _SHOWN:
        st.caption(t("The first {shown} of {all}; the HTML report shows more.", shown=_SHOWN, all=len(evidence)))


def shots_of(audit: xai.Audit, exhibit: Mapping[str, Any]) -> list[Shot]:
    """Return the pictures of one piece of evidence; a map is drawn in grey tones around 0."""
    found = []
    for image in exhibit["images"]:
        role = report_word(f"role.{image['role']}")
        try:
            pixels = _pixels(audit.files[str(image["file"]).rpartition("/")[2]], str(image["file"]))
        except (xai.XaiError, KeyError):
            continue  # the folder was copied without it, which the report says, too
        found.append(Shot(pixels, safe(role), f"{told(str(exhibit['alt']))} ({role})"))
    return found


def _pixels(content: bytes, name: str) -> np.ndarray:
    if name.endswith(".npy"):
        values = np.load(io.BytesIO(content), allow_pickle=False).astype(np.float64)
        most = float(np.abs(values).max()) or 1.0
        grey = np.round(127.5 + 127.5 * values / most).astype(np.uint8)
        return np.repeat(grey[..., None], 3, -1)
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB"))


def _show_rest(audit: xai.Audit) -> None:
    """Show what passed or was only measured, and the whole table."""
    rest = [check for check in audit.checks if check["verdict"] in {"pass", "measured"}]
    if rest:
        with st.expander(t("Passed, or only measured: {n}", n=len(rest)), icon=":material/check:"):
            for check in rest:
                measured = check["measured"] or {}
                said = figure(measured.get("value"), str(measured.get("unit")))
                title = safe(t(check["title"]))
                st.markdown(f"{_ICONS[check['verdict']]} **{title}** · {said}. {safe(sentence(check['why']))}")
    with st.expander(t("All conditions"), icon=":material/table:"):
        show_frame(audit.table, t("Every condition with figure, interval and verdict"))
    limits = [str(limit["text"] if isinstance(limit, Mapping) else limit) for limit in audit.document["limits"]]
    with st.expander(t("What this does not say"), icon=":material/info:"):
        st.markdown("\n".join(f"- {safe(sentence(limit))}" for limit in limits))


def _show_exports(audit: xai.Audit, key: str) -> None:
    """Offer every form of report, the audit itself, and its findings as tests."""
    st.markdown(f"**{t('Take it along')}**")
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
        for kind, file, mime in _REPORTS:
            label = labels.get(kind, kind.upper())
            make = _report(audit, kind, file, language())
            named = f"{label} (.{file.rpartition('.')[2]})"
            package, extra = _NEEDS.get(kind, ("json", ""))
            missing = find_spec(package) is None
            tip = (
                t("Needs a package: {command}", command=f"pip install 'xai-toolkit[{extra}]'")
                if missing
                else tips[kind]
            )
            offer(named, make, f"{stem}-{file}", mime, f"{key} {kind}", tip, disabled=missing)
        offer(
            t("Tests (.zip)"),
            partial(_tests, audit),
            f"{stem}-tests.zip",
            "application/zip",
            f"{key} tests",
            t("A pytest file with frozen pictures, one test per finding"),
        )
        tip = t("A folder that xai.Audit.load reads back")
        everything = partial(whole_zip, audit)
        offer(t("Everything (.zip)"), everything, f"{stem}.zip", "application/zip", f"{key} zip", tip)


def _report(audit: xai.Audit, kind: str, file: str, language: str) -> Callable[[], bytes]:
    def make() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            return audit.report(Path(folder) / file, kind=kind, language=language).read_bytes()

    return make


def _tests(audit: xai.Audit) -> bytes:
    with zipped() as (stream, archive, folder):
        try:
            xai.write_tests(audit, folder / "tests")
        except xai.XaiError as error:  # of a model that was uploaded: the tests could not load it
            (folder / "tests").mkdir(exist_ok=True)
            (folder / "tests" / "README.txt").write_text(f"{error}\n", encoding="utf-8")
        add_folder(archive, folder / "tests")
    return stream.getvalue()
