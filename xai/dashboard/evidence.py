"""The page "Robustness": what is behind a curve, picture by picture and class by class."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

import xai
from xai.dashboard.frames import show_frame
from xai.dashboard.gallery import TIMES, Shot, as_pixels, choose_shot, show_beside, show_row
from xai.dashboard.language import m, t, told
from xai.dashboard.sets import Sample
from xai.dashboard.words import radius, safe, size_of_change

_SHOWN = 12  # pictures of a gallery
_GROUPS = {
    "violated": m("changed by an attack"),
    "unproven": m("unproven"),
    "verified": m("proven"),
    "wrong": m("wrong without any change"),
}
_VERDICTS = {"violated": m("violated"), "unproven": m("unproven"), "verified": m("verified")}
_ENDS = {"low": m("from"), "high": m("to")}


def show_evidence(sample: Sample, found: xai.RobustnessCurve) -> None:
    """Show the pictures and the tables of one radius, which the user chooses."""
    level = _choose_level(found)
    _show_pictures(sample, found, level)
    _show_tables(found, level)


def pick(point: Mapping[str, Any]) -> None:
    """Open the pictures of a point of the curve."""
    level = int(point["level"])
    st.session_state["level"] = max(level - 1, 0)
    attacked = "violated" if level else "wrong"
    st.session_state["group"] = attacked if point["bound"] == "attacked" else "verified"


def _choose_level(found: xai.RobustnessCurve) -> int:
    if st.session_state.get("level", 0) >= len(found.eps):
        st.session_state.pop("level")
    level: int = st.segmented_control(
        t("Radius"),
        range(len(found.eps)),
        default=len(found.eps) - 1,
        required=True,
        wrap=True,
        format_func=lambda k: radius(found.eps[k], found.norm),
        key="level",
        bind="query-params",
    )
    return level


def _show_pictures(sample: Sample, found: xai.RobustnessCurve, level: int) -> None:
    """Show the pictures of a verdict at a radius; those that an attack changed can be opened."""
    groups = _groups(found, level)
    group = st.segmented_control(
        t("Pictures"),
        list(_GROUPS),
        default="violated",
        required=True,
        wrap=True,
        format_func=lambda g: f"{t(_GROUPS[g])}: {len(groups[g])}",
        key="group",
        bind="query-params",
    )
    rows = groups[group][:_SHOWN]
    if len(groups[group]) > _SHOWN:
        st.caption(
            t("The first {shown} of {count}", shown=_SHOWN, count=len(groups[group]))
            + (t(", smallest change first.") * (group == "violated"))
        )
    if group != "violated":
        show_row([_plain(sample, found, k) for k in rows], group)
        return
    opened = choose_shot({k: _changed(found, k) for k in rows}, "counterexample")
    if opened is not None:
        _show_one(found, opened)


def _groups(found: xai.RobustnessCurve, level: int) -> dict[str, list[int]]:
    """Return the numbers of the pictures by verdict; those wrong to begin with are a group of their own."""
    wrong = (found.clean_predictions != found.labels).numpy()
    verdicts = found.verdicts[:, level]
    groups = {name: np.flatnonzero(~wrong & (verdicts == name)).tolist() for name in ("verified", "unproven")}
    violated = [k for k in found.changed if verdicts[k] == "violated"]
    return {**groups, "violated": violated, "wrong": np.flatnonzero(wrong).tolist()}


def _plain(sample: Sample, found: xai.RobustnessCurve, k: int) -> Shot:
    truth, answer = (found.class_names[int(part[k])] for part in (found.labels, found.clean_predictions))
    said = f"{k}: {truth}" + ("" if truth == answer else t(", taken for {answer}", answer=answer))
    return Shot(as_pixels(sample.data.images[k][None])[0], safe(said, 80), said)


def _changed(found: xai.RobustnessCurve, k: int) -> Shot:
    truth, answer = (found.class_names[int(part[k])] for part in (found.labels, found.answers))
    within = radius(float(found.distance[k]), found.norm)
    said = t("Picture {k}: {truth}, taken for {answer} within {within}", k=k, truth=truth, answer=answer, within=within)
    caption = safe(f"{k}: {truth} \N{RIGHTWARDS ARROW} {answer}, {within}", 80)
    return Shot(as_pixels(found.adversarial[_place(found, k)][None])[0], caption, said)


def _place(found: xai.RobustnessCurve, k: int) -> int:
    return int((found.rows == k).nonzero()[0, 0])


def _show_one(found: xai.RobustnessCurve, k: int) -> None:
    """Show a picture, its nearest counterexample and the difference times ten, and the verdicts along the radii."""
    place = _place(found, k)
    both = found.originals[[place]], found.adversarial[[place]]
    clean, changed, added = (as_pixels(part)[0] for part in (*both, 0.5 + TIMES * (both[1] - both[0]) / 2))
    truth, answer = (found.class_names[int(part[k])] for part in (found.labels, found.answers))
    st.markdown(
        t(
            "**Picture {k}**, nearest counterexample by {broken_by}: {distance}.",
            k=k,
            broken_by=safe(found.broken_by[k]),
            distance=size_of_change(float(found.distance[k]), found.norm),
        )
    )
    times = t("Difference times {times}", times=TIMES)
    show_beside(
        [
            Shot(clean, safe(t("Clean: {truth}", truth=truth), 80), t("Clean picture {k}: {truth}", k=k, truth=truth)),
            Shot(
                changed,
                safe(t("Changed: {answer}", answer=answer), 80),
                t("Changed picture {k}, taken for {answer}", k=k, answer=answer),
            ),
            Shot(
                added,
                t("{times} (grey: no change)", times=times),
                t("{times} between clean and changed picture", times=times),
            ),
        ]
    )
    shots = []
    for eps, verdict in zip(found.eps, found.verdicts[k], strict=True):
        broken = verdict == "violated"
        said = f"{radius(eps, found.norm)}: {answer if broken else truth}, {t(_VERDICTS[verdict])}"
        shots.append(Shot(changed if broken else clean, safe(said, 80), said))
    show_row(shots, "verdicts")


def _show_tables(found: xai.RobustnessCurve, level: int) -> None:
    eps = found.eps[level]
    title = radius(eps, found.norm)
    with st.expander(t("Class by class at {title}", title=title), icon=":material/category:"):
        rows = found.per_class
        _table(rows[rows["eps"] == eps].drop(columns="eps"), t("Accuracy of each class with 95 % intervals"))
    with st.expander(
        t("What attacked pictures are taken for at {title}", title=title), icon=":material/compare_arrows:"
    ):
        _table(_mistaken(found, eps), t("Pairs of true class and answer under attack, most frequent first"))
    with st.expander(t("All radii"), icon=":material/table:"):
        rows = found.table.assign(radius=[radius(e, found.norm) for e in found.eps])
        _table(
            rows[["radius", *(c for c in rows if c not in {"radius", "eps", "eps_255"})]], t("Both bounds by radius")
        )
    with st.expander(t("What each attack and proof did"), icon=":material/timeline:"):
        _table(pd.DataFrame(list(found.stages)), t("Attacks and proofs in order"))


def _mistaken(found: xai.RobustnessCurve, eps: float) -> pd.DataFrame:
    """Return the pairs of true class and other answer under attack, most frequent first."""
    counts = found.confusion(eps).to_numpy()
    pairs = [(found.class_names[i], found.class_names[j], int(counts[i, j])) for i, j in np.argwhere(counts) if i != j]
    pairs.sort(key=lambda pair: -pair[2])
    return pd.DataFrame(pairs, columns=["class", m("taken for"), "pictures"])


def _table(rows: pd.DataFrame, alt: str) -> None:
    """Show a table; shares in [0, 1] as whole percentages."""
    shares = [str(name) for name in rows if str(name).split("_")[0] in {"clean", "certified", "attacked"}]
    shown = rows.assign(**{name: 100 * rows[name] for name in shares})
    show_frame(shown, alt, (), {name: _percentage(name) for name in shares})


def _percentage(name: str) -> Any:
    """Return the column of a share; `attacked_low` is headed "attacked, from"."""
    bound, _, end = name.partition("_")
    heading = f"{told(bound)}, {t(_ENDS[end])}" if end else told(bound)
    return st.column_config.NumberColumn(heading, format="%.0f %%")
