"""The lines of Python that give what a page shows."""

from collections.abc import Sequence

import streamlit as st

from xai.dashboard.language import t
from xai.dashboard.pictures import Picture
from xai.dashboard.words import call_for, code_for, script
from xai.dashboard.work import Model, Question


def show_code(model: Model, picture: Picture, questions: Sequence[Question]) -> None:
    """Show the lines of Python that make the same picture, with a button that copies them."""
    _show_code(code_for(model.code, picture.code, [call_of(model, question) for question in questions]))


def show_script(model: Model, *lines: str) -> None:
    """Show the lines of Python that give the same result with the network as `clf`."""
    _show_code(script(model.code, *lines))


def show_pair(models: Sequence[Model], picture: Picture, question: Question) -> None:
    """Show the lines of Python that explain the same picture with two networks."""
    first, second = (call_of(model, question) for model in models)
    lines = [f"image = {picture.code}", f"first = {first}", f"other = {models[1].code}"]
    lines += [f"second = {second.replace('(clf, ', '(other, ')}", "first.plot(), second.plot()"]
    _show_code(script(models[0].code, *lines))


def _show_code(text: str) -> None:
    with st.expander(t("Copy the code"), icon=":material/code:"):
        st.code(text, language="python", wrap_lines=True)


def call_of(model: Model, question: Question, verb: str = "explain", *more: str) -> str:
    """Return the call of xai that asks a question; `more` arguments go with another verb."""
    named = [_named(model, k) for k in question.targets]
    target = named if len(named) > 1 else next(iter(named), None)
    extras = dict(question.extras)
    if question.versus is not None:
        extras["versus"] = _named(model, question.versus)
    return call_for(question.method.name, target, question.seed, extras, verb, *more)


def _named(model: Model, k: int) -> str | int:
    """Return a class by name where the name is its own."""
    labels = model.classifier.labels
    return labels[k] if labels.count(labels[k]) == 1 else k
