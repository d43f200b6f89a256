"""Data sets: which there are, some pictures of one, and what is asked about all of these."""

import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

import xai
from xai.dashboard.choices import only_among, remember
from xai.dashboard.jobs import Job, watched
from xai.dashboard.language import t
from xai.dashboard.launch import DATA_VARIABLE
from xai.dashboard.pictures import Picture
from xai.dashboard.tasks import Report
from xai.dashboard.uploads import DATA, mine, shelf
from xai.dashboard.words import safe
from xai.dashboard.work import Model, model_names, sentences

EXAMPLE = "example:fashion"
EXAMPLES = ("example:fashion-test", "example:fashion-train", "example:digits")
_ROWS_OF_A_CURVE = 3000  # per picture; only an order of size
_SEVERITIES = 5
_MOST, _USUAL = 2000, 50  # pictures
_FEWEST = 10
_MOST_PARTS = 6


@dataclass(frozen=True, eq=False)
class Sample:
    """Some pictures of a data set, drawn once.

    Attributes:
        name: of the data set, as in `xai.load_data`, or of a part of it: "DATA@PART".
        count: how many pictures were asked for.
        seed: of the draw.
        data: the pictures.
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

    def every(self, step: int, first: int) -> "Sample":
        """Return every `step`-th of the pictures from number `first` on."""
        rows = range(first, len(self.data), step)
        return replace(self, data=self.data.take(rows), taken=f"{self.taken}.take({rows})")

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


def choose_sample(model: Model, key: str = "count", usual: int = _USUAL, most: int = _MOST) -> Sample:
    """Let the user choose a data set that suits the model, and how many pictures of it.

    Args:
        model: knows the classes.
        key: of the number of pictures: pages that need other numbers have their own.
        usual: the number that is proposed.
        most: the largest one.
    """
    names = names_for(model)
    only_among(DATA, names)
    name = st.selectbox(t("Pictures"), names, key=DATA, bind="query-params")
    remember(DATA, name)
    count, seed = choose_size(t("How many"), key, usual, most)
    with sentences(), st.spinner(t("Drawing pictures …")):
        sample = draw(name, count, seed)
    st.caption(t("{count} pictures drawn from {name}.", count=len(sample.data), name=safe(sample.name)))
    return sample


def choose_data() -> str:
    """Let the user choose among all data sets, whatever the network."""
    name: str = st.selectbox(t("Data set"), offered(), key=DATA, bind="query-params")
    remember(DATA, name)
    return name


def choose_size(label: str, key: str, usual: int, most: int) -> tuple[int, int]:
    """Let the user choose a number of pictures, and the seed of their draw."""
    left, right = st.columns(2)
    count = int(left.number_input(label, _FEWEST, most, usual, 10, key=key, bind="query-params"))
    return count, int(right.number_input(t("Seed"), 0, 2**31 - 1, 0, key="sample_seed", bind="query-params"))


def names_for(model: Model) -> list[str]:
    """Return the data sets that suit the model; where there is none, say what to do and end the run."""
    with sentences():
        names = suiting(model)
    if not names:
        st.info(
            t(
                "No data set here has this network's classes. Choose an example network, or start "
                "with `xai dashboard --data FOLDER`, one folder per class."
            ),
            icon=":material/folder_off:",
        )
        if EXAMPLE in model_names():
            label = t("Take {name}", name=EXAMPLE)
            st.button(label, key="take_example", on_click=_take_example, icon=":material/play_arrow:")
        st.stop()
    return names


def _take_example() -> None:
    """Choose the example network, whose pictures are here."""
    st.session_state["model"] = EXAMPLE


def draw(name: str, count: int, seed: int) -> Sample:
    """Draw pictures from a data set; all of them where it has no more."""
    return _draw(name, count, seed, stamp_of(source_of(parted(name)[0])))


@st.cache_resource(max_entries=6, show_spinner=False)
def _draw(name: str, count: int, seed: int, stamp: tuple[Hashable, ...]) -> Sample:
    source, part = parted(name)
    data = xai.load_data(source_of(source), part=part)
    return Sample(name, count, seed, data.subset(min(count, len(data)), seed=seed), stamp=stamp)


def stamp_of(source: str) -> tuple[Hashable, ...]:
    """Return what changes when a file, or what lies in a folder and the folders in it, is changed: results are kept."""
    path = Path(source)
    if not path.exists():
        return ()
    inside = (entry for entry in os.scandir(path) if entry.is_dir()) if path.is_dir() else ()
    found = [path.stat(), *(entry.stat() for entry in inside)]
    return (max(one.st_mtime_ns for one in found), sum(one.st_size for one in found), len(found))


def suiting(model: Model) -> list[str]:
    """Return the data sets whose classes the model knows, the one named at the start first.

    Raises:
        DataError: the one named at the start cannot be read.
    """
    labels = set(model.classifier.labels)
    return [name for name in offered() if labels.issuperset(classes_of(name) or [None])]


def offered() -> list[str]:
    """Return all data sets: the one named at the start, the examples, and what the user brought."""
    given = os.environ.get(DATA_VARIABLE)
    return list(dict.fromkeys([*([given] if given else []), *EXAMPLES, *mine(DATA)]))


def source_of(name: str) -> str:
    """Return what `xai.load_data` takes for a data set of this name."""
    kept = shelf().pictures.get(name)
    return name if kept is None else kept.source


def shown_name(name: str) -> str:
    """Return what a data set is called outside of this process."""
    kept = shelf().pictures.get(name)
    return name if kept is None else kept.shown


def with_parts(names: Sequence[str]) -> list[str]:
    """Return data sets, each followed by its fixed parts: "DATA@PART"."""
    return [one for name in names for one in (name, *(f"{name}@{part}" for part in _parts_of(name)))]


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
    return tuple(data.classes), parts if len(parts) <= _MOST_PARTS else ()


def parted(name: str) -> tuple[str, str | None]:
    """Return the data set and the part that a name stands for."""
    source, sign, part = name.rpartition("@")
    return (source, part) if sign and not Path(name).exists() else (name, None)


def to_curve(model: Model, sample: Sample, asked: Mapping[str, Any], slot: Any) -> Job:
    """Return the job whose result is the robustness curve; `asked` goes to `xai.robustness`."""
    key = ("curve", model.key, *sample.key, *sorted(asked.items()))
    ask = partial(_curve, model, sample, dict(asked))
    return Job(key, t("Attacking and proving"), ask, slot, _ROWS_OF_A_CURVE * len(sample.data))


def to_corruptions(model: Model, sample: Sample, names: Sequence[str], slot: Any) -> Job:
    """Return the job whose result is the accuracy under corruptions."""
    key = ("corruptions", model.key, *sample.key, *names)
    ask = partial(_corruptions, model, sample, tuple(names))
    return Job(key, t("Corrupting"), ask, slot, _SEVERITIES * len(names) * len(sample.data))


def to_ask(
    verb: str, title: str, model: Model, samples: Sequence[Sample], slot: Any, rows: int, **asked: Hashable
) -> Job:
    """Return the job whose result is what a verb of xai, which takes labels from the data, says of data sets.

    Args:
        verb: "bias", "shortcuts", "drift", ...
        title: what is done, in words.
        model: asked about.
        samples: the data sets, in the order in which the verb takes them.
        slot: of the page.
        rows: how many go through the network, about.
        asked: further arguments of the verb.
    """
    key = (verb, model.key, *(sample.key for sample in samples), *sorted(asked.items()))
    return Job(key, title, partial(_ask, verb, model, tuple(samples), asked), slot, rows)


def _ask(verb: str, model: Model, samples: Sequence[Sample], asked: Mapping[str, Any], report: Report | None) -> Any:
    with model.borrowed() as classifier:
        data = [sample.data for sample in samples]
        return getattr(xai, verb)(classifier, *data, **asked, **watched(report))


def _curve(model: Model, sample: Sample, asked: dict[str, Any], report: Report | None) -> xai.RobustnessCurve:
    with model.borrowed() as classifier:
        return xai.robustness(classifier, sample.data, sample.truth(model), **asked, **watched(report))


def _corruptions(model: Model, sample: Sample, names: tuple[str, ...], report: Report | None) -> xai.CorruptionResult:
    with model.borrowed() as classifier:
        truth = sample.truth(model)
        return xai.corruption_robustness(classifier, sample.data, truth, names, **watched(report))
