"""The page "Bias": groups, weak slices, shortcuts and data faults."""

from collections.abc import Sequence

import numpy as np
import streamlit as st
import torch

import xai
from xai.dashboard import charts
from xai.dashboard import widgets as ui
from xai.dashboard.pages.bias.shortcuts import look_for_faults, look_for_shortcuts
from xai.dashboard.session import DataSample, Job, SharedModel, draw_sample
from xai.dashboard.text import counted, file_stem, interval, m, percent, safe, sentence, t, told

_MOST_GROUPS = 20  # of a column
_MOST_COLUMNS = 4
_MOST_SENTENCES = 8  # sentences
_VERDICTS = {
    "unfair": m("Some groups differ by more than chance."),
    "no evidence": m("No evidence of a difference between groups."),
    "too small to tell": m("Too few images to tell whether groups differ."),
}


def compare_groups(model: SharedModel, sample: DataSample) -> list[Job]:
    """Let the user compare groups; return what is still to be done."""
    columns = _columns_of(sample)
    if not columns:
        st.info(
            t(
                "These data have no column that divides the images into groups. Start with `xai dashboard --data "
                "table.csv`, a table with the columns path, label, and one for each way to divide them (sex, site, "
                "camera, ...). Shortcuts, slices and data faults need none: select one above."
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

    def show(result: xai.results.BiasResult) -> None:
        _show_groups(model, sample, result, chosen)

    texts = m("Comparing groups"), m("Compare the groups"), m("{rows} images through the model")
    return ui.ask_verb("bias", texts, model, [sample], show, groups=tuple(chosen))


def _columns_of(sample: DataSample) -> list[str]:
    """Return the columns of the data with 2 to 20 groups."""
    groups = sample.data.groups
    return [name for name in groups if 2 <= len(set(groups[name].tolist())) <= _MOST_GROUPS]


def _show_groups(model: SharedModel, sample: DataSample, result: xai.results.BiasResult, chosen: Sequence[str]) -> None:
    count = (
        t(" {some} of {all} comparisons.", some=len(result.findings), all=len(result.gaps)) if result.findings else ""
    )
    ui.show_verdict(result.verdict, _VERDICTS, count, "groups")
    _say(result)
    first = result.columns.index(result.findings[0].column) if result.findings else 0
    column: str = st.selectbox(t("Divided by"), result.columns, first, key="column")
    text = t("Accuracy of each group by {column}, with 95 % intervals", column=column)
    ui.show_chart(charts.right_by_group(result, column), "groups", text)
    st.caption(t("{text}. Dashed: all images.", text=text))
    _show_mistakes(model, sample, result, column)
    ui.show_table(t("All gaps"), result.table, t("Gaps between groups with intervals, p-values and verdicts"))
    groups = t("Each group by each measure with intervals and verdicts")
    ui.show_table(t("All groups"), result.groups, groups, icon="category")
    parity = t("Worst groups, demographic parity, equalised odds")
    ui.show_table(t("Worst groups and parity"), result.summary, parity, icon="balance")
    table = ui.csv_file(result.table, t("Gaps"), t("A line per gap"))
    ui.show_downloads(result, "bias", file_stem(str(result.model["name"]), "bias"), table)
    ui.show_verb_code(model, "bias", {"data": sample}, ",table,summary", f"{list(chosen)}, ")


def _say(result: xai.results.BiasResult) -> None:
    """Say what was found, or what could have been, in sentences with their figures below."""
    first = result.gaps[0].metric
    gaps = result.findings or tuple(gap for gap in result.gaps if gap.metric == first)
    for gap in gaps[:_MOST_SENTENCES]:
        st.markdown(f"- {safe(sentence(gap.headline))}")
        st.caption(safe(sentence(gap.reason), 900))
    if len(gaps) > _MOST_SENTENCES:
        st.caption(t("And {n} more: see the table of all gaps.", n=len(gaps) - _MOST_SENTENCES))
    ui.show_notes(result.notes)


def _show_mistakes(model: SharedModel, sample: DataSample, result: xai.results.BiasResult, column: str) -> None:
    """Show the wrong images of a group, that with most mistakes first."""
    place = result.columns.index(column)
    codes, names, wrong = result.codes[place], result.group_names[place], result.labels != result.predictions
    sizes = np.bincount(codes, minlength=len(names))
    mistakes = np.bincount(codes, wrong, len(names)).astype(int)
    order = [int(k) for k in np.argsort(-mistakes / np.maximum(sizes, 1), kind="stable") if sizes[k]]
    shares = {k: counted(int(mistakes[k]), int(sizes[k])) for k in order}
    group = st.selectbox(
        t("Mistakes in the group"),
        order,
        format_func=lambda k: t("{group}: {share} misclassified", group=names[k], share=shares[k]),
        key=f"group {column}",
    )
    rows = ui.first_of(np.flatnonzero((codes == group) & wrong))
    ui.show_row([_shot(model, sample, result, int(k)) for k in rows], "mistaken")


def _shot(model: SharedModel, sample: DataSample, result: xai.results.BiasResult, k: int) -> ui.GalleryImage:
    """Return an image as the model sees it."""
    label, prediction = (result.class_names[int(part[k])] for part in (result.labels, result.predictions))
    text = t("{k}: {label}, predicted as {prediction}", k=k, label=label, prediction=prediction)
    return ui.GalleryImage.of(model.classifier.prepare(sample.data.images[k]).inputs, text)


def look_for_slices(model: SharedModel, sample: DataSample) -> list[Job]:
    """Let the user look for weak slices; return what is still to be done."""
    st.caption(
        t(
            "Kinds of images (by class, brightness, contrast, sharpness, size, similarity) with more errors are "
            "searched for on one half of the images and reported only if the other half confirms them."
        )
    )

    def show(result: xai.results.SliceResult) -> None:
        _show_slices(model, sample, result)

    texts = m("Searching for weak slices"), m("Search for weak slices"), m("{rows} images through the model")
    return ui.ask_verb("slices", texts, model, [sample], show)


def _show_slices(model: SharedModel, sample: DataSample, result: xai.results.SliceResult) -> None:
    if result.findings:
        count = t("One kind") if len(result.findings) == 1 else t("{count} kinds", count=len(result.findings))
        text = t("{count} of images with lower accuracy", count=count)
        st.warning(f"**{text}.**", icon=":material/pie_chart:")
        ui.show_chart(charts.right_by_slice(result), "slices", text)
        st.caption(t("Accuracy with its 95 % interval, on the half of the images on which the slices were not found."))
        for number in range(len(result.findings)):
            _show_slice(result, number)
    else:
        few = sum(weak_slice.verdict == "too small to tell" for weak_slice in result.slices)
        more = t(" {few} of them could not have shown it: too few images.", few=few) if few else ""
        text = t("**No weak slice found** among {count} that were tested.{more}", count=len(result), more=more)
        st.success(text, icon=":material/check_circle:")
    with st.expander(t("All that was tested"), icon=":material/table:"):
        ui.show_frame(result.table, t("Slices tested, with accuracy, intervals and verdicts"))
        ui.show_notes(result.notes, together=True)
    table = ui.csv_file(result.table, t("Slices"), t("A line per slice"))
    ui.show_downloads(result, "slices", file_stem(str(result.model["name"]), "slices"), table)
    ui.show_verb_code(model, "slices", {"data": sample}, ",table")


def _show_slice(result: xai.results.SliceResult, number: int) -> None:
    """Show a weak slice in words, and images of it that are wrong."""
    weak_slice = result.findings[number]
    confused = (
        t(" Most often predicted as {confused}.", confused=safe(weak_slice.confused)) if weak_slice.confused else ""
    )
    st.markdown(
        t(
            "**{value}: {value_2}.** Accuracy {right} on {images} images, {rest} on all others.{confused}",
            value=number + 1,
            value_2=safe(told(weak_slice.words)[:1].upper() + told(weak_slice.words)[1:]),
            right=interval(weak_slice.accuracy, *weak_slice.accuracy_interval),
            images=weak_slice.images,
            rest=percent(weak_slice.rest),
            confused=confused,
        )
    )
    places = np.flatnonzero(result.shown[:, 0] == result.slices.index(weak_slice))
    shots = []
    for place in places:
        row = result.shown[place, 1]
        label, prediction = (result.class_names[int(part[row])] for part in (result.labels, result.predictions))
        text = t("{label}, predicted as {prediction}", label=label, prediction=prediction)
        shots.append(ui.GalleryImage.of(torch.from_numpy(result.images[place]), text))
    if shots:
        ui.show_row(shots, f"slice_{number}")


_USUAL, _MOST = 1000, 5000  # images


def choose_training(model: SharedModel, seed: int) -> DataSample | None:
    """Let the user choose what the model learnt from, of which some are drawn; None leaves leaks out."""
    name: str | None = st.selectbox(
        t("Training data"),
        [None, *ui.names_for(model)],
        format_func=lambda name: name or t("not given"),
        key="train",
        help=t("Finds images that are in both."),
        bind="query-params",
    )
    if name is None:
        return None
    count = ui.choose_number(t("How many of these"), "train_count", 10, _MOST, _USUAL, 10)
    with ui.stop_on_error(), st.spinner(t("Sampling images …")):
        return draw_sample(name, count, seed)


if __name__ == "__main__":  # Streamlit runs it as a script
    ui.show_heading("bias")
    ways = (m("Groups"), m("Shortcuts"), m("Slices"), m("Data faults"))
    way = ui.choose_one(t("Question"), ways, "bias_about")
    left, right = st.columns([1, 2.4], gap="medium")

    with left:
        model = ui.choose_model("example:fashion-shortcut")
        sample = ui.choose_sample(model, "bias_count", usual=_USUAL, most=_MOST)
        train = choose_training(model, sample.seed) if way == ways[3] else None

    with right:
        if way == ways[0]:
            jobs = compare_groups(model, sample)
        elif way == ways[1]:
            jobs = look_for_shortcuts(model, sample)
        elif way == ways[2]:
            jobs = look_for_slices(model, sample)
        else:
            jobs = look_for_faults(model, sample, train)
        ui.run_next(jobs)
