"""The same map with other replacement values, and at other layers."""

from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

import xai
from xai.dashboard import widgets as ui
from xai.dashboard.session import (
    ExplanationRequest,
    Job,
    PageExplanation,
    Report,
    SharedModel,
    SourceImage,
    progress_arguments,
    progress_in_turn,
    progress_parts,
    rows_of,
)
from xai.dashboard.text import correlation, describe_map, language, safe, t, told

_KNOBS = ("baseline", "fill")
_FILLS: tuple[str, ...] = signature(xai.compare_baselines).parameters["baselines"].default
_MOST = 6  # layers
_SIDE = 224  # pixels of a thumbnail
_WIDTH = 104  # pixels of the page: six fit beside the left column
_ROWS_OF_A_CHECK = 15  # a layer that is named is tried before it is believed


def show_fills(model: SharedModel, image: SourceImage, page_map: PageExplanation) -> list[Job]:
    """Show a map with several replacement values, or a button that asks for it; return the job when it was asked for.

    Nothing is shown for methods that hide no pixels.
    """
    page_map = replace(page_map, question=_without_fill(page_map.question))
    question = page_map.question
    fills = fills_of(question.method)
    if not fills:
        return []
    if question.versus is not None or question.score != "logit":
        st.caption(t("Replacement values can be compared for the logit of a class, not against another class."))
        return []
    job = fills_job(model, image, page_map, fills, st.container())

    def show(result: xai.results.Agreement) -> None:
        _show_fills(result, question)
        call = ui.call_of(model, question, "compare_baselines", f"baselines={fills!r}")
        ui.show_script(model, f"image = {image.code}", f"together = {call}", "print(together.table)", "together.plot()")

    tip = t(
        "Explains with {count} replacement values for hidden pixels: {fills}. About {rows} rows.",
        count=len(fills),
        fills=", ".join(map(told, fills)),
        rows=job.rows,
    )
    return ui.ask(job, t("Does the replacement value matter?"), tip, show, first=False)


def fills_of(method: xai.results.MethodInfo) -> tuple[str, ...]:
    """Return the replacement values to compare; none where no pixels are hidden, as along paths of gradients."""
    able = next((method.choices[name] for name in _KNOBS if name in method.choices), ())
    return () if "gradients" in method.needs else tuple(name for name in _FILLS if name in able)


def _without_fill(question: ExplanationRequest) -> ExplanationRequest:
    """Return the question without the fill that was chosen: all of them are compared."""
    return replace(question, settings={name: v for name, v in question.settings.items() if name not in _KNOBS})


def fills_job(
    model: SharedModel, image: SourceImage, page_map: PageExplanation, fills: tuple[str, ...], slot: Any
) -> Job:
    """Return the job whose result is the comparison of the replacement values."""
    question, count = page_map.question, len(fills)
    method = question.method

    def compare(classifier: xai.Classifier, report: Report | None) -> xai.results.Agreement:
        settings = {**progress_arguments(progress_in_turn(report, count)), **question.settings}
        target, seed = question.target, question.seed
        return xai.compare_baselines(classifier, image.open(), method.name, fills, target, seed, **settings)

    title = t("{title} with {count} replacement values", title=told(method.title), count=count)
    return Job(("fills", *page_map.key), title, model.ask(compare), slot, count * rows_of(method))


def _show_fills(agreement: xai.results.Agreement, question: ExplanationRequest) -> None:
    first = agreement.explanations[0]
    panels = [panel for k in range(len(first)) for panel in ui.panels_of(agreement, k, first.target_names[k])]
    st.markdown(t("**The same map with other replacement values**"))
    packed = ui.pack(first.images[0], panels, first.geometries[0].seen)
    ui.show_maps(packed, key=f"fills {question.method.name}")
    st.markdown(describe_fills(agreement))
    alt = t("Rank correlation of the maps with every two replacement values")
    ui.show_table(
        t("Rank correlation of every two replacement values"), agreement.table.round(2), alt, hide_index=False
    )


def describe_fills(agreement: xai.results.Agreement) -> str:
    """Say between which replacement values the maps differ most, and by how much."""
    count = len(agreement.names)
    pairs = [(float(agreement.rank_correlation[i, j]), i, j) for i in range(count) for j in range(i)]
    lowest, i, j = min(pairs)
    first, second = (safe(told(agreement.names[k])) for k in (j, i))
    return t(
        "The maps differ most between **{first}** and **{second}**: rank correlation {lowest}, and {value:.0f} % of "
        "their top tenths of pixels in common; {mean} on average over all pairs. What only one replacement value shows "
        "is due to that value rather than to the model.",
        first=first,
        second=second,
        lowest=correlation(lowest),
        value=100 * agreement.overlap[i, j],
        mean=correlation(float(np.mean([value for value, _, _ in pairs]))),
    )


@dataclass(frozen=True, eq=False)
class LayerMap:
    """What a method sees at one layer.

    Attributes:
        layer: its name.
        pixels: (h, w, 3) uint8, what the model sees of the image, under the map; None where there is no map.
        text: a sentence about the map, or why there is none.
        size: of the map at the layer, "14 x 14"; "" where it is not known.
    """

    layer: str
    pixels: np.ndarray | None
    text: str
    size: str


def show_layers(model: SharedModel, image: SourceImage, page_map: PageExplanation) -> list[Job]:
    """Show the map at other layers once it is asked for; return the job then. Nothing for methods without a layer."""
    method = page_map.question.method
    if "maps" not in method.needs:
        return []
    key = f"strip {method.name}"
    with st.expander(t("At other layers"), icon=":material/layers:", key=key, on_change="rerun") as box:
        if not box.open:
            return []
        job = layers_job(model, image, page_map)
        result = ui.result_of(job)
        if result is not None:
            st.caption(t("From the first layers to the last: early ones respond to edges, late ones to objects."))
            with st.container(horizontal=True):
                for layer in result:
                    with st.container(width=_WIDTH):
                        _show_layer(layer, page_map)
    return [job]


def layers_job(model: SharedModel, image: SourceImage, page_map: PageExplanation) -> Job:
    """Return the job whose result is a tuple of maps, one per layer."""
    question = page_map.question
    others = {name: value for name, value in question.settings.items() if name != "layer"}
    arguments = replace(question, targets=question.targets[:1], settings=others)

    def look(classifier: xai.Classifier, report: Report | None) -> tuple[LayerMap, ...]:
        layers = xai.layers(classifier, most=_MOST)
        reports = progress_parts(report, len(layers))
        return tuple(_at_layer(classifier, image, arguments, layer, reports[k]) for k, layer in enumerate(layers))

    key = ("strip", language(), model.key, image.identity, image.name, *arguments.key)
    title = t("{title} at other layers", title=told(question.method.title))
    rows = _MOST * (rows_of(question.method) + _ROWS_OF_A_CHECK)
    return Job(key, title, model.ask(look), st.container(), rows)


def _at_layer(
    classifier: xai.Classifier, image: SourceImage, question: ExplanationRequest, layer: str, report: Report | None
) -> LayerMap:
    arguments = question.method.name, question.target, question.seed
    more = {**progress_arguments(report), **question.extras}
    try:
        result = xai.explain(classifier, image.open(), *arguments, layer=layer, **more)
    except xai.XaiError as error:  # one layer that cannot be looked at must not hide the others
        return LayerMap(layer, None, str(error), "")
    top, left, bottom, right = map(int, result.geometries[0].seen)
    small = Image.fromarray(result.overlay()[top:bottom, left:right])
    small.thumbnail((_SIDE, _SIDE))
    size = "" if result.coarse is None else " x ".join(str(side) for side in result.coarse.shape[1:])
    text = describe_map(question.method.title, result.target_names[0], result.heatmaps[0])
    return LayerMap(layer, np.asarray(small), text, size)


def _show_layer(layer: LayerMap, page_map: PageExplanation) -> None:
    """Show the map at a layer, and the button that makes the layer that of the method."""
    name = safe(layer.layer, 60) + (f"\n\n{layer.size}" if layer.size else "")
    if layer.pixels is None:
        st.caption(f"{name}\n\n{safe(layer.text)}")
        return
    alt = t("At layer {layer}: {told}", layer=layer.layer, told=layer.text)
    ui.show_image(ui.GalleryImage(layer.pixels, name, alt))
    here = page_map.explanation.layer == layer.layer
    method = page_map.question.method.name
    st.button(
        t("Chosen") if here else t("Choose"),
        key=f"layer {method} {layer.layer}",
        on_click=_choose,
        args=(method, layer.layer),
        disabled=here,
        width="stretch",
    )


def _choose(method: str, layer: str) -> None:
    st.session_state[f"layer_{method}"] = layer
