"""Copies of a model for parallel work. Quick work need not wait for long work."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any

import streamlit as st

import xai
from xai.dashboard.environment import given_model, given_settings
from xai.dashboard.session.jobs import Job
from xai.dashboard.session.tasks import Key, Report
from xai.dashboard.session.uploads import MODEL, SourceImage, session_uploads, upload_store
from xai.dashboard.text import t, told

_MOST = 4  # one more than there are tasks at once


class ModelCopies:
    """Copies of one model; each is lent to one piece of work at a time.

    Args:
        first: the copy that is there already.
        another: gives a further one.
    """

    def __init__(self, first: xai.Classifier, another: Callable[[], xai.Classifier]) -> None:
        self._copies: list[tuple[xai.Classifier, Any]] = [(first, Lock())]
        self._another, self._guard = another, Lock()

    @contextmanager
    def borrowed(self) -> Iterator[xai.Classifier]:
        """Have a copy until the end of the block; a further one is loaded when all are lent."""
        classifier, lock = self._take()
        try:
            yield classifier
        finally:
            lock.release()

    def lent(self) -> int:
        """Return how many copies are lent."""
        return sum(lock.locked() for _, lock in self._copies)

    def _take(self) -> tuple[xai.Classifier, Any]:
        with self._guard:
            copy = next((copy for copy in self._copies if copy[1].acquire(blocking=False)), None) or self._load()
        if copy is None:
            copy = self._copies[0]
            copy[1].acquire()
        return copy

    def _load(self) -> tuple[xai.Classifier, Any] | None:
        """Return a new copy, lent already; None where there are enough, or a file is no longer what it was."""
        if len(self._copies) == _MOST:
            return None
        try:
            classifier = self._another()
        except xai.XaiError:
            return None
        if classifier.fingerprint != self._copies[0][0].fingerprint:
            return None
        lock = Lock()
        lock.acquire()
        self._copies.append((classifier, lock))
        return self._copies[-1]


_ROWS_OF_TRYING = 1000
_ROWS_OF_A_RATING = 300  # and the method itself some 14 times


@dataclass(frozen=True, eq=False)
class SharedModel:
    """A classifier that all sessions use.

    Attributes:
        name: on the pages.
        classifier: to be asked what it is; to be run it is borrowed, because explaining hangs hooks on it.
        fingerprint: of weights, wiring and preprocessing.
        layers: names of its layers.
        lender: of the model and copies of it.
    """

    name: str
    classifier: xai.Classifier
    fingerprint: str
    layers: tuple[str, ...]
    lender: ModelCopies

    @property
    def example(self) -> bool:
        """Whether it is a small one that comes with the package."""
        return self.name.startswith("example:")

    @property
    def key(self) -> Key:
        """What results of it are kept under: the same weights may have other names for the classes."""
        return (self.name, self.fingerprint)

    def class_name(self, k: int) -> str | int:
        """Return a class by name where the name is its own, else by number."""
        labels = self.classifier.class_names
        return labels[k] if labels.count(labels[k]) == 1 else k

    def borrowed(self) -> AbstractContextManager[xai.Classifier]:
        """Have a copy of the model to oneself."""
        return self.lender.borrowed()

    def ask(self, call: Callable[[xai.Classifier, Report | None], Any]) -> Callable[[Report | None], Any]:
        """Return the work of a job that borrows a copy of the model for a call."""

        def work(report: Report | None) -> Any:
            with self.borrowed() as classifier:
                return call(classifier, report)

        return work

    @property
    def code(self) -> str:
        """A Python expression that loads it."""
        upload = upload_store().models.get(self.name)
        return f"xai.load({self.name!r})" if upload is None else upload.code


@dataclass(frozen=True, eq=False)
class ExplanationRequest:
    """What is asked about an image.

    Attributes:
        method: how to find out.
        targets: the classes to explain; empty for the predicted one.
        versus: rather than this class; None for no other.
        score: "logit", "probability" or "margin".
        settings: of the method, those that are not the default.
        seed: fixes everything random.
    """

    method: xai.results.MethodInfo
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
        """All that the prediction depends on, but the model and the image."""
        settings = sorted((name, repr(value)) for name, value in self.extras.items())  # a window of 1 is none of 1.0
        return (self.method.name, self.targets, self.seed, *settings)


@dataclass(frozen=True, eq=False)
class PageExplanation:
    """An explanation, and the question that it answers."""

    question: ExplanationRequest
    explanation: xai.Explanation
    key: Key


def model_names() -> list[str]:
    """Return what can be loaded: the model named at the start, the catalogue, and what the user brought.

    The first is the default, which is in no link, so nothing that others do not have may come first.
    """
    given = given_model()
    names = [model.name for model in sorted(xai.catalogue(), key=lambda model: not model.available)]
    return list(dict.fromkeys([*([given] if given else []), *names, *session_uploads(MODEL)]))


def open_model(name: str) -> xai.Classifier:
    """Return a classifier of its own, that no other session has."""
    upload = upload_store().models.get(name)
    return xai.load(name, **{"device": "auto", **given_settings(name)}) if upload is None else upload.load()


@st.cache_resource(max_entries=2, show_spinner=False)
def load_model(name: str) -> SharedModel:
    """Load a model; the two used last are kept."""
    classifier = open_model(name)
    lender = ModelCopies(classifier, partial(open_model, name))
    return SharedModel(name, classifier, classifier.fingerprint, tuple(xai.layers(classifier)), lender)


def predicted(model: SharedModel, image: SourceImage) -> xai.results.Prediction:
    """Return what the model answers."""
    return _predicted(model, image, _about(model, image))


@st.cache_resource(scope="session", max_entries=8, show_spinner=False)
def _predicted(_model: SharedModel, _image: SourceImage, key: Key) -> xai.results.Prediction:  # noqa: ARG001
    with _model.borrowed() as classifier:
        return classifier.predict(_image.open())


def explanation_job(model: SharedModel, image: SourceImage, question: ExplanationRequest, slot: Any) -> Job:
    """Return the job whose result is the explanation."""
    method = question.method

    def explain(classifier: xai.Classifier, report: Report | None) -> xai.Explanation:
        arguments = method.name, question.target, question.seed
        return xai.explain(classifier, image.open(), *arguments, progress=report, **question.extras)

    key = ("explanation", *_about(model, image), *question.key)
    return Job(key, told(method.title), model.ask(explain), slot, rows_of(method) * max(1, len(question.targets)))


def rows_of(method: xai.results.MethodInfo) -> int:
    """Return how many rows a method sends through the model, forward and back."""
    return method.forward + method.backward


def rating_job(model: SharedModel, image: SourceImage, page_map: PageExplanation, slot: Any) -> Job:
    """Return the job whose result says whether an explanation can be believed."""

    def rate(classifier: xai.Classifier, report: Report | None) -> xai.results.Rating:
        return xai.rate_explanation(classifier, image.open(), page_map.explanation, progress=report)

    method = page_map.question.method
    title = t("Checking {title}", title=told(method.title))
    return Job(("rating", *page_map.key), title, model.ask(rate), slot, _ROWS_OF_A_RATING + 14 * rows_of(method))


def methods_job(model: SharedModel, slot: Any) -> Job:
    """Return the job whose result says which methods the model can use, and why."""
    ask = model.ask(lambda classifier, report: tuple(xai.methods(classifier, progress=report)))
    return Job(("methods", model.key), t("Trying all methods"), ask, slot, _ROWS_OF_TRYING)


def _about(model: SharedModel, image: SourceImage) -> Key:
    return (model.key, image.identity, image.name)
