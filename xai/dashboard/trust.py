"""Whether an evaluation of robustness can be believed, as far as the page shows it."""

import streamlit as st

import xai
from xai.dashboard.words import safe, sentence

_SIGNS = {
    "passed": ":material/check_circle: passed",
    "fired": ":material/warning: flag",
    "explained": ":material/subdirectory_arrow_right: follows from a flag",
    "not checked": ":material/help: not checked",
}


def show_trust(trust: xai.Trust) -> None:
    """Show what speaks against an evaluation and what to do about it, and all checks."""
    if not trust.flags:
        st.success(_all_well(trust), icon=":material/verified:")
    for name in trust.flags:
        check = trust[name]
        st.warning(
            f"**{_title(name)}.** {safe(sentence(check.reason))}\n\n**Next:** {safe(sentence(check.next_step))}",
            icon=":material/warning:",
        )
    with st.expander("All checks of the evaluation", icon=":material/checklist:"):
        st.table(_lines(trust), border="horizontal", hide_index=True, alt="Checks of the evaluation and what they say")


def _all_well(trust: xai.Trust) -> str:
    missing = len(trust.not_checked)
    open_ones = f" {missing} could not be made." if missing else ""
    return f"None of {len(trust.checks)} checks speaks against this evaluation.{open_ones}"


def _title(name: str) -> str:
    return safe(name.replace("_", " ").capitalize())


def _lines(trust: xai.Trust) -> list[dict[str, str]]:
    """Return a line per check; the reason of one that passed tells what it would have found, and is left out."""
    return [
        {
            "Check": _title(check.name),
            "Verdict": _SIGNS[check.status],
            "What was seen": "" if check.status == "passed" else safe(sentence(check.reason)),
        }
        for check in trust.checks
    ]
