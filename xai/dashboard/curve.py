"""The page "Robustness", attacks and proofs: robust accuracy of a data set over radii."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

import xai
from xai.dashboard.balls import choose_norm, eps_code
from xai.dashboard.charts import draw, robust_accuracy
from xai.dashboard.evidence import pick, show_evidence
from xai.dashboard.files import whole_zip
from xai.dashboard.jobs import Job, asked_for, result_of
from xai.dashboard.language import t, told
from xai.dashboard.offers import offer
from xai.dashboard.script import show_script
from xai.dashboard.sets import Sample, to_curve
from xai.dashboard.trust import show_trust
from xai.dashboard.words import file_stem, interval, radius, safe
from xai.dashboard.work import Model, sentences

_RADII = {
    "linf": "1/255, 2/255, 4/255, 8/255, 16/255",
    "l2": "0.1, 0.25, 0.5, 1, 2",
    "l1": "1, 3, 6, 12, 24",
}
_PROOFS = {"ibp": "IBP", "crown_ibp": "CROWN-IBP", "crown": "CROWN"}


def measure_curve(model: Model, sample: Sample) -> list[Job]:
    """Let the user measure robust accuracy over radii; return what is still to be done."""
    first, second, third = st.columns([1, 2, 1])
    norm = choose_norm("curve_norm", first)
    text = second.text_input(t("Radii"), _RADII[norm], key=f"radii_{norm}", bind="query-params")
    budget = int(
        third.number_input(
            t("Budget (seconds)"), 0, 36_000, 60, 30, key="budget", help=t("0: no limit"), bind="query-params"
        )
    )
    with sentences():
        asked = {"eps": radii(text), "norm": norm, "budget": budget or None, **_choose_stages(norm)}
    job = to_curve(model, sample, asked, st.container())
    tip = (
        t("Up to {budget} seconds, and the checks of the evaluation after that", budget=budget)
        if budget
        else t("As long as it takes: no limit of time is set")
    )
    if not asked_for(job, t("Measure the robust accuracy"), tip, first=True):
        return []
    found = result_of(job)
    if found is not None:
        _show(model, sample, found, asked)
    return [job]


def _choose_stages(norm: str) -> dict[str, Any]:
    """Let the user choose attacks, proofs, seed and checks; return what is not the default."""
    infos = {info.name: info for info in xai.methods(kind="attack") if norm in info.norms}
    key = f"curve_attacks_{norm}"  # another norm has other attacks
    with st.expander(t("Attacks, proofs and seed"), icon=":material/tune:"):
        attacks = st.multiselect(
            t("Attacks, cheapest first"),
            list(infos),
            format_func=lambda name: told(infos[name].title),
            key=key,
            placeholder=t("FGSM, PGD, APGD-CE, APGD-T and Square, shortened"),
            bind="query-params",
        )
        proofs = st.pills(
            t("Proofs"),
            list(_PROOFS),
            selection_mode="multi",
            default=list(_PROOFS),
            format_func=_PROOFS.__getitem__,
            key="curve_proofs",
            bind="query-params",
        )
        left, right = st.columns(2, vertical_alignment="bottom")
        seed = int(left.number_input(t("Seed"), 0, 2**31 - 1, 0, key="curve_seed", bind="query-params"))
        trust = right.toggle(t("Check the evaluation itself"), True, key="curve_trust", bind="query-params")
    ordered = sorted(attacks, key=lambda name: infos[name].forward)
    asked = {"attacks": tuple(ordered) or None, "seed": seed, "trust": trust}
    if len(proofs) < len(_PROOFS):
        asked["proofs"] = tuple(name for name in _PROOFS if name in proofs)
    usual = {"attacks": None, "seed": 0, "trust": True}
    return {name: value for name, value in asked.items() if name not in usual or value != usual[name]}


def radii(text: str) -> tuple[float, ...]:
    """Return numbers written as "1/255, 0.03".

    Raises:
        InputError: something else.
    """
    try:
        parts = [part.partition("/") for part in text.replace(";", ",").split(",") if part.strip()]
        return tuple(float(top) / float(bottom or 1) for top, _, bottom in parts)
    except (ValueError, ZeroDivisionError):
        raise xai.InputError(f"Expected radii such as 1/255, 8/255 or 0.03, but got {text!r}.") from None


def _show(model: Model, sample: Sample, found: xai.RobustnessCurve, asked: Mapping[str, Any]) -> None:
    if found.trust is not None:
        show_trust(found.trust)
    said = _said(found)
    st.markdown(said)
    draw(robust_accuracy(found), "curve", said, pick)
    st.caption(t("Bars: 95 % intervals over the draw of pictures. Click a point to see its pictures."))
    if found.notes:
        st.caption("\n".join(f"- {safe(told(note))}" for note in found.notes))
    show_evidence(sample, found)
    _downloads(found)
    eps = ", ".join(eps_code(e, found.norm) for e in found.eps)
    rest = ", ".join(f"{name}={value!r}" for name, value in asked.items() if name != "eps")
    show_script(
        model,
        f"data = {sample.code}",
        f"curve = xai.robustness(clf, data{sample.code_of_truth(model)}, eps=[{eps}], {rest})",
        "print(curve.table, curve.trust)",
        "curve.plot()",
    )


def _said(found: xai.RobustnessCurve) -> str:
    """Say the end of the curve in a sentence."""
    spans, last = found.intervals, radius(found.eps[-1], found.norm)
    clean, attacked, certified = (
        interval(float(share), *map(float, span))
        for share, span in (
            (found.clean, spans["clean"]),
            (found.attacked[-1], spans["attacked"][-1]),
            (found.certified[-1], spans["certified"][-1]),
        )
    )
    return t(
        "{clean} of {count} pictures are right without any change. At {last}, attacks leave "
        "{attacked} and proofs guarantee {certified}; the truth lies between.",
        clean=clean,
        count=len(found),
        last=last,
        attacked=attacked,
        certified=certified,
    )


def _downloads(found: xai.RobustnessCurve) -> None:
    stem = file_stem(str(found.model["name"]), "robustness", found.norm)
    with st.container(horizontal=True):
        offer(t("Picture (.png)"), found.png, f"{stem}.png", "image/png", "curve_png", t("The curve with its gap"))
        offer(
            t("Table (.csv)"), lambda: _csv(found.table), f"{stem}.csv", "text/csv", "curve_csv", t("A line per radius")
        )
        tip = t("A folder that xai.RobustnessCurve.load reads back, counterexamples included")
        offer(t("Everything (.zip)"), lambda: whole_zip(found), f"{stem}.zip", "application/zip", "curve_zip", tip)


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False).encode()
