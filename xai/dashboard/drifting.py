"""The page "Out of distribution", drift: whether two data sets look alike to the network."""

import streamlit as st

import xai
from xai.dashboard.charts import draw as draw_chart
from xai.dashboard.distributions import shares_of_classes
from xai.dashboard.files import whole_zip
from xai.dashboard.frames import show_frame
from xai.dashboard.jobs import Job, asked_for, result_of
from xai.dashboard.language import m, t
from xai.dashboard.offers import offer
from xai.dashboard.script import show_script
from xai.dashboard.sets import Sample, choose_size, draw, offered, to_ask, with_parts
from xai.dashboard.words import file_stem, safe, sentence
from xai.dashboard.work import Model, sentences

_USUAL, _MOST = 500, 5000  # pictures of each
_VERDICTS = {
    "drift": m("The two data sets differ by more than chance."),
    "no evidence": m("Nothing tells the two data sets apart."),
    "too small to tell": m("Too few pictures to tell."),
}


def choose_two() -> tuple[Sample, Sample]:
    """Let the user choose two data sets; one that is chosen twice is halved."""
    with sentences():
        names = with_parts(offered())
    first = st.selectbox(t("Compare"), names, key="drift_a", help=t("The data as they were."), bind="query-params")
    others = [name for name in names if name.partition("@")[0] != names[0]]
    second = st.selectbox(t("with"), names, names.index(others[0]), key="drift_b", bind="query-params")
    count, seed = choose_size(t("How many of each"), "drift_count", _USUAL, _MOST)
    with sentences(), st.spinner(t("Drawing pictures …")):
        if first == second:
            whole = draw(first, 2 * count, seed)
            pair = whole.every(2, 0), whole.every(2, 1)
        else:
            pair = draw(first, count, seed), draw(second, count, seed)
    st.caption(t("{count} and {count_2} pictures.", count=len(pair[0].data), count_2=len(pair[1].data)))
    return pair


def compare_data(model: Model, pair: tuple[Sample, Sample]) -> list[Job]:
    """Let the user look for drift; return what is still to be done."""
    rows = sum(len(sample.data) for sample in pair)
    job = to_ask("drift", t("Comparing the data"), model, pair, st.container(), rows, seed=pair[0].seed)
    if not asked_for(
        job,
        t("Compare the data"),
        t("{rows} pictures go through the network, then 500 relabellings", rows=rows),
        first=True,
    ):
        return []
    found = result_of(job)
    if found is not None:
        _show(model, pair, found)
    return [job]


def _show(model: Model, pair: tuple[Sample, Sample], found: xai.Drift) -> None:
    show_box = {"drift": st.warning, "no evidence": st.success}.get(found.verdict, st.info)
    show_box(f"**{t(_VERDICTS[found.verdict])}**", icon=":material/difference:")
    st.markdown("\n".join(f"- {safe(sentence(reason))}" for reason in found.reasons))
    st.caption(" ".join(safe(sentence(note)) for note in found.notes))
    st.markdown(t("**How often each class is answered**"))
    names = [f"{order} {sample.name}" for order, sample in zip(("1:", "2:"), pair, strict=True)]
    said = t("Share of each class among the answers in both data sets. {verdict}", verdict=t(_VERDICTS[found.verdict]))
    draw_chart(shares_of_classes(found, names), "classes", said)
    with st.expander(t("All tests"), icon=":material/table:"):
        show_frame(found.table.round(4), t("Tests of drift with sizes and p-values"), ["name"])
    with st.expander(t("Class by class"), icon=":material/category:"):
        show_frame(found.per_class.round(4), t("Shares of each class with intervals"))
    _downloads(found)
    show_script(
        model,
        f"first = {pair[0].code}",
        f"second = {pair[1].code}",
        f"found = xai.drift(clf, first, second, seed={pair[0].seed})",
        "print(found.verdict, found.table)",
        "found.plot()",
    )


def _downloads(found: xai.Drift) -> None:
    stem = file_stem(str(found.model["name"]), "drift")
    with st.container(horizontal=True):
        csv = found.table.to_csv(index=False).encode
        offer(t("Tests (.csv)"), csv, f"{stem}.csv", "text/csv", "drift_csv", t("A line per test"))
        tip = t("A folder that xai.Drift.load reads back")
        offer(t("Everything (.zip)"), lambda: whole_zip(found), f"{stem}.zip", "application/zip", "drift_zip", tip)
