"""The page "Out of distribution", probabilities: how far the network can be taken at its word."""

import streamlit as st

import xai
from xai.dashboard.charts import draw
from xai.dashboard.distributions import reliability, risk_by_coverage
from xai.dashboard.files import whole_zip
from xai.dashboard.frames import show_frame
from xai.dashboard.jobs import Job, asked_for, result_of
from xai.dashboard.language import m, t
from xai.dashboard.offers import offer
from xai.dashboard.script import show_script
from xai.dashboard.sets import Sample, to_ask
from xai.dashboard.words import file_stem, interval, percent, safe, sentence
from xai.dashboard.work import Model

_VERDICTS = {
    "overconfident": m("It is surer than it should be."),
    "underconfident": m("It is less sure than it could be."),
    "miscalibrated": m("Its probabilities are off, in both directions."),
    "no evidence": m("Nothing speaks against its probabilities."),
    "too small to tell": m("Too few pictures to tell."),
}


def calibrate(model: Model, sample: Sample) -> list[Job]:
    """Let the user measure calibration; return what is still to be done."""
    rows = len(sample.data)
    job = to_ask("calibration", t("Measuring"), model, [sample], st.container(), rows, seed=sample.seed)
    if not asked_for(
        job, t("Measure the probabilities"), t("{rows} pictures go through the network", rows=rows), first=True
    ):
        return []
    found = result_of(job)
    if found is not None:
        _show(model, sample, found)
    return [job]


def _show(model: Model, sample: Sample, found: xai.Calibration) -> None:
    show_box = {"no evidence": st.success, "too small to tell": st.info}.get(found.verdict, st.warning)
    show_box(f"**{t(_VERDICTS[found.verdict])}** {_said(found)}", icon=":material/speed:")
    draw(reliability(found), "reliability", t("Reliability curve. {found}", found=_said(found)))
    st.caption(
        t(
            "On the {value} pictures that the temperature was not fitted on. On the dashed line "
            "a network that is 80 % sure is right 80 times of 100. Bars: 95 % intervals.",
            value=int(found.judged.sum()),
        )
    )
    st.markdown("\n".join(f"- {safe(sentence(reason))}" for reason in found.reasons))
    st.caption(" ".join(safe(sentence(note)) for note in found.notes))
    with st.expander(t("When only the surest answers are given"), icon=":material/filter_alt:"):
        draw(risk_by_coverage(found), "risk", t("Share of wrong answers by the share of pictures that get an answer"))
    with st.expander(t("All figures"), icon=":material/table:"):
        show_frame(found.table.round(4), t("Measures of calibration with intervals and tests"))
    with st.expander(t("Class by class"), icon=":material/category:"):
        show_frame(found.per_class.round(4), t("Calibration of each class"))
    _downloads(found)
    show_script(
        model,
        f"data = {sample.code}",
        f"found = xai.calibration(clf, data, seed={sample.seed})",
        "print(found.verdict, found.reasons, found.table)",
        "found.plot()",
    )


def _said(found: xai.Calibration) -> str:
    """Say accuracy, confidence, error and temperature in two sentences."""
    measures, warm, (low, high) = found.measures, found.temperature, found.ece_interval
    right = interval(measures.accuracy, *measures.accuracy_interval)
    return t(
        "It is {confidence} sure on average and right in {right}. The expected calibration "
        "error (ECE) is {ece:.3f}; without the part that chance makes, {low:.3f} to "
        "{high:.3f}. With temperature {value:.2f} ({low_2:.2f} to {high_2:.2f}) it would be "
        "{value_2:.3f} instead of {value_3:.3f}, on pictures kept back for that.",
        confidence=percent(measures.confidence),
        right=right,
        ece=found.ece,
        low=low,
        high=high,
        value=warm.value,
        low_2=warm.low,
        high_2=warm.high,
        value_2=found.after.ece.value,
        value_3=found.before.ece.value,
    )


def _downloads(found: xai.Calibration) -> None:
    stem = file_stem(str(found.model["name"]), "calibration")
    with st.container(horizontal=True):
        csv = found.table.to_csv(index=False).encode
        offer(t("Table (.csv)"), csv, f"{stem}.csv", "text/csv", "calibration_csv", t("A line per figure"))
        tip = t("A folder that xai.Calibration.load reads back")
        offer(
            t("Everything (.zip)"), lambda: whole_zip(found), f"{stem}.zip", "application/zip", "calibration_zip", tip
        )
