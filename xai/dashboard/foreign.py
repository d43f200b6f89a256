"""The page "Out of distribution", foreign pictures: a detector is chosen, fitted and calibrated."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

import xai
from xai.dashboard.boundary import show_boundary
from xai.dashboard.detection import Detection, Plan, to_compare_methods, to_detect
from xai.dashboard.files import whole_zip
from xai.dashboard.frames import show_frame
from xai.dashboard.jobs import Job, asked_for, result_of
from xai.dashboard.judged import show_judged
from xai.dashboard.language import t, told
from xai.dashboard.offers import offer
from xai.dashboard.photos import upload_picture
from xai.dashboard.script import show_script
from xai.dashboard.sets import Sample, choose_size, draw, names_for, offered, with_parts
from xai.dashboard.words import file_stem, safe, sentence
from xai.dashboard.work import Model, sentences

_USUAL, _MOST = 1000, 5000  # pictures
_AUTO = "auto"


def choose_plan(model: Model) -> Plan:
    """Let the user choose ordinary and foreign pictures and a method."""
    names = with_parts(names_for(model))
    first = next((name for name in names if "train" in name), names[0])
    second = next((name for name in names if name.partition("@")[0] != first.partition("@")[0]), first)
    fit = st.selectbox(
        t("Learn from"), names, names.index(first), key="fit", help=t("Ordinary pictures."), bind="query-params"
    )
    ordinary = st.selectbox(
        t("Calibrate on"),
        names,
        names.index(second),
        key="ordinary",
        help=t(
            "Other ordinary pictures, which the network was not trained on. Half of those drawn "
            "calibrate, the other half is kept back to see what happens."
        ),
        bind="query-params",
    )
    shifts = xai.OODDetector.SHIFTS
    strange = [name for name in offered() if name not in names]
    foreign = st.selectbox(
        t("Foreign pictures"),
        [*strange, *shifts],
        format_func=lambda name: t("made of ordinary ones: {name}", name=told(name)) if name in shifts else name,
        key="foreign",
        bind="query-params",
    )
    count, seed = choose_size(t("How many of each"), "each", _USUAL, _MOST)
    method = _choose_method()
    with sentences(), st.spinner(t("Drawing pictures …")):
        learnt, calibration, test = _ordinary(fit, ordinary, count, seed)
        others = None if foreign in shifts else draw(foreign, count, seed)
        st.caption(
            t(
                "{count} to learn from, {count_2} to calibrate, {count_3} kept back.",
                count=len(learnt.data),
                count_2=len(calibration.data),
                count_3=len(test.data),
            )
        )
    return Plan(learnt, calibration, test, others, foreign if foreign in shifts else "", method)


def _choose_method() -> str:
    infos = {info.name: info for info in xai.methods(kind="detector")}
    method: str = st.selectbox(
        t("Method"),
        [_AUTO, *infos],
        format_func=lambda name: told(infos[name].title) if name in infos else t("chosen for this network"),
        key="detector",
        help=t("The choice tries all methods on shifts of a third of the pictures that calibrate."),
        bind="query-params",
    )
    return method


def _ordinary(fit: str, ordinary: str, count: int, seed: int) -> tuple[Sample, Sample, Sample]:
    """Return pictures to learn from, to calibrate on and to keep back, none of which is in two of them."""
    if fit == ordinary:
        whole = draw(fit, 2 * count, seed)
        learnt, rest = whole.every(2, 0), whole.every(2, 1)
    else:
        learnt, rest = draw(fit, count, seed), draw(ordinary, count, seed)
    return learnt, rest.every(2, 0), rest.every(2, 1)


def detect(model: Model, plan: Plan) -> list[Job]:
    """Let the user fit a detector and look at what it says; return what is still to be done."""
    job = to_detect(model, plan, st.container())
    if not asked_for(
        job, t("Fit a detector"), t("About {rows} pictures go through the network", rows=job.rows), first=True
    ):
        return []
    found = result_of(job)
    if found is None:
        return [job]
    alpha, opened = show_boundary(model, found)
    st.markdown(t("**One picture**"))
    picture = upload_picture("odd") or opened
    jobs = [job, *show_judged(model, found, picture, alpha)]
    jobs += _show_methods(model, found)
    _downloads(found)
    code = ("print(d.table, d.notes, d.guarantee(alpha=0.05).sentence)", "print(d.judge(test), d.judge(foreign))")
    show_script(model, *plan.code, *code)
    return jobs


def _show_methods(model: Model, found: Detection) -> list[Job]:
    """Say why the method was chosen, and let the user compare all on the foreign pictures."""
    detector = found.detector
    st.markdown(
        t(
            "**The method: {title}** ({label})",
            title=safe(told(detector.fitted.detector.title)),
            label=safe(detector.fitted.detector.label),
        )
    )
    st.markdown("\n".join(f"- {safe(sentence(note), 800)}" for note in detector.notes))
    if detector.table is not None and len(detector.table):
        assert detector.choice is not None
        with st.expander(t("What each method reached on shifts of your pictures"), icon=":material/table:"):
            _table(detector.table, detector.choice.chosen, t("AUROC of each method on shifts of ordinary pictures"))
    job = to_compare_methods(model, found, st.container())
    if not asked_for(job, t("Compare all methods on these pictures"), t("{rows} rows, and some twice", rows=job.rows)):
        return []
    compared = result_of(job)
    if compared is not None:
        _show_comparison(compared, detector)
    return [job]


def _show_comparison(compared: xai.OODComparison, detector: xai.OODDetector) -> None:
    names = ["method", "auroc", "auroc_low", "auroc_high", "fpr_ood_accepted@95id", "fpr_id_rejected@95ood"]
    rows = compared.table[[*names, "against_msp"]]
    _table(
        rows, detector.fitted.detector.label, t("All methods on ordinary and these foreign pictures, the best first")
    )
    st.caption(
        t(
            "AUROC with its 95 % interval; share of foreign pictures accepted where 95 % of the "
            "ordinary ones are kept; share of ordinary ones rejected where 95 % of the foreign "
            "ones are caught; the paired test against MSP."
        )
    )


def _table(rows: pd.DataFrame, chosen: str, alt: str) -> None:
    """Show a table of methods, the chosen one marked."""
    marks = ["\N{BLACK RIGHT-POINTING TRIANGLE}" if name == chosen else "" for name in rows["method"]]
    numbers = [str(name) for name in rows.select_dtypes("float")]
    config = dict.fromkeys(numbers, st.column_config.NumberColumn(format="%.3f"))
    show_frame(rows.assign(chosen=marks)[["chosen", *rows]], alt, (), config)


def _downloads(found: Detection) -> None:
    stem = file_stem(str(found.detector.model["name"]), "ood", found.detector.method)
    with st.container(horizontal=True):
        tip = t("A folder that xai.OODDetector.load reads back")
        offer(t("Detector (.zip)"), lambda: whole_zip(found.detector), f"{stem}.zip", "application/zip", "ood_zip", tip)
        offer(t("Verdicts (.csv)"), lambda: _csv(found), f"{stem}.csv", "text/csv", "ood_csv", t("A line per picture"))


def _csv(found: Detection) -> bytes:
    pair: Sequence[tuple[str, xai.Judgement]] = (("ordinary", found.inside), ("foreign", found.outside))
    return pd.concat([one.table.assign(set=name) for name, one in pair]).to_csv(index=False).encode()
