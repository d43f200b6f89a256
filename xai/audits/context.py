"""What an audit is about: the model, the data sets by their role, and the images in the order of work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import metadata
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai.audits.execution.keys import Manifest, read_manifest
from xai.core.images.inputs import InputImage
from xai.core.labels import labels_of
from xai.core.model.classifier import Classifier
from xai.core.model.inference import draw_of
from xai.core.results.serialization import versions
from xai.datasets.dataset import Dataset
from xai.errors import InputError

DATA, TRAIN, CALIBRATION = "data", "train", "calibration"
OOD = "ood:"
_MOST_GROUPS = 20
_FURTHER = ("pillow", "scipy", "scikit-learn", "scikit-image", "pandas")


@dataclass(frozen=True, eq=False)
class DatasetRole:
    """One data set of an audit.

    Attributes:
        name: "data", "train", "calibration", or "ood:NAME".
        source: as the user wrote it.
        data: the images that can be read.
        labels: (N,) int64 classes of the model; None where there are none.
        manifest: every file of it.
        order: (N,) rows in the order of work, which follows from the seed and the pixels alone.
        notes: of the data and what was done to labels.
    """

    name: str
    source: str
    data: Dataset
    labels: Tensor | None = field(repr=False)
    manifest: Manifest = field(repr=False)
    order: np.ndarray = field(repr=False)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.data)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Digest of each image (N), hex."""
        return tuple(line.key for line in self.manifest.used)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Name of each image (N)."""
        return tuple(line.name for line in self.manifest.used)

    @cached_property
    def groups(self) -> dict[str, np.ndarray]:
        """Columns with 2 to 20 groups, as text (N,)."""
        columns = {name: np.asarray(self.data.groups[name]).astype(str) for name in self.data.groups}
        return {name: column for name, column in columns.items() if 2 <= len(set(column.tolist())) <= _MOST_GROUPS}

    def items(self, rows: np.ndarray) -> list[list[Any]]:
        """Return what identifies some images: digest and label of each."""
        return [[self.keys[k], None if self.labels is None else int(self.labels[k])] for k in rows.tolist()]


def open_role(name: str, source: str, data: Dataset, classifier: Classifier, n: int | None, seed: int) -> DatasetRole:
    """Read a data set once: what can be read, what not, and in which order to work."""
    drawn = data if n is None else data.subset(n, seed)
    manifest, usable = read_manifest(data, drawn)
    readable = drawn.take(usable)
    labels, notes = _labels(name, readable, classifier)
    draws = [draw_of(seed, bytes.fromhex(line.key)) for line in manifest.used]
    order = np.array(sorted(range(len(draws)), key=lambda k: (draws[k], manifest.used[k].name)), dtype=np.int64)
    return DatasetRole(name, source, readable, labels, manifest, order, (*data.notes, *notes))


def _labels(name: str, data: Dataset, classifier: Classifier) -> tuple[Tensor | None, tuple[str, ...]]:
    if data.labels is None or name.startswith(OOD):
        return None, ()
    return labels_of(classifier, data, None, len(data))


@dataclass(frozen=True, eq=False)
class Context:
    """Everything that checks may look at.

    Attributes:
        classifier: the model.
        roles: the data sets by name, "data" always among them.
        seed: of everything random.
        should_stop: asked between work items; True ends them with `xai.errors.Stopped`.
    """

    classifier: Classifier
    roles: Mapping[str, DatasetRole]
    seed: int
    should_stop: Callable[[], bool] | None = None

    def role(self, name: str = DATA) -> DatasetRole:
        """Return a data set.

        Raises:
            InputError: there is none of that role.
        """
        if name not in self.roles:
            raise InputError(f"Expected a table [{name}] with a source, but there is none. Add it.")
        return self.roles[name]

    def decoded(self, role: str, rows: Sequence[int] | np.ndarray) -> list[InputImage]:
        """Return some images of a data set."""
        return self.role(role).data.images.decoded([int(k) for k in rows])

    def inputs(self, role: str, rows: Sequence[int] | np.ndarray) -> Tensor:
        """Return the model's inputs (n, C, h, w) for some images."""
        return self.classifier.prepare(self.decoded(role, rows)).inputs

    def labels(self, role: str, rows: Sequence[int] | np.ndarray) -> Tensor:
        """Return the labels (n,) of some images.

        Raises:
            InputError: there are none.
        """
        labels = self.role(role).labels
        if labels is None:
            raise InputError(f"Expected labels in [{role}], but it has none.")
        return labels[torch.as_tensor(np.asarray(rows), dtype=torch.int64)]

    def ood_roles(self) -> dict[str, DatasetRole]:
        """Return the sets of out-of-distribution images by name."""
        return {name.removeprefix(OOD): role for name, role in self.roles.items() if name.startswith(OOD)}

    def stopping(self, should_stop: Callable[[], bool] | None) -> "Context":
        """Return the same context with another stop."""
        return replace(self, should_stop=should_stop)

    def check(self) -> None:
        """Raise unless the model can take the first image of each data set; no forward is run.

        Raises:
            InputError: it cannot.
        """
        for name, role in self.roles.items():
            batch = self.classifier.prepare(self.decoded(name, [0]))
            self.classifier.check_images(batch.inputs)
            if len(role) == 0:
                raise InputError(f"[{name}]: there is no image.")


def all_versions() -> dict[str, str]:
    """Return the versions that an audit depends on."""
    installed = versions()
    for package in _FURTHER:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            installed[package] = "unknown"
    return installed
