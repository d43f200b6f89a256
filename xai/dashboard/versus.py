"""The page "Compare": two audits, or two networks on the same pictures: better, worse, or cannot tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

import xai
from xai.dashboard.board import figure
from xai.dashboard.charts import draw
from xai.dashboard.gallery import Shot, as_pixels, choose_shot
from xai.dashboard.jobs import Job, asked_for, in_turn, result_of, watched
from xai.dashboard.language import m, report_word, t
from xai.dashboard.offers import offer
from xai.dashboard.pasts import Past, choose_past
from xai.dashboard.pins import pinned
from xai.dashboard.sets import Sample
from xai.dashboard.tasks import Report
from xai.dashboard.trends import differences
from xai.dashboard.words import file_stem, safe, sentence
from xai.dashboard.work import Model, load_model, model_names, sentences

_CHECKS = ("accuracy", "calibration")
_VERDICTS = ("better", "worse", "cannot tell")
_SHOWN = 12
_GROUPS = {
    "first": m("only the first is right"),
    "second": m("only the second is right"),
    "neither": m("both wrong, in different ways"),
}


@dataclass(frozen=True, eq=False)
class Duel:
    """Two networks on the same pictures.

    Attributes:
        comparison: check by check.
        answers: (2, n) class names.
    """

    comparison: xai.AuditComparison
    answers: np.ndarray


def compare_audits(found: Sequence[Past]) -> None:
    """Let the user choose two audits and show what the second does better and worse."""
    names = [past.name for past in found]
    left, right = st.columns(2)
    held = pinned()
    with left:
        before = choose_past(t("Measured by"), "before", found, names.index(held) if held in names else len(names) - 1)
    with right:
        after = choose_past(t("Compared"), "after", found, int(names[0] == before.name))
    if before.name == after.name:
        st.info(t("Choose two different audits."), icon=":material/arrow_upward:")
        return
    with sentences():
        comparison = xai.compare(before.audit, after.audit)
    show_comparison(comparison)
    stem = file_stem(before.name, after.name)
    csv = comparison.table.to_csv(index=False).encode
    offer(t("Table (.csv)"), csv, f"{stem}.csv", "text/csv", "compare_csv", t("A line per check"))
    with st.expander(t("Copy the code"), icon=":material/code:"):
        code = [f"{name} = xai.Audit.load({one.name!r})" for name, one in (("before", before), ("after", after))]
        st.code("\n".join(["import xai", "", *code, "print(xai.compare(before, after))", ""]), language="python")


def show_comparison(found: xai.AuditComparison) -> None:
    """Show in words, as a chart and as a table what is better and worse."""
    counts = {name: sum(one.verdict == name for one in found.differences) for name in _VERDICTS}
    words = {name: report_word(f"change.{name}") for name in (*_VERDICTS, "not paired")}
    said = ", ".join(f"{words[name]}: {count}" for name, count in counts.items())
    box = st.error if counts["worse"] else st.success if counts["better"] else st.info
    box(f"**{said}**", icon=":material/compare_arrows:")
    st.caption(
        t(
            "{after} against {before}, on {n} pictures that both measured.",
            after=safe(found.after["model"]),
            before=safe(found.before["model"]),
            n=f"{found.shared:,}",
        )
    )
    rows = [_row(one) for one in found.differences if one.difference is not None]
    if rows:
        draw(differences(rows, words), "differences", said)
        st.caption(
            t("Differences with their 95 % intervals, paired by picture; verdicts are corrected for their number.")
        )
    lines = [
        {
            t("Check"): safe(t(one.title)),
            t("Before"): figure(one.before, one.unit),
            t("After"): figure(one.after, one.unit),
            t("Verdict"): words[one.verdict],
        }
        for one in found.differences
    ]
    st.table(lines, border="horizontal", hide_index=True, alt=t("Every check in both audits"))
    for note in found.notes:
        st.caption(safe(sentence(note)))


def _row(one: Any) -> dict[str, Any]:
    scale = 100 if one.unit in {"share", "points"} else 1
    ends = [scale * value for value in (one.difference, one.low, one.high)]
    said = "{:+.3g} ({:+.3g} \N{EN DASH} {:+.3g})".format(*ends).replace("-", "\N{MINUS SIGN}")
    return {
        "check": t(one.title),
        "difference": ends[0],
        "low": ends[1],
        "high": ends[2],
        "verdict": one.verdict,
        "said": said,
    }


def choose_other(model: Model) -> Model:
    """Let the user choose the network that is compared with the first; those with as many classes are offered first."""
    classes = {info.name: info.classes for info in xai.catalogue()}
    names = [name for name in model_names() if name != model.name]
    names.sort(key=lambda name: classes.get(name) != model.classifier.num_classes)
    name = st.selectbox(t("Compared with"), names, key="other", bind="query-params")
    with sentences(), st.spinner(t("Loading the network …")):
        return load_model(name)


def compare_networks(model: Model, other: Model, sample: Sample) -> tuple[list[Job], int | None]:
    """Show which of two networks is better, and where they disagree.

    Returns:
        What is still to be done, and the picture that was opened.
    """
    if set(sample.data.classes) - set(other.classifier.labels):
        st.info(t("The second network does not know the classes of these pictures."), icon=":material/info:")
        return [], None
    key = ("duel", model.key, other.key, *sample.key)
    rows = 2 * len(sample.data)
    job = Job(key, t("Asking both networks"), partial(_duel, model, other, sample), st.container(), rows)
    if not asked_for(job, t("Compare the networks"), t("{n} pictures go through both", n=rows // 2), first=True):
        return [], None
    found: Duel | None = result_of(job)
    if found is None:
        return [job], None
    show_comparison(found.comparison)
    return [job], _show_disagreement(model, other, sample, found)


def _duel(model: Model, other: Model, sample: Sample, report: Report | None) -> Duel:
    ask = watched(in_turn(report, 4))
    audits, answers = [], []
    for one in (model, other):
        with one.borrowed() as classifier:
            outputs = classifier.outputs(sample.data, **ask)
            audits.append(xai.audit(model=classifier, data=sample.data, checks=_CHECKS, **ask))
        names = np.array(one.classifier.labels, dtype=object)
        answers.append(names[outputs.logits.argmax(1).cpu().numpy()])
    return Duel(xai.compare(*audits), np.stack(answers))


def _show_disagreement(model: Model, other: Model, sample: Sample, found: Duel) -> int | None:
    """Show the pictures on which both answer differently; return the one that was opened."""
    truth = np.array([sample.label(k) for k in range(len(sample.data))], dtype=object)
    first, second = found.answers
    right = first == truth, second == truth
    groups = {
        "first": np.flatnonzero(right[0] & ~right[1]),
        "second": np.flatnonzero(~right[0] & right[1]),
        "neither": np.flatnonzero(~right[0] & ~right[1] & (first != second)),
    }
    st.markdown(f"**{t('Where they disagree')}**")
    st.caption(t("First: {first}. Second: {second}.", first=safe(model.name, 60), second=safe(other.name, 60)))
    group = st.segmented_control(
        t("Pictures"),
        list(_GROUPS),
        default="first",
        required=True,
        wrap=True,
        format_func=lambda name: f"{t(_GROUPS[name])}: {len(groups[name])}",
        key="disagreement",
        bind="query-params",
        label_visibility="collapsed",
    )
    rows = groups[group].tolist()[:_SHOWN]
    if len(groups[group]) > _SHOWN:
        st.caption(t("The first {shown} of {all}.", shown=_SHOWN, all=len(groups[group])))
    shots = {k: _shot(sample, k, str(truth[k]), str(first[k]), str(second[k])) for k in rows}
    return choose_shot(shots, "disagreement")


def _shot(sample: Sample, k: int, truth: str, first: str, second: str) -> Shot:
    said = t("{k}: {truth}; first: {first}; second: {second}", k=k, truth=truth, first=first, second=second)
    return Shot(as_pixels(sample.data.images[k][None])[0], safe(said, 100), said)
