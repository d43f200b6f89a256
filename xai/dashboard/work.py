"""What the pages ask of xai: models are shared by all sessions, what is found out belongs to the session that asked."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import streamlit as st

import xai
from xai.dashboard.jobs import Job
from xai.dashboard.keeping import Key
from xai.dashboard.language import t, told
from xai.dashboard.launch import MODEL_VARIABLE, SETTINGS_VARIABLE
from xai.dashboard.lending import Lender
from xai.dashboard.pictures import Picture
from xai.dashboard.tasks import Report
from xai.dashboard.uploads import MODEL, mine, shelf
from xai.dashboard.words import safe

_ROWS_OF_TRYING = 1000
_ROWS_OF_A_RATING = 300  # and the method itself some 14 times


@dataclass(frozen=True, eq=False)
class Model:
    """A classifier that all sessions use.

    Attributes:
        name: on the pages.
        classifier: to be asked what it is; to be run it is borrowed, because explaining hangs hooks on it.
        fingerprint: of weights, wiring and preprocessing.
        layers: names of its layers.
        lender: of the network and copies of it.
    """

    name: str
    classifier: xai.Classifier
    fingerprint: str
    layers: tuple[str, ...]
    lender: Lender

    @property
    def key(self) -> Key:
        """What results of it are kept under: the same weights may have other names for the classes."""
        return (self.name, self.fingerprint)

    def borrowed(self) -> AbstractContextManager[xai.Classifier]:
        """Have a copy of the network to oneself."""
        return self.lender.borrowed()

    @property
    def code(self) -> str:
        """A Python expression that loads it."""
        kept = shelf().networks.get(self.name)
        return f"xai.load({self.name!r})" if kept is None else kept.code


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked about a picture.

    Attributes:
        method: how to find out.
        targets: the classes to explain; empty for the predicted one.
        versus: rather than this class; None for no other.
        score: "logit", "probability" or "margin".
        settings: of the method, those that are not the default.
        seed: fixes everything random.
    """

    method: xai.MethodInfo
    targets: tuple[int, ...]
    versus: int | None
    score: str
    settings: Mapping[str, Any]
    seed: int

    @property
    def target(self) -> int | list[int] | None:
        """The classes as `xai.explain` takes them."""
        return list(self.targets) if len(self.targets) > 1 else next(iter(self.targets), None)

    @property
    def extras(self) -> dict[str, Any]:
        """What else goes to `xai.explain` by name."""
        versus = {} if self.versus is None else {"versus": self.versus}
        score = {} if self.score == "logit" else {"score": self.score}
        return {**versus, **score, **self.settings}

    @property
    def key(self) -> Key:
        """All that the answer depends on, but the model and the picture."""
        settings = sorted((name, repr(value)) for name, value in self.extras.items())  # a window of 1 is none of 1.0
        return (self.method.name, self.targets, self.seed, *settings)


@dataclass(frozen=True, eq=False)
class Answer:
    """An explanation, and the question that it answers."""

    question: Question
    explanation: xai.Explanation
    key: Key


def model_names() -> list[str]:
    """Return what can be loaded: the model named at the start, the catalogue, and what the user brought.

    The first is the default, which is in no link, so nothing that others do not have may come first.
    """
    given = os.environ.get(MODEL_VARIABLE)
    names = [model.name for model in sorted(xai.catalogue(), key=lambda model: not model.available)]
    return list(dict.fromkeys([*([given] if given else []), *names, *mine(MODEL)]))


def open_network(name: str) -> xai.Classifier:
    """Return a classifier of its own, that no other session has."""
    kept = shelf().networks.get(name)
    return xai.load(name, **{"device": "auto", **_given_settings(name)}) if kept is None else kept.load()


def _given_settings(name: str) -> dict[str, Any]:
    """Return the settings of `xai.load` that the model named at the start was given; none for another."""
    if name != os.environ.get(MODEL_VARIABLE):
        return {}
    return dict(json.loads(os.environ.get(SETTINGS_VARIABLE) or "{}"))


@st.cache_resource(max_entries=2, show_spinner=False)
def load_model(name: str) -> Model:
    """Load a model; the two used last are kept."""
    classifier = open_network(name)
    lender = Lender(classifier, partial(open_network, name))
    return Model(name, classifier, classifier.fingerprint, tuple(xai.layers(classifier)), lender)


def predicted(model: Model, picture: Picture) -> xai.Prediction:
    """Return what the model answers."""
    return _predicted(model, picture, _about(model, picture))


@st.cache_resource(scope="session", max_entries=8, show_spinner=False)
def _predicted(_model: Model, _picture: Picture, key: Key) -> xai.Prediction:  # noqa: ARG001
    with _model.borrowed() as classifier:
        return classifier.predict(_picture.open())


def to_explain(model: Model, picture: Picture, question: Question, slot: Any) -> Job:
    """Return the job whose result is the explanation."""
    key = ("explanation", *_about(model, picture), *question.key)
    rows = (question.method.forward + question.method.backward) * max(1, len(question.targets))
    return Job(key, told(question.method.title), partial(_explain, model, picture, question), slot, rows)


def to_rate(model: Model, picture: Picture, answer: Answer, slot: Any) -> Job:
    """Return the job whose result says whether an explanation can be believed."""
    return Job(
        ("rating", *answer.key),
        t("Checking {title}", title=told(answer.question.method.title)),
        partial(_rate, model, picture, answer.explanation),
        slot,
        _ROWS_OF_A_RATING + 14 * (answer.question.method.forward + answer.question.method.backward),
    )


def to_try(model: Model, slot: Any) -> Job:
    """Return the job whose result says which methods the model can use, and why."""
    return Job(("methods", model.key), t("Trying all methods"), partial(_try, model), slot, _ROWS_OF_TRYING)


def _explain(model: Model, picture: Picture, question: Question, report: Report | None) -> xai.Explanation:
    with model.borrowed() as classifier:
        return xai.explain(
            classifier,
            picture.open(),
            question.method.name,
            question.target,
            question.seed,
            progress=report,
            **question.extras,
        )


def _rate(model: Model, picture: Picture, explanation: xai.Explanation, report: Report | None) -> xai.Rating:
    with model.borrowed() as classifier:
        return xai.rate_explanation(classifier, picture.open(), explanation, progress=report)


def _try(model: Model, report: Report | None) -> tuple[xai.MethodInfo, ...]:
    with model.borrowed() as classifier:
        return tuple(xai.methods(classifier, progress=report))


def _about(model: Model, picture: Picture) -> Key:
    return (model.key, picture.identity, picture.name)


@contextmanager
def sentences() -> Iterator[None]:
    """Turn what goes wrong on purpose into a sentence on the page, and end the run there."""
    try:
        yield
    except xai.XaiError as error:
        st.error(safe(error), icon=":material/error:")
        st.stop()
