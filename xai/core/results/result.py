"""The base of all results. It says where they come from and how they are saved, loaded and shown."""

import html
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor

from xai.core.results.codec import decode, encode, finite, plain, read_record, restoring, versions, write_record
from xai.core.results.message import message_table, with_messages


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from, so that it can be made again.

    Attributes:
        model: name, fingerprint and preprocessing.
        settings: of the method, as used.
        seed: of everything random.
        data: names and numbers of images.
        versions: of the packages that the result depends on.
    """

    model: Mapping[str, Any]
    settings: Mapping[str, Any]
    seed: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=versions)

    @classmethod
    def of(
        cls, classifier: Any, settings: Mapping[str, Any], seed: int, data: Mapping[str, Any] | None = None
    ) -> "Provenance":
        """Return the provenance of a result of a classifier, or of stored predictions for None."""
        names = () if classifier is None else ("name", "fingerprint", "preprocessing")
        model = {name: getattr(classifier, name) for name in names}
        return cls(model, plain(settings), seed, {} if data is None else data)


@dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """Base of all results: a frozen record of plain values and arrays.

    Attributes:
        provenance: model, settings, seed, data and versions; each is also an attribute of the result.
        notes: what was done and what to beware of.
    """

    _kind: ClassVar[str]  # what it is, in the words of errors
    _listed: ClassVar[tuple[str, ...]] = ()  # arrays that `to_dict` lists
    _derived: ClassVar[tuple[str, ...]] = ()  # properties that `to_dict` adds

    provenance: Provenance
    notes: tuple[str, ...] = ()

    @property
    def model(self) -> Mapping[str, Any]:
        """Name, fingerprint and preprocessing of the model."""
        return self.provenance.model

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of the method, as used."""
        return self.provenance.settings

    @property
    def seed(self) -> int:
        """Seed of everything random."""
        return self.provenance.seed

    @property
    def data(self) -> Mapping[str, Any]:
        """Names and numbers of the images."""
        return self.provenance.data

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of the packages."""
        return self.provenance.versions

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the large arrays, JSON-ready; NaN and infinity are None."""
        record, _ = encode(self)
        record |= record.pop("provenance")
        for name in (*self._listed, *self._derived):
            record[name] = _listed(getattr(self, name))
        counted = {"count": len(self)} if hasattr(self, "__len__") else {}
        jsonable: dict[str, Any] = finite(record | counted)
        return jsonable

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything into a folder: manifest.json and values.npz; `load` reads it back.

        Args:
            path: of the folder; an older result in it is replaced.

        Returns:
            The folder.

        Raises:
            RecordError: the place cannot be written.
        """
        record, arrays = encode(self)
        texts = message_table({f.name: getattr(self, f.name) for f in fields(self)})
        further_arrays, files = self._further()
        write_record(Path(path), self._kind, {"result": record, "messages": texts}, arrays | further_arrays, files)
        return Path(path)

    def _further(self) -> tuple[dict[str, np.ndarray], dict[str, bytes]]:
        """Return arrays and files of the folder for readers without this package; `load` needs none of them."""
        return {}, {}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a saved result; nothing in the files is executed.

        Args:
            path: of the folder.

        Returns:
            The result as it was.

        Raises:
            RecordError: none here, another kind, or a damaged one.
        """
        record, arrays = read_record(Path(path), cls._kind)
        with restoring(path, cls._kind):
            result: Self = decode(cls, with_messages(record["result"], record.get("messages", {})), arrays)
            return result

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the text of the result and its notes."""
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return f"<pre>{html.escape(repr(self))}</pre>" + (f"<ul>{notes}</ul>" if notes else "")


def _listed(value: Any) -> Any:
    if isinstance(value, Tensor | np.ndarray):
        return value.tolist()
    if is_dataclass(value) and not isinstance(value, type):
        return encode(value)[0]
    if isinstance(value, Mapping):
        return {name: _listed(item) for name, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else plain(value)
