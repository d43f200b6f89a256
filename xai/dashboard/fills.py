"""The same map with several fills for what is hidden: a claim that holds for one of them only is no claim."""

from dataclasses import replace
from functools import partial
from inspect import signature
from typing import Any

import numpy as np
import streamlit as st

import xai
from xai.dashboard.comparison import panels_of
from xai.dashboard.frames import show_frame
from xai.dashboard.jobs import Job, asked_for, in_turn, result_of, watched
from xai.dashboard.language import t, told
from xai.dashboard.panels import pack, show
from xai.dashboard.pictures import Picture
from xai.dashboard.script import call_of, show_script
from xai.dashboard.tasks import Report
from xai.dashboard.words import correlation, safe
from xai.dashboard.work import Answer, Model, Question

_KNOBS = ("baseline", "fill")
_FILLS: tuple[str, ...] = signature(xai.compare_baselines).parameters["baselines"].default


def show_fills(model: Model, picture: Picture, answer: Answer) -> Job | None:
    """Show a map with several fills, or a button that asks for it; return the job when it was asked for.

    Nothing is shown for methods that hide no pixels.
    """
    answer = replace(answer, question=_without_fill(answer.question))
    question = answer.question
    fills = _fills_of(question.method)
    if not fills:
        return None
    if question.versus is not None or question.score != "logit":
        st.caption(t("Fills can be compared for the logit of a class, not against another class."))
        return None
    job = to_compare(model, picture, answer, fills, st.container())
    tip = t(
        "Explains with {count} fills for what is hidden: {fills}. About {rows} rows.",
        count=len(fills),
        fills=", ".join(map(told, fills)),
        rows=job.rows,
    )
    if not asked_for(job, t("Does the fill matter?"), tip):
        return None
    found = result_of(job)
    if found is not None:
        _show(found, question)
        call = call_of(model, question, "compare_baselines", f"baselines={fills!r}")
        show_script(model, f"image = {picture.code}", f"together = {call}", "print(together.table)", "together.plot()")
    return job


def _fills_of(method: xai.MethodInfo) -> tuple[str, ...]:
    """Return the fills to compare; none where no pixels are hidden: paths of gradients have baselines, too."""
    able = next((method.choices[name] for name in _KNOBS if name in method.choices), ())
    return () if "gradients" in method.needs else tuple(name for name in _FILLS if name in able)


def _without_fill(question: Question) -> Question:
    """Return the question without the fill that was chosen: all of them are compared."""
    return replace(question, settings={name: v for name, v in question.settings.items() if name not in _KNOBS})


def to_compare(model: Model, picture: Picture, answer: Answer, fills: tuple[str, ...], slot: Any) -> Job:
    """Return the job whose result is the comparison of the fills."""
    method = answer.question.method
    ask = partial(_compare, model, picture, answer.question, fills)
    rows = len(fills) * (method.forward + method.backward)
    return Job(
        ("fills", *answer.key),
        t("{title} with {count} fills", title=told(method.title), count=len(fills)),
        ask,
        slot,
        rows,
    )


def _compare(
    model: Model, picture: Picture, question: Question, fills: tuple[str, ...], report: Report | None
) -> xai.Agreement:
    with model.borrowed() as classifier:
        return xai.compare_baselines(
            classifier,
            picture.open(),
            question.method.name,
            fills,
            question.target,
            question.seed,
            **watched(in_turn(report, len(fills))),
            **question.settings,
        )


def _show(agreement: xai.Agreement, question: Question) -> None:
    first = agreement.explanations[0]
    panels = [panel for k in range(len(first)) for panel in panels_of(agreement, k, first.labels[k])]
    st.markdown(t("**The same map with other fills**"))
    show(pack(first.pictures[0], panels, first.geometries[0].seen), key=f"fills {question.method.name}")
    st.markdown(describe_fills(agreement))
    with st.expander(t("Rank correlation of every two fills"), icon=":material/table:"):
        show_frame(agreement.table.round(2), t("Rank correlation of the maps with every two fills"), hide_index=False)


def describe_fills(agreement: xai.Agreement) -> str:
    """Say between which fills the maps differ most, and by how much."""
    count = len(agreement.names)
    pairs = [(float(agreement.rank_correlation[i, j]), i, j) for i in range(count) for j in range(i)]
    lowest, i, j = min(pairs)
    mean = float(np.mean([value for value, _, _ in pairs]))
    first, second = (safe(told(agreement.names[k])) for k in (j, i))
    return t(
        "The maps differ most between **{first}** and **{second}**: rank correlation "
        "{lowest}, and {value:.0f} % of their best tenths of places in common; {mean} on "
        "average over all pairs. What only one fill shows says more about the fill than "
        "about the network.",
        first=first,
        second=second,
        lowest=correlation(lowest),
        value=100 * agreement.overlap[i, j],
        mean=correlation(mean),
    )
