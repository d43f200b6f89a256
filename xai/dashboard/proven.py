"""The page "Stress", proofs: how far the answer to one picture is guaranteed."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

import xai
from xai.dashboard.balls import choose_eps, choose_norm, eps_code, within
from xai.dashboard.charts import draw, spans
from xai.dashboard.files import whole_zip
from xai.dashboard.frames import show_frame
from xai.dashboard.jobs import Job, asked_for, result_of
from xai.dashboard.knobs import choose_settings
from xai.dashboard.language import m, t
from xai.dashboard.offers import offer
from xai.dashboard.pictures import Picture
from xai.dashboard.proofs import Bounded, Proof, Reach, to_bound, to_prove, to_reach, to_try_bounds
from xai.dashboard.script import show_script
from xai.dashboard.words import figure, file_stem, radius, safe, sentence
from xai.dashboard.work import Model

METHODS = {
    "auto": m("Step by step"),
    "ibp": "IBP",
    "crown_ibp": "CROWN-IBP",
    "crown": "CROWN",
    "smoothing": m("Smoothing"),
}
_ABOUT = {
    "auto": m("IBP, then CROWN-IBP, then CROWN, until one proves the answer."),
    "ibp": m("Interval bound propagation: two passes, and the loosest bounds."),
    "crown_ibp": m("Linear bounds over intervals: one backward pass per class."),
    "crown": m("Linear bounds of every layer: the tightest here, and slow for large networks."),
    "smoothing": m("Randomised smoothing: a statement about the answers to noisy copies, for any network."),
}
NOISE = {"sigma": 0.25, "samples": 1000, "first": 100, "alpha": 0.001}  # what xai.certify takes by default
_ABOUT_NOISE = {
    "sigma": m("sigma of the noise"),
    "samples": m("noisy copies to estimate with"),
    "first": m("noisy copies to choose with"),
    "alpha": m("chance of being wrong (alpha)"),
}
_LARGEST = {"linf": 16, "l2": 2, "l1": 32}  # linf in 1/255
_CHOSEN = {"linf": 1.0, "l2": 0.25, "l1": 2.0}
_AT_ONCE = 2000  # rows up to which a proof is not asked for by a button
_SHOWN = 12  # classes of a chart


def prove(model: Model, picture: Picture, prediction: xai.Prediction) -> list[Job]:
    """Let the user prove that an answer holds; return what is still to be done."""
    proof = _choose()
    if proof.method != "smoothing" and result_of(to_try_bounds(model, picture, st.container())) is None:
        st.button(t("Prove by smoothing"), key="take_smoothing", on_click=_smooth, icon=":material/blur_on:")
        return []
    job = to_prove(model, picture, proof, st.container())
    tip = t("About {rows} rows of 28 x 28 pixels", rows=job.rows)
    if job.rows > _AT_ONCE and not asked_for(job, t("Prove"), tip, first=True):
        return []
    found = result_of(job)
    if found is None:
        return [job]
    (_show_smoothed if proof.method == "smoothing" else _show_verdict)(found, proof, prediction)
    jobs = [] if proof.method == "smoothing" else _show_bounds(model, picture, proof, found, prediction)
    for note in found.notes:
        st.caption(safe(sentence(note)))
    tip = t("A folder that xai.Certificate.load reads back")
    name = f"{file_stem(model.name, 'proof', proof.method, proof.norm)}.zip"
    offer(t("Everything (.zip)"), lambda: whole_zip(found), name, "application/zip", "proof_zip", tip)
    _code(model, picture, proof, found)
    return [job, *jobs]


def _choose() -> Proof:
    first, second = st.columns([1.5, 1.1])
    norm = choose_norm("proof_norm", second)
    able = [name for name in METHODS if name != "smoothing" or norm == "l2"]
    method = first.selectbox(
        t("Proof"),
        able,
        format_func=lambda name: t(METHODS[name]),
        key="proof",
        help=t("Smoothing takes the norm l2, and any network; the others bound what each layer can answer."),
        bind="query-params",
    )
    tip = t("Radius of the ball in which no change may take the answer away.")
    eps = choose_eps(norm, "proof_eps", _LARGEST, _CHOSEN, tip)
    st.caption(t(_ABOUT[method]))
    if method != "smoothing":
        return Proof(method, norm, eps, 0, {})
    with st.expander(t("Settings of {title}", title=t(METHODS[method])), icon=":material/tune:"):
        settings = choose_settings(NOISE, "smoothing", _ABOUT_NOISE)
        seed = int(st.number_input(t("Seed"), 0, 2**31 - 1, 0, key="proof_seed", bind="query-params"))
    return Proof(method, norm, eps, seed, settings)


def _smooth() -> None:
    st.session_state["proof_norm"], st.session_state["proof"] = "l2", "smoothing"


def _show_verdict(found: xai.Certificate, proof: Proof, prediction: xai.Prediction) -> None:
    """Say whether the answer is proven, and by how much."""
    names, margins = prediction.labels, found.margins[0].nan_to_num(nan=np.inf)
    words = {
        "label": safe(names[prediction.index]),
        "other": safe(names[int(margins.argmin())]),
        "margin": figure(float(found.margin[0])),
        "size": within(proof.eps, proof.norm),
        "method": METHODS[found.decided_by[0] or _last(proof.method)],
    }
    if bool(found.verified[0]):
        text = t(
            "**Proven** by {method}: as long as {size}, the answer stays **{label}**. Of all other classes {other} "
            "comes nearest, and its logit stays at least {margin} below.",
            **words,
        )
        st.success(text, icon=":material/verified:")
        return
    text = t(
        "**Not proven** by {method}: while {size}, the logit of **{label}** less that of {other} is only known to stay "
        "above {margin}, and a proof needs more than 0. That is no counterexample: a tighter method may still prove "
        "the answer, an attack may still break it.",
        **words,
    )
    st.warning(text, icon=":material/help:")


def _last(method: str) -> str:
    return "crown" if method == "auto" else method


def _show_smoothed(found: xai.Certificate, proof: Proof, prediction: xai.Prediction) -> None:
    """Say what the smoothed network answers, and how far that is certain."""
    answer, label = int(found.predictions[0]), safe(prediction.label)
    if answer < 0:
        text = t("**Not proven**: too few of the noisy copies agree, so that the smoothed network gives no answer.")
    elif answer != prediction.index:
        text = t(
            "**Not proven**: to noisy copies the network mostly answers **{other}**, not **{label}**.",
            other=safe(prediction.labels[answer]),
            label=label,
        )
    else:
        reach = radius(float(found.margin[0]) + proof.eps, "l2")
        words = {"label": label, "reach": reach, "eps": radius(proof.eps, "l2"), "alpha": found.settings["alpha"]}
        text = (
            t(
                "**Proven**, wrong with a chance of at most {alpha:g}: the smoothed network answers **{label}** up to "
                "an l2 length of {reach}, and {eps} was asked for.",
                **words,
            )
            if bool(found.verified[0])
            else t(
                "**Not proven**: the smoothed network answers **{label}**, but for certain only up to an l2 length "
                "of {reach}, and {eps} was asked for (chance of being wrong: at most {alpha:g}).",
                **words,
            )
        )
    good = bool(found.verified[0])
    (st.success if good else st.warning)(text, icon=":material/verified:" if good else ":material/help:")


def _show_bounds(
    model: Model, picture: Picture, proof: Proof, found: xai.Certificate, prediction: xai.Prediction
) -> list[Job]:
    """Show what the logits can become, the margins, and how far the proof reaches; return what is to do."""
    jobs, bounded = [], None
    if proof.norm == "linf":
        method = found.decided_by[0] or _last(proof.method)
        jobs.append(to_bound(model, picture, method, proof.eps, st.container()))
        bounded = result_of(jobs[0])
        if bounded is not None:
            _show_logits(bounded, prediction, verified=bool(found.verified[0]))
    _show_margins(found, prediction)
    jobs += _show_reach(model, picture, proof)
    _show_table(model, found, bounded, prediction)
    return jobs


def _show_logits(bounded: Bounded, prediction: xai.Prediction, *, verified: bool) -> None:
    answer = prediction.index
    others = [k for k in np.argsort(-bounded.high) if k != answer]
    words = {
        "label": safe(prediction.label),
        "other": safe(prediction.labels[others[0]]),
        "low": figure(float(bounded.low[answer])),
        "high": figure(float(bounded.high[others[0]])),
    }
    st.markdown(t("**What each logit can become** ({method})", method=METHODS[bounded.method]))
    if bounded.low[answer] > bounded.high[others[0]]:
        said = t("The lowest of {label}, {low}, is above the highest of all others, {high} of {other}.", **words)
    elif verified:
        said = t(
            "The lowest of {label}, {low}, is below the highest of {other}, {high}, and still the answer is proven: "
            "the proof bounds the difference of two logits, which is tighter than a bound of each.",
            **words,
        )
    else:
        said = t("The lowest of {label}, {low}, is below the highest of {other}, {high}.", **words)
    st.markdown(said)
    shown = [answer, *others[: _SHOWN - 1]]
    rows = [_span(prediction, k, bounded.low[k], bounded.high[k], bounded.clean[k]) for k in shown]
    draw(spans(rows, float(bounded.low[answer]), t("logit")), "logit_bounds", said)
    st.caption(
        t("Bars: from the lower to the upper bound. Points: the clean picture. Dashed: the lowest of the answer.")
    )


def _span(prediction: xai.Prediction, k: int, low: float, high: float, clean: float) -> dict[str, Any]:
    own = k == prediction.index
    name = t("{label} (the answer)", label=prediction.labels[k]) if own else prediction.labels[k]
    return {"class": name, "low": float(low), "high": float(high), "clean": float(clean), "own": own}


def _show_margins(found: xai.Certificate, prediction: xai.Prediction) -> None:
    """Show for each other class by how much the answer stays ahead."""
    proven, clean = found.margins[0].numpy(), _margins(prediction)
    order = np.argsort(np.where(np.isnan(proven), np.inf, proven))[: min(_SHOWN, len(proven) - 1)]
    below = int((proven <= 0).sum())
    st.markdown(t("**By how much {label} stays ahead of each other class**", label=safe(prediction.label)))
    if below:
        said = t("{below} of {count} classes may come ahead as far as is proven.", below=below, count=len(proven) - 1)
    else:
        said = t("None of {count} other classes can come ahead.", count=len(proven) - 1)
    st.markdown(said)
    rows = [_span(prediction, int(k), proven[k], clean[k], clean[k]) for k in order]
    draw(spans(rows, 0.0, t("difference of logits")), "margin_bounds", said)
    st.caption(
        t("Bars: from what is proven to the clean picture; the least difference in the ball is in between. Dashed: 0.")
    )


def _margins(prediction: xai.Prediction) -> np.ndarray:
    """Return logit of the answer less each logit (K,)."""
    logits = prediction.logits[0].double().numpy()
    found: np.ndarray = logits[prediction.index] - logits
    return found


def _show_reach(model: Model, picture: Picture, proof: Proof) -> list[Job]:
    """Say, when asked, up to which radius the proof reaches."""
    job = to_reach(model, picture, proof, st.container())
    tip = t("The same proof at a few radii, about {rows} rows of 28 x 28 pixels", rows=job.rows)
    if not asked_for(job, t("Look for the largest proven radius"), tip):
        return []
    found: Reach | None = result_of(job)
    if found is not None:
        st.markdown(_reached(found, proof.norm))
    return [job]


def _reached(found: Reach, norm: str) -> str:
    if found.proven is None:
        return t("Not even the smallest radius tried, {open}, is proven.", open=radius(found.open or 0.0, norm))
    proven = radius(found.proven, norm)
    if found.open is None:
        return t("Proven up to **{proven}**, the largest radius tried.", proven=proven)
    return t(
        "Proven up to **{proven}**; {open}, the next radius tried, is not.",
        proven=proven,
        open=radius(found.open, norm),
    )


def _show_table(model: Model, found: xai.Certificate, bounded: Bounded | None, prediction: xai.Prediction) -> None:
    """Show the figures of all classes, and offer them."""
    rows = {"class": list(prediction.labels), "clean_logit": prediction.logits[0].double().numpy()}
    if bounded is not None:
        rows |= {"lower_bound": bounded.low, "upper_bound": bounded.high}
    table = pd.DataFrame(rows | {"clean_margin": _margins(prediction), "proven_margin": found.margins[0].numpy()})
    with st.expander(t("Table"), icon=":material/table:"):
        show_frame(table, t("Logits, their bounds and the margins of all classes"))
        name = f"{file_stem(model.name, 'proof', found.method, found.norm)}.csv"
        csv = table.to_csv(index=False).encode
        offer(t("Table (.csv)"), csv, name, "text/csv", "proof_csv", t("A line per class"))


def _code(model: Model, picture: Picture, proof: Proof, found: xai.Certificate) -> None:
    eps = eps_code(proof.eps, proof.norm)
    asked = ", ".join(f"{name}={value!r}" for name, value in proof.asked.items())
    method = found.decided_by[0] or _last(proof.method)
    ends = f"(clean - {eps}).clamp(0, 1), (clean + {eps}).clamp(0, 1)"
    show_script(
        model,
        f"clean = clf.prepare({picture.code}).inputs",
        f"c = xai.certify(clf, clean, clf.predict(clean).index, eps={eps}, {asked})",
        "print(c.verified, c.margin)",
        *((f"print(xai.output_bounds(clf, {ends}, {method!r}))",) if proof.norm == "linf" else ()),
    )
