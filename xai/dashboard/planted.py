"""The page "Bias", shortcuts: things beside the object that decide, planted at rising strength."""

import numpy as np
import streamlit as st
import torch

import xai
from xai.dashboard.charts import draw
from xai.dashboard.files import whole_zip
from xai.dashboard.gallery import Shot, as_pixels, choose_shot, show_row
from xai.dashboard.gaps import dose_response
from xai.dashboard.jobs import Job, asked_for, result_of
from xai.dashboard.language import m, t, told
from xai.dashboard.offers import offer
from xai.dashboard.panels import Panel, pack, show_small
from xai.dashboard.script import show_script
from xai.dashboard.sets import Sample, to_ask
from xai.dashboard.words import describe_map, file_stem, safe, sentence
from xai.dashboard.work import Model

_ROWS = 30_000  # about
_MOST = 400  # pictures that the library draws from those given
_SIGNS = {
    "shortcut": ":material/warning:",
    "not confirmed": ":material/help:",
    "within another": ":material/subdirectory_arrow_right:",
    "sensitivity": ":material/ssid_chart:",
    "fragile": ":material/broken_image:",
    "too small to tell": ":material/hourglass_empty:",
    "no evidence": ":material/check_circle:",
}
_ABOUT = {
    "shortcut": m("a shortcut"),
    "not confirmed": m("a class follows it, and nothing explains why"),
    "within another": m("the same as another one"),
    "sensitivity": m("turns images into one class, but is not what the class has in the data"),
    "fragile": m("wrong answers of all kinds, so no shortcut"),
    "too small to tell": m("too few pictures to tell"),
    "no evidence": m("harmless"),
}


def look_for_shortcuts(model: Model, sample: Sample) -> list[Job]:
    """Let the user look for shortcuts; return what is still to be done."""
    st.caption(
        t(
            "Marks, texts, borders, compression, grey levels, tint and blur that go with a class are looked for in "
            "the data, planted into images of other classes, and taken out of images of the class. A shortcut turns "
            "images into its class far more than equally large controls, and is missed when it is taken out."
        )
    )
    rows = _ROWS * min(len(sample.data), _MOST) // _MOST
    job = to_ask("shortcuts", t("Planting cues"), model, [sample], st.container(), rows, seed=sample.seed)
    if not asked_for(job, t("Look for shortcuts"), t("About {rows} rows", rows=rows), first=True):
        return []
    found = result_of(job)
    if found is not None:
        _show(model, sample, found)
    return [job]


def _show(model: Model, sample: Sample, found: xai.ShortcutResult) -> None:
    if found.findings:
        st.warning(f"**{_counted(found)}**", icon=":material/warning:")
        st.markdown("\n".join(f"- {safe(sentence(one.reason), 800)}" for one in found.findings))
    elif found.verdict == "inconclusive":
        words = t("**Inconclusive**: a class follows what nothing in these images explains. Search the training set.")
        st.warning(words, icon=":material/help:")
    else:
        st.success(t("**No shortcut found** among {count} cues.", count=len(found)), icon=":material/check_circle:")
    _show_one(found, _choose(found))
    with st.expander(t("All cues"), icon=":material/table:"):
        st.table(_lines(found), border="horizontal", hide_index=True, alt=t("Cues, their verdicts and why"))
        st.caption(" ".join(safe(sentence(note)) for note in found.notes))
    _downloads(found)
    show_script(
        model,
        f"data = {sample.code}",
        f"found = xai.shortcuts(clf, data, seed={sample.seed})",
        "print(found, found.table)",
        "found.plot()",
    )


def _counted(found: xai.ShortcutResult) -> str:
    count = len(found.findings)
    return t("One shortcut found.") if count == 1 else t("{count} shortcuts found.", count=count)


def _choose(found: xai.ShortcutResult) -> int:
    """Let the user choose a cue, the suspicious ones first."""
    place = {one: number for number, one in enumerate(found.responses)}
    harm = (found.said != found.labels).mean((2, 1))
    order = sorted(place.values(), key=lambda k: (list(_SIGNS).index(found.responses[k].verdict), -harm[k]))
    number: int = st.selectbox(t("Cue"), order, format_func=lambda k: _named(found, k), key="cue")
    return number


def _named(found: xai.ShortcutResult, number: int) -> str:
    one = found.responses[number]
    about = t(_ABOUT[one.verdict])
    return f"{about[:1].upper()}{about[1:]}: {told(one.words)} ({told(one.place)})"


def _show_one(found: xai.ShortcutResult, number: int) -> None:
    """Show what a cue does as it gets stronger, and pictures that it turned."""
    one = found.responses[number]
    said = safe(sentence(one.reason), 800)
    draw(dose_response(found, number), "dose", t("Dose and response. {reason}", reason=told(one.reason)))
    if one not in found.findings:
        st.markdown(said)
    places = np.flatnonzero(found.shown[:, 0] == number)
    if not len(places):
        st.caption(t("Pictures are kept of cues that pull into one class."))
        return
    before, after = (as_pixels(torch.from_numpy(part[places])) for part in (found.before, found.after))
    truths = [found.class_names[int(found.labels[row])] for row in found.shown[places, 1]]
    st.caption(t("As they are, and recognised"))
    show_row(
        [Shot(before[k], safe(truth, 40), t("{truth}, as it is", truth=truth)) for k, truth in enumerate(truths)],
        "without_cue",
    )
    st.caption(t("With the cue, and called {label}", label=safe(one.label)))
    shots = [
        Shot(pixels, safe(one.label, 40), t("{truth} with the cue", truth=truth))
        for pixels, truth in zip(after, truths, strict=True)
    ]
    opened = choose_shot(dict(enumerate(shots, 1)), f"cue_{number}") or 1
    _show_map(found, int(places[opened - 1]), after[opened - 1], one.label)


def _show_map(found: xai.ShortcutResult, place: int, pixels: np.ndarray, label: str) -> None:
    """Show why a picture with the cue is called what it is called."""
    heatmap = found.heatmaps[place].astype(np.float32)
    title = t("Why {label}", label=label)
    panel = Panel(title, heatmap, told("explanation, positive part"), describe_map(title, label, heatmap))
    height, width = heatmap.shape
    show_small(pack(pixels, [panel], (0, 0, height, width)), key="cue map")


def _lines(found: xai.ShortcutResult) -> list[dict[str, str]]:
    order = sorted(found.responses, key=lambda one: list(_SIGNS).index(one.verdict))
    return [
        {
            t("Cue"): safe(f"{told(one.words)} ({told(one.place)})"),
            t("Verdict"): f"{_SIGNS[one.verdict]} {t(_ABOUT[one.verdict])}",
            t("What was seen"): safe(sentence(one.reason), 800),
        }
        for one in order
    ]


def _downloads(found: xai.ShortcutResult) -> None:
    stem = file_stem(str(found.model["name"]), "shortcuts")
    with st.container(horizontal=True):
        csv = found.table.to_csv(index=False).encode
        offer(t("Cues (.csv)"), csv, f"{stem}.csv", "text/csv", "shortcuts_csv", t("A line per cue"))
        tip = t("A folder that xai.ShortcutResult.load reads back")
        offer(t("Everything (.zip)"), lambda: whole_zip(found), f"{stem}.zip", "application/zip", "shortcuts_zip", tip)
