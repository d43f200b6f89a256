"""Data sets of the session, samples of their images, and jobs on them."""

import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

import xai
from xai.dashboard.environment import DATA_VARIABLE
from xai.dashboard.session.jobs import Job, progress_arguments
from xai.dashboard.session.models import SharedModel
from xai.dashboard.session.tasks import Report
from xai.dashboard.session.uploads import DATA, SourceImage, session_uploads, upload_store
from xai.dashboard.text import t

EXAMPLES = ("example:fashion-test", "example:fashion-train", "example:digits")


_ROWS_OF_A_CURVE = 3000  # per image; only an order of size


_SEVERITIES = 5


_MOST_PARTS = 6


@dataclass(frozen=True, eq=False)
class DataSample:
    """Some images of a data set, drawn once.

    Attributes:
        name: of the data set, as in `xai.load_data`, or of a part of it: "DATA@PART".
        count: how many images were asked for.
        seed: of the draw.
        data: the images.
        taken: which of the drawn ones, as code.
        stamp: of the files it was drawn from.
    """

    name: str
    count: int
    seed: int
    data: xai.Dataset
    taken: str = ""
    stamp: tuple[Hashable, ...] = ()

    @property
    def key(self) -> tuple[Hashable, ...]:
        """All that the draw depends on."""
        return (self.name, self.count, self.seed, self.taken, *self.stamp)

    @property
    def code(self) -> str:
        """A Python expression for it."""
        source, part = parted(self.name)
        shown = shown_name(source)
        named = repr(shown) if part is None else f"{shown!r}, part={part!r}"
        return f"xai.load_data({named}).subset({self.count}, seed={self.seed}){self.taken}"

    def every(self, step: int, first: int) -> "DataSample":
        """Return every `step`-th of the images from number `first` on."""
        rows = range(first, len(self.data), step)
        return replace(self, data=self.data.take(rows), taken=f"{self.taken}.take({rows})")

    def label(self, k: int) -> str:
        """Return the true class of image `k`."""
        return self.data.class_names[int(np.asarray(self.data.labels)[k])]

    def image(self, k: int) -> SourceImage:
        """Return image `k`."""
        name = f"{self.name} {k}"
        return SourceImage(name, "/".join(map(str, (*self.key, k))), self.data.images[k], f"{self.code}.images[{k}]")

    def same_classes(self, model: SharedModel) -> bool:
        """Say whether the model counts its classes as the data does."""
        return tuple(self.data.class_names) == tuple(model.classifier.class_names)

    def ground_truth(self, model: SharedModel) -> list[Any]:
        """Return the true classes: by number where the model counts as the data does, else by name."""
        numbers = [int(k) for k in np.asarray(self.data.labels)]
        return numbers if self.same_classes(model) else [self.data.class_names[k] for k in numbers]

    def code_of_labels(self, model: SharedModel) -> str:
        """Return what a call needs besides the data to take the labels right."""
        return "" if self.same_classes(model) else ", [data.class_names[k] for k in data.labels]"


def draw_sample(name: str, count: int, seed: int) -> DataSample:
    """Draw images from a data set; all of them where it has no more."""
    return _draw(name, count, seed, stamp_of(source_of(parted(name)[0])))


@st.cache_resource(max_entries=6, show_spinner=False)
def _draw(name: str, count: int, seed: int, stamp: tuple[Hashable, ...]) -> DataSample:
    source, part = parted(name)
    data = xai.load_data(source_of(source), part=part)
    return DataSample(name, count, seed, data.subset(min(count, len(data)), seed=seed), stamp=stamp)


def stamp_of(source: str) -> tuple[Hashable, ...]:
    """Return what changes when a file, or what lies in a folder and the folders in it, is changed: results are kept."""
    path = Path(source)
    if not path.exists():
        return ()
    inside = (entry for entry in os.scandir(path) if entry.is_dir()) if path.is_dir() else ()
    result = [path.stat(), *(entry.stat() for entry in inside)]
    return (max(status.st_mtime_ns for status in result), sum(status.st_size for status in result), len(result))


def suitable_data(model: SharedModel) -> list[str]:
    """Return the data sets whose classes the model knows, the one named at the start first.

    Raises:
        DataError: the one named at the start cannot be read.
    """
    labels = set(model.classifier.class_names)
    return [name for name in data_names() if labels.issuperset(classes_of(name) or [None])]


def data_names() -> list[str]:
    """Return all data sets: the one named at the start, the examples, and what the user brought."""
    given = os.environ.get(DATA_VARIABLE)
    return list(dict.fromkeys([*([given] if given else []), *EXAMPLES, *session_uploads(DATA)]))


def source_of(name: str) -> str:
    """Return what `xai.load_data` takes for a data set of this name."""
    upload = upload_store().data.get(name)
    return name if upload is None else upload.source


def shown_name(name: str) -> str:
    """Return what a data set is called outside of this process."""
    upload = upload_store().data.get(name)
    return name if upload is None else upload.shown


def with_parts(names: Sequence[str]) -> list[str]:
    """Return data sets, each followed by its fixed parts: "DATA@PART"."""
    return [choice for name in names for choice in (name, *(f"{name}@{part}" for part in _parts_of(name)))]


def classes_of(name: str) -> tuple[str, ...]:
    """Return the classes of a data set by name."""
    return _about(source_of(name), stamp_of(source_of(name)))[0]


def _parts_of(name: str) -> tuple[str, ...]:
    return _about(source_of(name), stamp_of(source_of(name)))[1]


@st.cache_data(show_spinner=False, max_entries=16)
def _about(source: str, stamp: tuple[Hashable, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:  # noqa: ARG001
    """Return classes and fixed parts of a data set."""
    data = xai.load_data(source)
    parts = data.parts
    return tuple(data.class_names), parts if len(parts) <= _MOST_PARTS else ()


def parted(name: str) -> tuple[str, str | None]:
    """Return the data set and the part that a name stands for."""
    source, sign, part = name.rpartition("@")
    return (source, part) if sign and not Path(name).exists() else (name, None)


def curve_job(model: SharedModel, sample: DataSample, arguments: Mapping[str, Any], slot: Any) -> Job:
    """Return the job whose result is the robustness curve; `asked` goes to `xai.robustness`."""

    def curve(classifier: xai.Classifier, report: Report | None) -> xai.results.RobustnessCurve:
        ground_truth = sample.ground_truth(model)
        return xai.robustness(classifier, sample.data, ground_truth, **arguments, **progress_arguments(report))

    key = ("curve", model.key, *sample.key, *sorted(arguments.items()))
    return Job(key, t("Attacking and certifying"), model.ask(curve), slot, _ROWS_OF_A_CURVE * len(sample.data))


def corruptions_job(model: SharedModel, sample: DataSample, names: Sequence[str], slot: Any) -> Job:
    """Return the job whose result is the accuracy under corruptions."""

    def measure(classifier: xai.Classifier, report: Report | None) -> xai.results.CorruptionResult:
        ground_truth = sample.ground_truth(model)
        return xai.corruption_robustness(
            classifier, sample.data, ground_truth, tuple(names), **progress_arguments(report)
        )

    key = ("corruptions", model.key, *sample.key, *names)
    rows = _SEVERITIES * len(names) * len(sample.data)
    return Job(key, t("Corrupting"), model.ask(measure), slot, rows, model.example)


def verb_job(
    verb: str,
    title: str,
    model: SharedModel,
    samples: Sequence[DataSample],
    slot: Any,
    rows: int,
    **arguments: Hashable,
) -> Job:
    """Return the job whose result is what a verb of xai, which takes labels from the data, says of data sets.

    Args:
        verb: "bias", "shortcuts", "drift", ...
        title: what is done, in words.
        model: asked about.
        samples: the data sets, in the order in which the verb takes them.
        slot: of the page.
        rows: how many go through the model, about.
        arguments: further arguments of the verb.
    """

    def ask(classifier: xai.Classifier, report: Report | None) -> Any:
        data = [sample.data for sample in samples]
        return getattr(xai, verb)(classifier, *data, **arguments, **progress_arguments(report))

    key = (verb, model.key, *(sample.key for sample in samples), *sorted(arguments.items()))
    return Job(key, title, model.ask(ask), slot, rows, model.example)
