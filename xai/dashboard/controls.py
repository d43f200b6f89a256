"""What can be chosen on the pages; each choice that fits into a link is in the address."""

from collections import Counter
from collections.abc import Sequence
from inspect import signature
from typing import Any

import streamlit as st

import xai
from xai.dashboard.choices import remember, take_over
from xai.dashboard.jobs import Job, desk, result_of
from xai.dashboard.knobs import choose_own
from xai.dashboard.language import m, t, told
from xai.dashboard.photos import leave_page, upload_picture
from xai.dashboard.pictures import Picture, from_path, garments
from xai.dashboard.sets import offered as offered_data
from xai.dashboard.uploads import DATA, MODEL
from xai.dashboard.words import cost, describe_method, percent, safe
from xai.dashboard.work import Model, load_model, model_names, predicted, sentences, to_try

MOST_CLASSES, MOST_METHODS = 3, 6  # so that the maps of all fit on a page, and through the wire
_SCORES = {"logit": m("logit"), "probability": m("probability"), "margin": m("margin over the next class")}
_ACROSS = 3
_UNLOADED = "unloaded"


def choose_case() -> tuple[Model, Picture, xai.Prediction]:
    """Let the user choose a model and a picture, and show what the one says of the other."""
    uploaded = upload_picture()
    samples = st.container()
    model = choose_model()
    with samples:
        picture = uploaded or choose_sample(model)
    with sentences(), st.spinner(t("Looking at the picture …")):
        prediction = predicted(model, picture)
    show_prediction(prediction)
    return model, picture, prediction


def show_prediction(prediction: xai.Prediction) -> None:
    """Show the five most probable classes as bars."""
    st.markdown(t("**What the network sees**"))
    show_bars(prediction.top(5))


def show_bars(top: Sequence[tuple[str, float]]) -> None:
    """Show classes with their probabilities as bars."""
    for label, share in top:
        st.progress(min(1.0, max(0.0, share)), text=f"{safe(label, 60)} · {percent(share)}")


def choose_model() -> Model:
    """Let the user choose a model, and load it."""
    name = st.selectbox(t("Network"), model_names(), key="model", bind="query-params")
    remember(MODEL, name)
    if st.session_state.get(_UNLOADED) == name:
        st.info(t("The network is unloaded."), icon=":material/eject:")
        st.button(t("Load it again"), key="load_again", on_click=unload, args=(None,), icon=":material/play_arrow:")
        st.stop()
    st.session_state.pop(_UNLOADED, None)
    with sentences(), st.spinner(t("Loading the network …")):
        return load_model(name)


def unload(name: str | None) -> None:
    """Give a network's memory back, and do not load it before it is asked for again; None asks for it again."""
    if name is None:
        st.session_state.pop(_UNLOADED, None)
        return
    load_model.clear(name)
    st.session_state[_UNLOADED] = name


def keep_choices() -> None:
    """Take over network and data of the page before, unless the link has them; Streamlit forgets them in between."""
    leave_page()
    take_over({MODEL: model_names(), DATA: offered_data()})


def choose_sample(model: Model) -> Picture:
    """Offer sample pictures that suit the model: photographs, or the small grey ones for small grey inputs."""
    with sentences():
        if model.classifier.channels == 1 and model.classifier.input_size == (28, 28):
            clothes = garments()
            return clothes[_pick("garment", list(clothes))]
        photos = {photo.name: photo for photo in xai.sample_photos()}
        photo = photos[_pick("photo", list(photos))]
        st.caption(safe(f"{photo.title}. {photo.author}, {photo.licence}."))
        return from_path(photo.path, photo.name)


def _pick(key: str, names: list[str]) -> str:
    chosen = st.pills(
        t("or a sample"), names, default=names[0], required=True, key=key, format_func=safe, bind="query-params"
    )
    return chosen or names[0]


def class_names(prediction: xai.Prediction) -> dict[int, str]:
    """Return what classes are called, each in its own way."""
    times = Counter(prediction.labels)
    return {k: label if times[label] == 1 else f"{label} ({k})" for k, label in enumerate(prediction.labels)}


def choose_classes(prediction: xai.Prediction) -> tuple[int, ...]:
    """Let the user choose classes to explain, one map each; none stands for the predicted one."""
    names = class_names(prediction)
    chosen: list[int] = st.multiselect(
        t("Why this class?"),
        list(names),
        format_func=names.__getitem__,
        key="class",
        max_selections=MOST_CLASSES,
        select_all=False,
        placeholder=t("predicted: {label}", label=prediction.label),
        bind="query-params",
    )
    return tuple(chosen)


def choose_score() -> str:
    """Let the user choose which number of the class is explained."""
    chosen: str = st.selectbox(
        t("Score"),
        list(_SCORES),
        format_func=lambda name: t(_SCORES[name]),
        key="score",
        help=t(
            "A probability saturates where the network is sure; the logit does not. The margin "
            "is the logit minus the largest other one."
        ),
        bind="query-params",
    )
    return chosen


def choose_versus(prediction: xai.Prediction, targets: Sequence[int], score: str) -> int | None:
    """Let the user choose a class to explain against; None for no other."""
    names, asked, nothing = class_names(prediction), set(targets or [prediction.index]), t("no other class")
    chosen: int | None = st.selectbox(
        t("rather than"),
        [None, *(k for k in names if k not in asked)],
        format_func=lambda k: nothing if k is None else names[k],
        placeholder=nothing,
        key="versus",
        disabled=score == "margin",
        help=t("Explains the difference of the two scores. The margin has its other class already: the next best."),
        bind="query-params",
    )
    return None if score == "margin" else chosen


def choose_methods(model: Model) -> list[xai.MethodInfo]:
    """Let the user choose among all registered methods; those tried on this network and not advised say so."""
    methods = {info.name: info for info in xai.methods()}
    tried = desk().find(("methods", model.key))
    doubtful = {info.name for info in tried if not info.advised} if isinstance(tried, tuple) else set()
    if "methods" not in st.session_state:
        st.session_state["methods"] = _linked(list(methods))

    def named(name: str) -> str:
        text = f"{told(methods[name].title)} · {told(methods[name].family)} · {cost(methods[name])}"
        return t("{text} · not advised here", text=text) if name in doubtful else text

    chosen = st.multiselect(
        t("Methods, side by side"),
        list(methods),
        format_func=named,
        key="methods",
        max_selections=MOST_METHODS,
        select_all=False,
        help=t("Name, family, and how many rows go through the network, forward and back."),
    )
    st.query_params["method"] = ",".join(chosen)
    return [methods[name] for name in chosen]


def _linked(offered: Sequence[str]) -> list[str]:
    """Return the methods that the address names, or the usual one."""
    named = [name for name in st.query_params.get("method", "").split(",") if name in offered]
    return list(dict.fromkeys(named))[:MOST_METHODS] or [signature(xai.explain).parameters["method"].default]


def advise(model: Model) -> list[Job]:
    """Offer to try every method on the network, and say which it can use and why; return what is still to be done."""
    with st.expander(t("Which methods suit this network?"), key="advice", icon=":material/rule:"):
        job = to_try(model, st.container())
        if not desk().wants(job.key):
            st.markdown(t("Each method is tried on a small grey picture. A large network takes a minute."))
            st.button(t("Try all methods"), on_click=desk().want, args=(job.key,), icon=":material/play_arrow:")
            return []
        tried = result_of(job)
        if tried:
            st.table([describe_method(info) for info in tried], border="horizontal", hide_index=True)
        return [job]


def choose_settings(model: Model, methods: Sequence[xai.MethodInfo]) -> list[tuple[dict[str, Any], int]]:
    """Let the user choose layer, seed and settings of each method that has any; return settings and seed of each."""
    able = [info for info in methods if info.settings or info.stochastic]
    columns = st.columns(min(_ACROSS, len(able))) if able else []
    across = _ACROSS if len(able) == 1 else 1
    places = {info.name: columns[k % _ACROSS] for k, info in enumerate(able)}
    return [_settings(model, info, places[info.name], across) if info.name in places else ({}, 0) for info in methods]


def _settings(model: Model, method: xai.MethodInfo, place: Any, across: int) -> tuple[dict[str, Any], int]:
    settings: dict[str, Any] = {}
    seed = 0
    with place.expander(t("Settings of {title}", title=told(method.title)), icon=":material/tune:"):
        if "maps" in method.needs:
            automatic = t("automatic")
            layer = st.selectbox(
                t("Layer"),
                [None, *model.layers],
                format_func=lambda name: name or automatic,
                placeholder=automatic,
                key=f"layer_{method.name}",
                bind="query-params",
            )
            settings = {"layer": layer} if layer else {}
        settings |= choose_own(method, across)
        if method.stochastic:
            seed = st.number_input(t("Seed"), 0, 2**31 - 1, 0, key=f"seed_{method.name}", bind="query-params")
    return settings, int(seed)
