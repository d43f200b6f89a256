"""Whether an explanation can be believed, as far as the page shows it."""

from collections.abc import Sequence

import streamlit as st

import xai
from xai.dashboard.jobs import Job, desk, result_of
from xai.dashboard.language import m, t, told
from xai.dashboard.pictures import Picture
from xai.dashboard.words import figures, safe, sentence
from xai.dashboard.work import Answer, Model, to_rate

_WORDS = {
    "trust": (m("Trust"), ":material/check_circle:"),
    "doubt": (m("Doubt"), ":material/help:"),
    "reject": (m("Reject"), ":material/cancel:"),
}


def show_belief(model: Model, picture: Picture, answer: Answer) -> Job | None:
    """Show what the checks found, or a button that asks for them; return the job when it was asked for."""
    button = st.empty()
    job = to_rate(model, picture, answer, st.container())
    wanted = desk().wants(job.key)
    rating = result_of(job) if wanted else None
    if rating is None:
        button.button(
            t("Can it be believed?"),
            key=f"believe {answer.question.method.name}",
            on_click=desk().want,
            args=(job.key,),
            disabled=wanted,  # not taken away before there is a verdict: what is below it would jump, "Stop" as well
            help=t(
                "Removes what the map calls relevant, adds noise, draws the weights anew: some "
                "hundred runs of the network."
            ),
            icon=":material/fact_check:",
        )
    else:
        with job.slot:
            show_rating(rating)
    return job if wanted else None


def show_rating(rating: xai.Rating) -> None:
    """Show the verdict as a colour, a sign and a word, the reasons, and each check with its figures."""
    word, icon = _WORDS[rating.verdict]
    word = t(word)
    show = {"trust": st.success, "doubt": st.warning, "reject": st.error}[rating.verdict]
    show(f"**{word}**{_each(rating)}\\: {safe(told(rating.meaning))}", icon=icon)
    st.markdown("\n\n".join(_reasons(rating)))
    with st.expander(t("All checks"), icon=":material/checklist:"):
        st.table(_lines(rating), border="horizontal", hide_index=True, alt=t("Checks, their verdicts and figures"))


def _reasons(rating: xai.Rating) -> list[str]:
    """Return lists of reasons, worst first; one per class when there are several."""
    if len(rating) == 1:
        return [_listed(rating.reasons)]
    worst_first = list(_WORDS)[::-1]
    found = []
    for label, checks in zip(rating.labels, rating.checks, strict=True):
        said = sorted((c for c in checks if c.verdict in _WORDS), key=lambda c: worst_first.index(c.verdict))
        found.append(f"**{safe(label)}**\n\n{_listed([check.reason for check in said])}")
    return found


def _listed(reasons: Sequence[str]) -> str:
    return "\n".join(f"- {safe(sentence(reason))}" for reason in reasons)


def _each(rating: xai.Rating) -> str:
    """Return the verdict of each class when there are several."""
    if len(rating) == 1:
        return ""
    return " · " + ", ".join(
        f"{safe(label)}\\: {t(_WORDS[verdict][0]).lower()}"
        for label, verdict in zip(rating.labels, rating.verdicts, strict=True)
    )


def _sign(verdict: str) -> str:
    """Return a verdict with its sign: never colour alone."""
    return f"{_WORDS[verdict][1]} {t(_WORDS[verdict][0]).lower()}" if verdict in _WORDS else safe(told(verdict))


def _lines(rating: xai.Rating) -> Sequence[dict[str, str]]:
    several = len(rating) > 1
    return [
        {
            **({t("Class"): safe(label)} if several else {}),
            t("Check"): safe(told(check.name)),
            t("Verdict"): _sign(check.verdict),
            t("Figures"): safe(figures(check.values)),
        }
        for label, checks in zip(rating.labels, rating.checks, strict=True)
        for check in checks
    ]
