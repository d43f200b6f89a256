"""Whether an evaluation of robustness can be believed, as far as the page shows it."""

import streamlit as st

import xai
from xai.dashboard.language import m, t, told
from xai.dashboard.words import safe, sentence

_SIGNS = {
    "passed": m(":material/check_circle: passed"),
    "fired": m(":material/warning: flag"),
    "explained": m(":material/subdirectory_arrow_right: follows from a flag"),
    "not checked": m(":material/help: not checked"),
}


def show_trust(trust: xai.Trust) -> None:
    """Show what speaks against an evaluation and what to do about it, and all checks."""
    if not trust.flags:
        st.success(_all_well(trust), icon=":material/verified:")
    for name in trust.flags:
        check = trust[name]
        st.warning(
            t(
                "**{name}.** {reason}\n\n**Next:** {next_step}",
                name=_title(name),
                reason=safe(sentence(check.reason)),
                next_step=safe(sentence(check.next_step)),
            ),
            icon=":material/warning:",
        )
    with st.expander(t("All checks of the evaluation"), icon=":material/checklist:"):
        st.table(
            _lines(trust), border="horizontal", hide_index=True, alt=t("Checks of the evaluation and what they say")
        )


def _all_well(trust: xai.Trust) -> str:
    missing = len(trust.not_checked)
    open_ones = t(" {missing} could not be made.", missing=missing) if missing else ""
    return t(
        "None of {count} checks speaks against this evaluation.{open_ones}",
        count=len(trust.checks),
        open_ones=open_ones,
    )


def _title(name: str) -> str:
    return safe(told(name.replace("_", " ")).capitalize())


def _lines(trust: xai.Trust) -> list[dict[str, str]]:
    """Return a line per check; the reason of one that passed tells what it would have found, and is left out."""
    return [
        {
            t("Check"): _title(check.name),
            t("Verdict"): t(_SIGNS[check.status]),
            t("What was seen"): "" if check.status == "passed" else safe(sentence(check.reason)),
        }
        for check in trust.checks
    ]
