"""What is asked about a whole data set: robust accuracy over radii, accuracy under corruptions."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

import xai
from xai.dashboard.jobs import Job, Report, watched
from xai.dashboard.launch import DATA_VARIABLE
from xai.dashboard.pictures import Picture
from xai.dashboard.words import safe
from xai.dashboard.work import Model, sentences

EXAMPLES = ("example:fashion-test", "example:fashion-train", "example:digits")
_ROWS_OF_A_CURVE = 3000  # per picture; only an order of size
_SEVERITIES = 5
_MOST, _USUAL = 2000, 50  # pictures


@dataclass(frozen=True, eq=False)
class Sample:
    """Some pictures of a data set, drawn once.

    Attributes:
        name: of the data set, as in `xai.load_data`.
        count: how many pictures were asked for.
        seed: of the draw.
        data: the pictures.
    """

    name: str
    count: int
    seed: int
    data: xai.Dataset

    @property
    def key(self) -> tuple[str, int, int]:
        """All that the draw depends on."""
        return (self.name, self.count, self.seed)

    @property
    def code(self) -> str:
        """A Python expression for it."""
        return f"xai.load_data({self.name!r}).subset({len(self.data)}, seed={self.seed})"

    def label(self, k: int) -> str:
        """Return the true class of picture `k`."""
        return self.data.classes[int(np.asarray(self.data.labels)[k])]

    def picture(self, k: int) -> Picture:
        """Return picture `k`."""
        name = f"{self.name} {k}"
        return Picture(name, "/".join(map(str, (*self.key, k))), self.data.images[k], f"{self.code}.images[{k}]")

    def same_classes(self, model: Model) -> bool:
        """Say whether the model counts its classes as the data does."""
        return tuple(self.data.classes) == tuple(model.classifier.labels)

    def truth(self, model: Model) -> list[Any]:
        """Return the true classes: by number where the model counts as the data does, else by name."""
        numbers = [int(k) for k in np.asarray(self.data.labels)]
        return numbers if self.same_classes(model) else [self.data.classes[k] for k in numbers]

    def code_of_truth(self, model: Model) -> str:
        """Return what a call needs besides the data to take the labels right."""
        return "" if self.same_classes(model) else ", [data.classes[k] for k in data.labels]"


def choose_sample(model: Model) -> Sample:
    """Let the user choose a data set that suits the model, and how many pictures of it."""
    with sentences():
        names = suiting(model)
    if not names:
        st.info(
            "No data set here has this network's classes. Choose an example network, or start with "
            "`xai dashboard --data FOLDER`, one folder per class.",
            icon=":material/folder_off:",
        )
        st.stop()
    name = st.selectbox("Pictures", names, key="data", bind="query-params")
    left, right = st.columns(2)
    count = int(left.number_input("How many", 10, _MOST, _USUAL, 10, key="count", bind="query-params"))
    seed = int(right.number_input("Seed", 0, 2**31 - 1, 0, key="sample_seed", bind="query-params"))
    with sentences(), st.spinner("Drawing pictures …"):
        sample = draw(name, count, seed)
    st.caption(f"{len(sample.data)} pictures drawn from {safe(sample.name)}.")
    return sample


@st.cache_resource(max_entries=4, show_spinner=False)
def draw(name: str, count: int, seed: int) -> Sample:
    """Draw pictures from a data set; all of them where it has no more."""
    data = xai.load_data(name)
    return Sample(name, count, seed, data.subset(min(count, len(data)), seed=seed))


def suiting(model: Model) -> list[str]:
    """Return the data sets whose classes the model knows, the one named at the start first.

    Raises:
        DataError: the one named at the start cannot be read.
    """
    given = os.environ.get(DATA_VARIABLE)
    labels = set(model.classifier.labels)
    names = dict.fromkeys([given, *EXAMPLES] if given else EXAMPLES)
    return [name for name in names if labels.issuperset(classes_of(name) or [None])]


@st.cache_data(show_spinner=False, max_entries=16)
def classes_of(name: str) -> tuple[str, ...]:
    """Return the classes of a data set by name."""
    return tuple(xai.load_data(name).classes)


def to_curve(model: Model, sample: Sample, asked: Mapping[str, Any], slot: Any) -> Job:
    """Return the job whose result is the robustness curve; `asked` goes to `xai.robustness`."""
    key = ("curve", model.fingerprint, *sample.key, *sorted(asked.items()))
    ask = partial(_curve, model, sample, dict(asked))
    return Job(key, "Attacking and proving", ask, slot, _ROWS_OF_A_CURVE * len(sample.data))


def to_corruptions(model: Model, sample: Sample, names: Sequence[str], slot: Any) -> Job:
    """Return the job whose result is the accuracy under corruptions."""
    key = ("corruptions", model.fingerprint, *sample.key, *names)
    ask = partial(_corruptions, model, sample, tuple(names))
    return Job(key, "Corrupting", ask, slot, _SEVERITIES * len(names) * len(sample.data))


def _curve(model: Model, sample: Sample, asked: dict[str, Any], report: Report | None) -> xai.RobustnessCurve:
    with model.lock:
        return xai.robustness(model.classifier, sample.data, sample.truth(model), **asked, **watched(report))


def _corruptions(model: Model, sample: Sample, names: tuple[str, ...], report: Report | None) -> xai.CorruptionResult:
    with model.lock:
        truth = sample.truth(model)
        return xai.corruption_robustness(model.classifier, sample.data, truth, names, **watched(report))
