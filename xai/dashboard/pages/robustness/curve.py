"""The page "Robustness", attacks and certificates: accuracy over radii, and the images behind it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

import xai
from xai.dashboard import charts
from xai.dashboard import widgets as ui
from xai.dashboard.session import DataSample, Job, SharedModel, curve_job
from xai.dashboard.text import (
    bullets,
    eps_code,
    file_stem,
    interval,
    m,
    radius,
    safe,
    sentence,
    size_of_change,
    t,
    told,
)

_SIGNS = {
    "passed": m(":material/check_circle: passed"),
    "fired": m(":material/warning: flag"),
    "explained": m(":material/subdirectory_arrow_right: follows from a flag"),
    "not checked": m(":material/help: not checked"),
}
_GROUPS = {
    "violated": m("changed by an attack"),
    "unproven": m("not certified"),
    "verified": m("certified"),
    "wrong": m("misclassified without perturbation"),
}
_VERDICTS = {"violated": m("changed by an attack"), "unproven": m("not certified"), "verified": m("certified")}
_ENDS = {"low": m("from"), "high": m("to")}
_RADII = {"linf": "1/255, 2/255, 4/255, 8/255, 16/255", "l2": "0.1, 0.25, 0.5, 1, 2", "l1": "1, 3, 6, 12, 24"}
_CERTIFICATES = {"ibp": "IBP", "crown_ibp": "CROWN-IBP", "crown": "CROWN"}


def measure_curve(model: SharedModel, sample: DataSample) -> list[Job]:
    """Let the user measure robust accuracy over radii; return what is still to be done."""
    first, second, third = st.columns([1, 2, 1])
    norm = ui.choose_norm("curve_norm", first)
    text = second.text_input(t("Radii"), _RADII[norm], key=f"radii_{norm}", bind="query-params")
    budget = ui.choose_number(
        t("Time budget (seconds)"), "budget", 0, 36_000, 60, 30, place=third, tip=t("0: no limit")
    )
    with ui.stop_on_error():
        arguments = {"eps": radii(text), "norm": norm, "budget": budget or None, **_choose_stages(norm)}
    job = curve_job(model, sample, arguments, st.container())
    tip = t("Up to {budget} seconds, then the evaluation checks", budget=budget) if budget else t("No time limit")
    return ui.ask(job, t("Measure robust accuracy"), tip, lambda result: _show(model, sample, result, arguments))


def _choose_stages(norm: str) -> dict[str, Any]:
    """Let the user choose attacks, certificates, seed and checks; return what is not the default."""
    infos = {info.name: info for info in xai.methods(kind="attack") if norm in info.norms}
    with st.expander(t("Attacks, certificates and seed"), icon=":material/tune:"):
        attacks = st.multiselect(
            t("Attacks, cheapest first"),
            list(infos),
            format_func=lambda name: told(infos[name].title),
            key=f"curve_attacks_{norm}",  # another norm has other attacks
            placeholder=t("Short versions of FGSM, PGD, APGD-CE, APGD-T and Square"),
            bind="query-params",
        )
        certificates = st.pills(
            t("Certificates"),
            list(_CERTIFICATES),
            selection_mode="multi",
            default=list(_CERTIFICATES),
            format_func=_CERTIFICATES.__getitem__,
            key="curve_certificates",
            bind="query-params",
        )
        left, right = st.columns(2, vertical_alignment="bottom")
        seed = ui.choose_seed("curve_seed", left)
        trust = right.toggle(t("Check the evaluation itself"), True, key="curve_trust", bind="query-params")
    ordered = sorted(attacks, key=lambda name: infos[name].forward)
    arguments = {"attacks": tuple(ordered) or None, "seed": seed, "trust": trust}
    if len(certificates) < len(_CERTIFICATES):
        arguments["certificates"] = tuple(name for name in _CERTIFICATES if name in certificates)
    usual = {"attacks": None, "seed": 0, "trust": True}
    return {name: value for name, value in arguments.items() if name not in usual or value != usual[name]}


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


def _show(
    model: SharedModel, sample: DataSample, result: xai.results.RobustnessCurve, arguments: Mapping[str, Any]
) -> None:
    text = _summary(result)
    box = st.info if _unfinished(result) or (result.trust is not None and result.trust.flags) else st.success
    box(f"{text} {_unfinished(result)}", icon=":material/shield:")
    ui.show_chart(charts.robust_accuracy(result), "curve", text, pick)
    st.caption(t("Bars: 95 % intervals over the sampling of images. Click a point to see its images."))
    if result.trust is not None:
        show_trust(result.trust)
    if result.notes:
        st.caption(bullets(result.notes))
    level = _choose_level(result)
    _show_images(sample, result, level)
    _show_tables(result, level)
    ui.show_downloads(
        result,
        "curve",
        file_stem(str(result.model["name"]), "robustness", result.norm),
        ui.Download(t("Image"), "png", result.png, t("The curve with both bounds")),
        ui.csv_file(result.table, t("Table"), t("A line per radius")),
    )
    eps = ", ".join(eps_code(e, result.norm) for e in result.eps)
    rest = ", ".join(f"{name}={value!r}" for name, value in arguments.items() if name != "eps")
    ui.show_script(
        model,
        f"data = {sample.code}",
        f"curve = xai.robustness(clf, data{sample.code_of_labels(model)}, eps=[{eps}], {rest})",
        "print(curve.table, curve.trust)",
        "curve.plot()",
    )


def _summary(result: xai.results.RobustnessCurve) -> str:
    """Say the end of the curve in a sentence."""
    ends = {"clean": result.clean, "attacked": result.attacked[-1], "certified": result.certified[-1]}
    spans = {name: np.reshape(result.intervals[name], (-1, 2))[-1] for name in ends}
    shares = {name: interval(float(share), *map(float, spans[name])) for name, share in ends.items()}
    return t(
        "Clean accuracy {clean} on {count} images. Robust accuracy at {last} is between "
        "{certified} (certified) and {attacked} (best attack).",
        count=len(result),
        last=radius(result.eps[-1], result.norm),
        **shares,
    )


def _unfinished(result: xai.results.RobustnessCurve) -> str:
    """Say which attacks and certificates did not come to their end; "" where all did."""
    names = [told(str(stage["name"])) for stage in result.stages if not stage["finished"]]
    if not names:
        return ""
    return t("**Not finished within {budget:g} seconds:** {names}.", budget=result.budget, names=safe(", ".join(names)))


def show_trust(trust: xai.results.Trust) -> None:
    """Show the problems of an evaluation and what to do about it, and all checks."""
    if not trust.flags:
        missing = len(trust.not_checked)
        open_ones = t(" {missing} could not be made.", missing=missing) if missing else ""
        count = len(trust.checks)
        text = t("Evaluation checks: no problem found ({count} checks).{open_ones}", count=count, open_ones=open_ones)
        st.success(text, icon=":material/verified:")
    for name in trust.flags:
        reason, next_step = (safe(sentence(part)) for part in (trust[name].reason, trust[name].next_step))
        text = t("**{name}.** {reason}\n\n**Next:** {next_step}", name=_check(name), reason=reason, next_step=next_step)
        st.warning(text, icon=":material/warning:")
    with st.expander(t("All checks of the evaluation"), icon=":material/checklist:"):
        lines = [
            {
                t("Check"): _check(check.name),
                t("Verdict"): t(_SIGNS[check.status]),
                t("Observation"): "" if check.status == "passed" else safe(sentence(check.reason)),
            }
            for check in trust.checks
        ]
        ui.show_lines(lines, t("Evaluation checks and their results"))


def _check(name: str) -> str:
    return safe(told(name.replace("_", " ")).capitalize())


def pick(point: Mapping[str, Any]) -> None:
    """Open the images of a point of the curve."""
    level = int(point["level"])
    st.session_state["level"] = max(level - 1, 0)
    attacked = "violated" if level else "wrong"
    st.session_state["group"] = attacked if point["bound"] == "attacked" else "verified"


def _choose_level(result: xai.results.RobustnessCurve) -> int:
    if st.session_state.get("level", 0) >= len(result.eps):
        st.session_state.pop("level")
    level: int = st.segmented_control(
        t("Radius"),
        range(len(result.eps)),
        default=len(result.eps) - 1,
        required=True,
        wrap=True,
        format_func=lambda k: radius(result.eps[k], result.norm),
        key="level",
        bind="query-params",
    )
    return level


def _show_images(sample: DataSample, result: xai.results.RobustnessCurve, level: int) -> None:
    """Show the images of a verdict at a radius; those that an attack changed can be opened."""
    groups = _groups(result, level)
    group = ui.choose_group(t("Images"), _GROUPS, groups, "group")
    rows = ui.first_of(groups[group], t(", smallest perturbation first.") if group == "violated" else "")
    if group != "violated":
        ui.show_row([_plain(sample, result, k) for k in rows], group)
        return
    opened = ui.choose_image({k: changed_image(result, k) for k in rows}, "counterexample")
    if opened is not None:
        _show_one(result, opened)


def _groups(result: xai.results.RobustnessCurve, level: int) -> dict[str, list[int]]:
    """Return the numbers of the images by verdict; those wrong to begin with are a group of their own."""
    wrong = (result.clean_predictions != result.labels).numpy()
    verdicts = result.verdicts[:, level]
    groups = {name: np.flatnonzero(~wrong & (verdicts == name)).tolist() for name in ("verified", "unproven")}
    violated = [k for k in result.changed if verdicts[k] == "violated"]
    return {**groups, "violated": violated, "wrong": np.flatnonzero(wrong).tolist()}


def _plain(sample: DataSample, result: xai.results.RobustnessCurve, k: int) -> ui.GalleryImage:
    label, prediction = (result.class_names[int(part[k])] for part in (result.labels, result.clean_predictions))
    text = f"{k}: {label}" + ("" if label == prediction else t(", predicted as {prediction}", prediction=prediction))
    return ui.GalleryImage.of(sample.data.images[k], text)


def _names(result: xai.results.RobustnessCurve, k: int) -> tuple[str, str]:
    """Return the true class of an image and the predicted class under attack."""
    return result.class_names[int(result.labels[k])], result.class_names[int(result.predictions[k])]


def changed_image(result: xai.results.RobustnessCurve, k: int) -> ui.GalleryImage:
    """Return the nearest counterexample of an image."""
    label, prediction = _names(result, k)
    within = radius(float(result.distance[k]), result.norm)
    text = t(
        "Image {k}: {label}, predicted as {prediction} within {within}",
        k=k,
        label=label,
        prediction=prediction,
        within=within,
    )
    caption = f"{k}: {label} \N{RIGHTWARDS ARROW} {prediction}, {within}"
    return ui.GalleryImage.of(result.adversarial[_place(result, k)], caption, text)


def _place(result: xai.results.RobustnessCurve, k: int) -> int:
    return int((result.rows == k).nonzero()[0, 0])


def _show_one(result: xai.results.RobustnessCurve, k: int) -> None:
    """Show an image, its nearest counterexample and the difference times ten, and the verdicts along the radii."""
    place, (label, prediction) = _place(result, k), _names(result, k)
    clean, changed = result.originals[[place]], result.adversarial[[place]]
    size = size_of_change(float(result.distance[k]), result.norm)
    by = safe(result.broken_by[k])
    st.markdown(
        t("**Image {k}**, nearest adversarial example by {broken_by}: {distance}.", k=k, broken_by=by, distance=size)
    )
    text = (
        t("Clean image {k}: {label}", k=k, label=label),
        t("Adversarial example {k}, predicted as {prediction}", k=k, prediction=prediction),
    )
    ui.show_beside(
        [
            ui.GalleryImage.of(clean, t("Clean: {label}", label=label), text[0]),
            ui.GalleryImage.of(changed, t("Adversarial: {prediction}", prediction=prediction), text[1]),
            ui.GalleryImage.difference(ui.differences(changed, clean)[0]),
        ]
    )
    shots = []
    for eps, verdict in zip(result.eps, result.verdicts[k], strict=True):
        broken = verdict == "violated"
        words = f"{radius(eps, result.norm)}: {prediction if broken else label}, {t(_VERDICTS[verdict])}"
        shots.append(ui.GalleryImage.of(changed if broken else clean, words))
    ui.show_row(shots, "verdicts")


def _show_tables(result: xai.results.RobustnessCurve, level: int) -> None:
    eps = result.eps[level]
    title = radius(eps, result.norm)
    classes = result.per_class[result.per_class["eps"] == eps].drop(columns="eps")
    _show_shares(
        t("Class by class at {title}", title=title),
        classes,
        t("Accuracy of each class with 95 % intervals"),
        "category",
    )
    _show_shares(
        t("Predictions under attack at {title}", title=title),
        _mistaken(result, eps),
        t("Pairs of true class and prediction under attack, most frequent first"),
        "compare_arrows",
    )
    rows = result.table.assign(radius=[radius(e, result.norm) for e in result.eps])
    rows = rows[["radius", *(c for c in rows if c not in {"radius", "eps", "eps_255"})]]
    _show_shares(t("All radii"), rows, t("Both bounds by radius"))
    stages = pd.DataFrame(list(result.stages))
    _show_shares(
        t("Results of each attack and certificate"), stages, t("Attacks and certificates in order"), "timeline"
    )


def _mistaken(result: xai.results.RobustnessCurve, eps: float) -> pd.DataFrame:
    """Return the pairs of true class and other answer under attack, most frequent first."""
    counts = result.confusion(eps).to_numpy()
    pairs = [
        (result.class_names[i], result.class_names[j], int(counts[i, j])) for i, j in np.argwhere(counts) if i != j
    ]
    pairs.sort(key=lambda pair: -pair[2])
    return pd.DataFrame(pairs, columns=["class", "prediction", "images"])


def _show_shares(title: str, rows: pd.DataFrame, alt: str, icon: str = "table") -> None:
    """Show a table; shares in [0, 1] as whole percentages."""
    shares = [str(name) for name in rows if str(name).split("_")[0] in {"clean", "certified", "attacked"}]
    shown = rows.assign(**{name: 100 * rows[name] for name in shares})
    config = {name: _percentage(name) for name in shares}
    config["prediction"] = st.column_config.Column(t("prediction"))
    ui.show_table(title, shown, alt, icon=icon, config=config)


def _percentage(name: str) -> Any:
    """Return the column of a share; `attacked_low` is headed "attacked, from"."""
    bound, _, end = name.partition("_")
    heading = f"{told(bound)}, {t(_ENDS[end])}" if end else told(bound)
    return st.column_config.NumberColumn(heading, format="%.0f %%")
