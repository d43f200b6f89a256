"""The page "Stress", certificates: how far the prediction to one image is guaranteed."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

import xai
from xai.dashboard import charts
from xai.dashboard import widgets as ui
from xai.dashboard.pages.stress.certificates import (
    CertificateRequest,
    CertifiedReach,
    LogitBounds,
    bounds_job,
    certificate_job,
    reach_job,
    supported_job,
)
from xai.dashboard.session import Job, SharedModel, SourceImage
from xai.dashboard.text import eps_code, file_stem, m, number_text, radius, safe, t

METHODS = {
    "auto": m("Step by step"),
    "ibp": "IBP",
    "crown_ibp": "CROWN-IBP",
    "crown": "CROWN",
    "smoothing": m("Smoothing"),
}
_ABOUT = {
    "auto": m("IBP, then CROWN-IBP, then CROWN, until one certifies the prediction."),
    "ibp": m("Interval bound propagation: two passes, and the loosest bounds."),
    "crown_ibp": m("Linear bounds over intervals: one backward pass per class."),
    "crown": m("Linear bounds of every layer: the tightest here, and slow for large models."),
    "smoothing": m("Randomised smoothing: a guarantee from predictions of noisy copies, for any model."),
}
NOISE = {"sigma": 0.25, "samples": 1000, "first": 100, "alpha": 0.001}  # what xai.certify takes by default
_ABOUT_NOISE = {
    "sigma": m("sigma of the noise"),
    "samples": m("noisy copies to estimate with"),
    "first": m("noisy copies to choose with"),
    "alpha": m("error probability (alpha)"),
}
_LARGEST = {"linf": 16, "l2": 2, "l1": 32}  # linf in 1/255
_CHOSEN = {"linf": 1.0, "l2": 0.25, "l1": 2.0}
_AT_ONCE = 2000  # rows up to which a certificate is not asked for by a button
_SHOWN = 12  # classes of a chart


def certify_prediction(model: SharedModel, image: SourceImage, prediction: xai.results.Prediction) -> list[Job]:
    """Let the user certify the prediction; return what is still to be done."""
    request = _choose()
    if not request.smooths and ui.result_of(supported_job(model, image, st.container())) is None:
        st.button(t("Certify by smoothing"), key="take_smoothing", on_click=_smooth, icon=":material/blur_on:")
        return []
    job = certificate_job(model, image, request, st.container())

    def show(result: xai.results.Certificate) -> list[Job]:
        (_show_smoothed if request.smooths else _show_verdict)(result, request, prediction)
        jobs = [] if request.smooths else _show_bounds(model, image, request, result, prediction)
        ui.show_notes(result.notes)
        ui.show_downloads(result, "certificate", file_stem(model.name, "certificate", request.method, request.norm))
        _code(model, image, request, result)
        return jobs

    if job.rows > _AT_ONCE:
        return ui.ask(job, t("Certify"), t("About {rows} rows of 28 x 28 pixels", rows=job.rows), show)
    result = ui.result_of(job)
    return [job] if result is None else [job, *show(result)]


def _choose() -> CertificateRequest:
    first, second = st.columns([1.5, 1.1])
    norm = ui.choose_norm("certificate_norm", second)
    able = [name for name in METHODS if name != "smoothing" or norm == "l2"]
    method = first.selectbox(
        t("Certificate"),
        able,
        format_func=lambda name: t(METHODS[name]),
        key="certificate",
        help=t("Smoothing takes the norm l2, and any model; the others bound the outputs of each layer."),
        bind="query-params",
    )
    tip = t("Radius of the ball in which no perturbation may change the prediction.")
    eps = ui.choose_eps(norm, "certificate_eps", _LARGEST, _CHOSEN, tip)
    st.caption(t(_ABOUT[method]))
    if method != "smoothing":
        return CertificateRequest(method, norm, eps, 0, {})
    with st.expander(t("Settings of {title}", title=t(METHODS[method])), icon=":material/tune:"):
        settings = ui.choose_settings(NOISE, "smoothing", _ABOUT_NOISE)
        seed = ui.choose_seed("certificate_seed")
    return CertificateRequest(method, norm, eps, seed, settings)


def _smooth() -> None:
    st.session_state["certificate_norm"], st.session_state["certificate"] = "l2", "smoothing"


def _show_verdict(
    result: xai.results.Certificate, request: CertificateRequest, prediction: xai.results.Prediction
) -> None:
    """Say whether the prediction is certified, and by how much."""
    names, margins = prediction.class_names, result.margins[0].nan_to_num(nan=np.inf)
    words = {
        "label": safe(names[prediction.index]),
        "other": safe(names[int(margins.argmin())]),
        "margin": number_text(float(result.margin[0])),
        "size": ui.within_ball(request.eps, request.norm),
        "method": METHODS[result.decided_by[0] or _last(request.method)],
    }
    if bool(result.verified[0]):
        text = t(
            "**Certified** by {method}: as long as {size}, the prediction stays **{label}**. The "
            "closest other class is {other}; the lower bound of the margin is {margin}.",
            **words,
        )
        st.success(text, icon=":material/verified:")
        return
    text = t(
        "**Not certified** by {method}: while {size}, the lower bound of the margin (logit of **{label}** minus that "
        "of {other}) is {margin}, and a certificate needs more than 0. That is no adversarial example: a tighter "
        "method may still certify the prediction, an attack may still change it.",
        **words,
    )
    st.warning(text, icon=":material/help:")


def _last(method: str) -> str:
    return "crown" if method == "auto" else method


def _show_smoothed(
    result: xai.results.Certificate, request: CertificateRequest, prediction: xai.results.Prediction
) -> None:
    """Say what the smoothed model answers, and how far that is certain."""
    predicted, label = int(result.predictions[0]), safe(prediction.label)
    if predicted < 0:
        text = t("**Not certified**: too few of the noisy copies agree, so the smoothed model makes no prediction.")
    elif predicted != prediction.index:
        text = t(
            "**Not certified**: for most noisy copies the model predicts **{other}**, not **{label}**.",
            other=safe(prediction.class_names[predicted]),
            label=label,
        )
    else:
        reach = radius(float(result.margin[0]) + request.eps, "l2")
        words = {"label": label, "reach": reach, "eps": radius(request.eps, "l2"), "alpha": result.settings["alpha"]}
        text = (
            t(
                "**Certified**, with an error probability of at most {alpha:g}: the smoothed model "
                "predicts **{label}** up to an l2 norm of {reach}; {eps} was requested.",
                **words,
            )
            if bool(result.verified[0])
            else t(
                "**Not certified**: the smoothed model predicts **{label}**, but with certainty only up "
                "to an l2 norm of {reach}; {eps} was requested (error probability at most {alpha:g}).",
                **words,
            )
        )
    good = bool(result.verified[0])
    (st.success if good else st.warning)(text, icon=":material/verified:" if good else ":material/help:")


def _show_bounds(
    model: SharedModel,
    image: SourceImage,
    request: CertificateRequest,
    result: xai.results.Certificate,
    prediction: xai.results.Prediction,
) -> list[Job]:
    """Show what the logits can become, the margins, and how far the certificate reaches; return what is to do."""
    jobs, bounded = [], None
    if request.norm == "linf":
        method = result.decided_by[0] or _last(request.method)
        jobs.append(bounds_job(model, image, method, request.eps, st.container()))
        bounded = ui.result_of(jobs[0])
        if bounded is not None:
            _show_logits(bounded, prediction, verified=bool(result.verified[0]))
    _show_margins(result, prediction)
    jobs += _show_reach(model, image, request)
    _show_table(model, result, bounded, prediction)
    return jobs


def _show_logits(bounded: LogitBounds, prediction: xai.results.Prediction, *, verified: bool) -> None:
    predicted = prediction.index
    others = [k for k in np.argsort(-bounded.high) if k != predicted]
    words = {
        "label": safe(prediction.label),
        "other": safe(prediction.class_names[others[0]]),
        "low": number_text(float(bounded.low[predicted])),
        "high": number_text(float(bounded.high[others[0]])),
    }
    st.markdown(t("**Bounds of each logit** ({method})", method=METHODS[bounded.method]))
    if bounded.low[predicted] > bounded.high[others[0]]:
        text = t(
            "The lower bound of {label}, {low}, is above the upper bounds of all other classes; the largest "
            "is {high} of {other}.",
            **words,
        )
    elif verified:
        text = t(
            "The lower bound of {label}, {low}, is below the upper bound of {other}, {high}, and still the prediction "
            "is certified: the certificate bounds the difference of two logits, which is tighter than a bound of each.",
            **words,
        )
    else:
        text = t("The lower bound of {label}, {low}, is below the upper bound of {other}, {high}.", **words)
    st.markdown(text)
    shown = [predicted, *others[: _SHOWN - 1]]
    rows = [_span(prediction, k, bounded.low[k], bounded.high[k], bounded.clean[k]) for k in shown]
    ui.show_chart(charts.spans(rows, float(bounded.low[predicted]), t("logit")), "logit_bounds", text)
    st.caption(
        t(
            "Bars: from the lower to the upper bound. Points: the clean image. Dashed: the lower bound of the "
            "predicted class."
        )
    )


def _span(prediction: xai.results.Prediction, k: int, low: float, high: float, clean: float) -> dict[str, Any]:
    own = k == prediction.index
    name = t("{label} (predicted)", label=prediction.class_names[k]) if own else prediction.class_names[k]
    return {"class": name, "low": float(low), "high": float(high), "clean": float(clean), "own": own}


def _show_margins(result: xai.results.Certificate, prediction: xai.results.Prediction) -> None:
    """Show for each other class by how much the prediction stays ahead."""
    certified, clean = result.margins[0].numpy(), _margins(prediction)
    order = np.argsort(np.where(np.isnan(certified), np.inf, certified))[: min(_SHOWN, len(certified) - 1)]
    below = int((certified <= 0).sum())
    st.markdown(t("**Margin of {label} over each other class**", label=safe(prediction.label)))
    if below:
        text = t(
            "{below} of {count} classes may overtake it according to the bounds.", below=below, count=len(certified) - 1
        )
    else:
        text = t("No other class can overtake it ({count} classes).", count=len(certified) - 1)
    st.markdown(text)
    rows = [_span(prediction, int(k), certified[k], clean[k], clean[k]) for k in order]
    ui.show_chart(charts.spans(rows, 0.0, t("difference of logits")), "margin_bounds", text)
    st.caption(
        t(
            "Bars: from the certified lower bound to the clean image; the smallest margin in the ball is in "
            "between. Dashed: 0."
        )
    )


def _margins(prediction: xai.results.Prediction) -> np.ndarray:
    """Return logit of the prediction minus each logit (K,)."""
    logits = prediction.logits[0].double().numpy()
    result: np.ndarray = logits[prediction.index] - logits
    return result


def _show_reach(model: SharedModel, image: SourceImage, request: CertificateRequest) -> list[Job]:
    """Say, when requested, up to which radius the prediction is certified."""
    job = reach_job(model, image, request, st.container())
    tip = t("The same certificate at a few radii, about {rows} rows of 28 x 28 pixels", rows=job.rows)

    def show(result: CertifiedReach) -> None:
        st.markdown(_reached(result, request.norm))

    return ui.ask(job, t("Find the largest certified radius"), tip, show, first=False)


def _reached(result: CertifiedReach, norm: str) -> str:
    if result.certified is None:
        return t("Not certified even at the smallest radius tried, {open}.", open=radius(result.open or 0.0, norm))
    certified = radius(result.certified, norm)
    if result.open is None:
        return t("Certified up to **{certified}**, the largest radius tried.", certified=certified)
    return t(
        "Certified up to **{certified}**; not certified at {open}, the next radius tried.",
        certified=certified,
        open=radius(result.open, norm),
    )


def _show_table(
    model: SharedModel, result: xai.results.Certificate, bounded: LogitBounds | None, prediction: xai.results.Prediction
) -> None:
    """Show the figures of all classes, and offer them."""
    rows = {"class": list(prediction.class_names), "clean_logit": prediction.logits[0].double().numpy()}
    if bounded is not None:
        rows |= {"lower_bound": bounded.low, "upper_bound": bounded.high}
    table = pd.DataFrame(rows | {"clean_margin": _margins(prediction), "certified_margin": result.margins[0].numpy()})
    with st.expander(t("Table"), icon=":material/table:"):
        ui.show_frame(table, t("Logits, their bounds and the margins of all classes"))
        file = ui.csv_file(table, t("Table"), t("A line per class"))
        stem = file_stem(model.name, "certificate", result.method, result.norm)
        ui.offer_download(file.label, file.make, f"{stem}.csv", "certificate_csv", file.tip)


def _code(model: SharedModel, image: SourceImage, request: CertificateRequest, result: xai.results.Certificate) -> None:
    eps = eps_code(request.eps, request.norm)
    arguments = ", ".join(f"{name}={value!r}" for name, value in request.arguments.items())
    method = result.decided_by[0] or _last(request.method)
    ends = f"(clean - {eps}).clamp(0, 1), (clean + {eps}).clamp(0, 1)"
    ui.show_script(
        model,
        f"clean = clf.prepare({image.code}).inputs",
        f"c = xai.certify(clf, clean, clf.predict(clean).index, eps={eps}, {arguments})",
        "print(c.verified, c.margin)",
        *((f"print(xai.output_bounds(clf, {ends}, {method!r}))",) if request.norm == "linf" else ()),
    )
