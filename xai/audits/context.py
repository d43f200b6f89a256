"""The context of an audit. It holds the model, the data sets by their role, and the images in the order of work."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai.audits.check_result import Artifacts, CheckResult
from xai.audits.execution.store import StoredResult, canonical
from xai.core.images.inputs import InputImage
from xai.core.labels import labels_of
from xai.core.model.classifier import Classifier
from xai.core.model.inference import draw_of
from xai.core.results.codec import versions
from xai.core.runtime.randomness import image_key
from xai.datasets.dataset import Dataset
from xai.errors import DataError, ImageError, InputError

DATA, TRAIN, CALIBRATION = "data", "train", "calibration"
OOD = "ood:"
_MOST_GROUPS = 20
_FURTHER = ("pillow", "scipy", "scikit-learn", "scikit-image", "pandas")


USED, UNREADABLE, NOT_DRAWN, SKIPPED = "used", "unreadable", "not drawn", "no image"
STATUSES = (USED, UNREADABLE, NOT_DRAWN, SKIPPED)
_SHOWN = 50


@dataclass(frozen=True)
class ManifestEntry:
    """What became of one file or row.

    Attributes:
        name: identifier in the data, or path below its folder.
        status: one of `STATUSES`.
        key: digest of the pixels in hex, "" where they were not read.
        label: number of the class in the data, None where there is none.
        why: of what could not be used.
    """

    name: str
    status: str
    key: str = ""
    label: int | None = None
    why: str = ""


def read_manifest(data: Dataset, drawn: Dataset) -> tuple[tuple[ManifestEntry, ...], np.ndarray]:
    """Read every image that was drawn once.

    Args:
        data: all images.
        drawn: those to measure, of the same source.

    Returns:
        The manifest, and the numbers in `drawn` of the images that can be read.

    Raises:
        DataError: none can be read.
    """
    lines, usable = [], []
    labels, ids = drawn.labels, drawn.ids
    for k in range(len(drawn)):
        label = None if labels is None else int(labels[k])
        try:
            pixels = drawn.images.decoded([k])[0].pixels
        except ImageError as error:
            lines.append(ManifestEntry(ids[k], UNREADABLE, "", label, str(error)))
        else:
            lines.append(ManifestEntry(ids[k], USED, image_key(pixels).hex(), label))
            usable.append(k)
    if not usable:
        raise DataError(f"{data.name}: none of {len(drawn)} images can be read ({lines[0].why}).")
    taken, names = set(drawn.rows.tolist()), data.ids[:]  # at once: one by one takes longer than all the rest
    lines += [
        ManifestEntry(name, NOT_DRAWN) for name, row in zip(names, data.rows.tolist(), strict=True) if row not in taken
    ]
    lines += [ManifestEntry(name, SKIPPED) for name in _other_files(data)]
    return tuple(lines), np.array(usable, dtype=np.int64)


def _other_files(data: Dataset) -> list[str]:
    """Return the files below a folder of images that are not among its rows."""
    folder = Path(data.name)
    rows = data.source.count
    names = set(data.source.identify(np.arange(rows))) if folder.is_dir() else set()
    if not names or not all((folder / name).is_file() for name in sorted(names)[:3]):
        return []  # no folder, or one of arrays whose rows are no files
    files_below = []
    for root, _, files in os.walk(folder):
        files_below += [(Path(root) / name).relative_to(folder).as_posix() for name in files]
    return sorted(set(files_below) - names)


@dataclass(frozen=True, eq=False)
class DatasetRole:
    """One data set of an audit.

    Attributes:
        name: "data", "train", "calibration", or "ood:NAME".
        source: as the user wrote it.
        data: the images that can be read.
        labels: (N,) int64 classes of the model; None where there are none.
        lines: each file or row of it once, the used ones in the order of the data.
        order: (N,) rows in the order of work, which follows from the seed and the pixels alone.
        notes: of the data and what was done to labels.
    """

    name: str
    source: str
    data: Dataset
    labels: Tensor | None = field(repr=False)
    lines: tuple[ManifestEntry, ...] = field(repr=False)
    order: np.ndarray = field(repr=False)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.data)

    @cached_property
    def used(self) -> tuple[ManifestEntry, ...]:
        """The images that are measured."""
        return tuple(line for line in self.lines if line.status == USED)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of pixels and labels of what is used; names and order change nothing."""
        return hashlib.sha256(canonical(sorted([line.key, line.label] for line in self.used))).hexdigest()

    @cached_property
    def manifest(self) -> bytes:
        """One JSON line per file."""
        return b"".join(canonical(vars(line)) + b"\n" for line in self.lines)

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many files of each status; they add up to all."""
        counted = Counter(line.status for line in self.lines)
        return {status: counted[status] for status in STATUSES}

    @property
    def accounting(self) -> dict[str, Any]:
        """Counts that add up to all files, and what could not be used."""
        return {
            "total": len(self.lines),
            "counts": self.counts,
            "unreadable": [[line.name, line.why] for line in self.lines if line.status == UNREADABLE][:_SHOWN],
            "no_image": [line.name for line in self.lines if line.status == SKIPPED][:_SHOWN],
            "repeated": len(self.keys) - len(set(self.keys)),
            "sha256": hashlib.sha256(self.manifest).hexdigest(),
            "fingerprint": self.fingerprint,
        }

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Digest of each image (N), hex."""
        return tuple(line.key for line in self.used)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Name of each image (N)."""
        return tuple(line.name for line in self.used)

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
    lines, usable = read_manifest(data, drawn)
    readable = drawn.take(usable)
    labels, notes = _labels(name, readable, classifier)
    used = [line for line in lines if line.status == USED]
    draws = [draw_of(seed, bytes.fromhex(line.key)) for line in used]
    order = np.array(sorted(range(len(draws)), key=lambda k: (draws[k], used[k].name)), dtype=np.int64)
    return DatasetRole(name, source, readable, labels, lines, order, (*data.notes, *notes))


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
        level: of the intervals of a check.
        results: of each stage, in the order the check named them.
        artifacts: collects images.
        baseline: result of the same check in the baseline; None where there is none.
        baseline_keys: hex of the first bytes of the digest of each image that the baseline measured.
    """

    classifier: Classifier
    roles: Mapping[str, DatasetRole]
    seed: int
    should_stop: Callable[[], bool] | None = None
    level: float = 0.95
    results: Sequence[StoredResult] = ()
    artifacts: Artifacts = field(default_factory=Artifacts)
    baseline: CheckResult | None = None
    baseline_keys: Sequence[str] = ()

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
