"""Everything slow, done once: models are shared by all sessions, results belong to the session that asked."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import streamlit as st

import xai
from xai.dashboard.launch import MODEL_VARIABLE
from xai.dashboard.panels import Panel, pack, shown_pixels
from xai.dashboard.pictures import Picture
from xai.dashboard.words import describe_map, safe


@dataclass(frozen=True, eq=False)
class Model:
    """A classifier that all sessions use, one at a time: explaining borrows the network and hangs hooks on it."""

    name: str
    classifier: xai.Classifier
    fingerprint: str
    layers: tuple[str, ...]
    lock: Any  # a threading.Lock


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked about a picture; `settings` go to the method."""

    method: xai.MethodInfo
    target: int | None
    settings: Mapping[str, Any]
    seed: int


@dataclass(frozen=True, eq=False)
class Answer:
    """An explanation, and what the viewer shows of it."""

    explanation: xai.Explanation
    packed: dict[str, Any]


def model_names() -> list[str]:
    """Return what can be loaded: the model named when the dashboard was started, then those that are installed."""
    given = os.environ.get(MODEL_VARIABLE)
    names = [model.name for model in sorted(xai.catalogue(), key=lambda model: not model.available)]
    return list(dict.fromkeys([given, *names] if given else names))


@st.cache_resource(max_entries=2, show_spinner=False)
def load_model(name: str) -> Model:
    """Load a model; the two used last are kept."""
    classifier = xai.load(name, device="auto")
    return Model(name, classifier, classifier.fingerprint, tuple(xai.layers(classifier)), Lock())


def predicted(model: Model, picture: Picture) -> xai.Prediction:
    """Return what the model answers."""
    return _predicted(model, picture, (model.fingerprint, picture.identity, picture.name))


def explained(model: Model, picture: Picture, question: Question) -> Answer:
    """Return why the model answers so; asked again, nothing is computed."""
    asked = (question.method.name, question.target, question.seed, *sorted(question.settings.items()))
    return _explained(model, picture, question, (model.fingerprint, picture.identity, picture.name, *asked))


@st.cache_resource(scope="session", max_entries=8, show_spinner=False)
def _predicted(_model: Model, _picture: Picture, key: tuple[Any, ...]) -> xai.Prediction:  # noqa: ARG001
    with _model.lock:
        return _model.classifier.predict(_picture.open())


@st.cache_resource(scope="session", max_entries=4, show_spinner=False)
def _explained(_model: Model, _picture: Picture, _question: Question, key: tuple[Any, ...]) -> Answer:  # noqa: ARG001
    method = _question.method
    with _model.lock:
        found = xai.explain(
            _model.classifier, _picture.open(), method.name, _question.target, _question.seed, **_question.settings
        )
    heatmap, label = found.heatmap, found.labels[0]
    small = heatmap[np.ix_(*(shown_pixels(side, heatmap.shape) for side in heatmap.shape))]
    panel = Panel(f"{method.title} for {label}", heatmap, found.unit, describe_map(method.title, label, small))
    return Answer(found, pack(found.pictures[0], [panel], found.geometries[0].seen))


@contextmanager
def sentences() -> Iterator[None]:
    """Turn what goes wrong on purpose into a sentence on the page, and end the run there."""
    try:
        yield
    except xai.XaiError as error:
        st.error(safe(error), icon=":material/error:")
        st.stop()
