"""The page "Bias", groups: whether they fare differently, by more than chance."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

import xai
from xai.dashboard.charts import draw
from xai.dashboard.files import whole_zip
from xai.dashboard.frames import show_frame
from xai.dashboard.gallery import Shot, as_pixels, show_row
from xai.dashboard.gaps import right_by_group
from xai.dashboard.jobs import Job, asked_for, result_of
from xai.dashboard.language import m, t
from xai.dashboard.offers import offer
from xai.dashboard.script import show_script
from xai.dashboard.sets import Sample, to_ask
from xai.dashboard.words import counted, file_stem, safe, sentence
from xai.dashboard.work import Model

_MOST_GROUPS = 20  # of a column
_MOST_COLUMNS = 4
_SHOWN = 12  # pictures
_SAID = 8  # sentences
_VERDICTS = {
    "unfair": m("Some groups fare differently, by more than chance."),
    "no evidence": m("No evidence that groups fare differently."),
    "too small to tell": m("Too few pictures to tell whether groups fare differently."),
}


def compare_groups(model: Model, sample: Sample) -> list[Job]:
    """Let the user compare groups; return what is still to be done."""
    columns = columns_of(sample)
    if not columns:
        st.info(
            t(
                "These data have no column that divides the pictures into groups. Start with `xai "
                "dashboard --data table.csv`, a table with the columns path, label, and one for each "
                "way to divide them (sex, site, camera, ...). Shortcuts, slices and data faults need "
                "none: choose one above."
            ),
            icon=":material/group_off:",
        )
        return []
    chosen = st.multiselect(
        t("Groups by"),
        columns,
        default=columns[:_MOST_COLUMNS],
        key="columns",
        max_selections=_MOST_COLUMNS,
        help=t("Columns of the data with 2 to 20 values. They are compared alone and crossed."),
        bind="query-params",
    )
    if not chosen:
        st.info(t("Choose a column."), icon=":material/arrow_upward:")
        return []
    rows = len(sample.data)
    job = to_ask(
        "bias", t("Comparing groups"), model, [sample], st.container(), rows, groups=tuple(chosen), seed=sample.seed
    )
    if not asked_for(job, t("Compare the groups"), t("{rows} pictures go through the network", rows=rows), first=True):
        return []
    found = result_of(job)
    if found is not None:
        _show(model, sample, found, chosen)
    return [job]


def columns_of(sample: Sample) -> list[str]:
    """Return the columns of the data with 2 to 20 groups."""
    groups = sample.data.groups
    return [name for name in groups if 2 <= len(set(groups[name].tolist())) <= _MOST_GROUPS]


def _show(model: Model, sample: Sample, found: xai.BiasResult, chosen: Sequence[str]) -> None:
    show_box = {"unfair": st.warning, "no evidence": st.success}.get(found.verdict, st.info)
    count = t(" {some} of {all} comparisons.", some=len(found.findings), all=len(found.gaps)) if found.findings else ""
    show_box(f"**{t(_VERDICTS[found.verdict])}**{count}", icon=":material/groups:")
    _say(found)
    column: str = st.selectbox(t("Divided by"), found.columns, _first_column(found), key="column")
    said = t("Share answered right in each group by {column}, with 95 % intervals", column=column)
    draw(right_by_group(found, column), "groups", said)
    st.caption(t("{said}. Dashed: all pictures.", said=said))
    _show_pictures(model, sample, found, column)
    _show_tables(found)
    _downloads(found)
    show_script(
        model,
        f"data = {sample.code}",
        f"found = xai.bias(clf, data, {list(chosen)}, seed={sample.seed})",
        "print(found, found.table, found.summary)",
        "found.plot()",
    )


def _say(found: xai.BiasResult) -> None:
    """Say what was found, or what could have been, in sentences with their figures below."""
    first = found.gaps[0].metric
    gaps = found.findings or tuple(gap for gap in found.gaps if gap.metric == first)
    for gap in gaps[:_SAID]:
        st.markdown(f"- {safe(sentence(gap.headline))}")
        st.caption(safe(sentence(gap.reason), 900))
    if len(gaps) > _SAID:
        st.caption(t("And {n} more: see the table of all gaps.", n=len(gaps) - _SAID))
    for note in found.notes:
        st.caption(safe(sentence(note)))


def _first_column(found: xai.BiasResult) -> int:
    return found.columns.index(found.findings[0].column) if found.findings else 0


def _show_pictures(model: Model, sample: Sample, found: xai.BiasResult, column: str) -> None:
    """Show the wrong pictures of a group, that with most mistakes first."""
    place = found.columns.index(column)
    codes, names, wrong = found.codes[place], found.group_names[place], found.labels != found.predictions
    sizes = np.bincount(codes, minlength=len(names))
    mistakes = np.bincount(codes, wrong, len(names)).astype(int)
    order = [int(k) for k in np.argsort(-mistakes / np.maximum(sizes, 1), kind="stable") if sizes[k]]
    group = st.selectbox(
        t("Mistakes in the group"),
        order,
        format_func=lambda k: t(
            "{group}: {share} wrong", group=names[k], share=counted(int(mistakes[k]), int(sizes[k]))
        ),
        key=f"group {column}",
    )
    rows = np.flatnonzero((codes == group) & wrong)
    if len(rows) > _SHOWN:
        st.caption(t("The first {shown} of {all}.", shown=_SHOWN, all=len(rows)))
    show_row([_shot(model, sample, found, int(k)) for k in rows[:_SHOWN]], "mistaken")


def _shot(model: Model, sample: Sample, found: xai.BiasResult, k: int) -> Shot:
    """Return a picture as the network sees it."""
    truth, answer = (found.classes[int(part[k])] for part in (found.labels, found.predictions))
    said = t("{k}: {truth}, taken for {answer}", k=k, truth=truth, answer=answer)
    return Shot(as_pixels(model.classifier.prepare(sample.data.images[k]).inputs)[0], safe(said, 80), said)


def _show_tables(found: xai.BiasResult) -> None:
    with st.expander(t("All gaps"), icon=":material/table:"):
        show_frame(found.table, t("Gaps between groups with intervals, chance and verdicts"))
    with st.expander(t("All groups"), icon=":material/category:"):
        show_frame(found.groups, t("Each group by each measure with intervals and verdicts"))
    with st.expander(t("Worst groups and parity"), icon=":material/balance:"):
        show_frame(found.summary, t("Worst groups, demographic parity, equalised odds"))


def _downloads(found: xai.BiasResult) -> None:
    stem = file_stem(str(found.model["name"]), "bias")
    with st.container(horizontal=True):
        csv = found.table.to_csv(index=False).encode
        offer(t("Gaps (.csv)"), csv, f"{stem}.csv", "text/csv", "bias_csv", t("A line per gap"))
        tip = t("A folder that xai.BiasResult.load reads back")
        offer(t("Everything (.zip)"), lambda: whole_zip(found), f"{stem}.zip", "application/zip", "bias_zip", tip)
