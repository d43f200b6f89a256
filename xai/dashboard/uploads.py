"""What users bring: networks from files into known architectures, pictures from folders and archives.

Files go to a folder of this process under the digest of their content, never under a name of theirs. All sessions share
the shelf, but what is on it has to be known by its name, which holds the digest: a session lists its own.
"""

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import streamlit as st

import xai
from xai.dashboard.launch import ARCH_VARIABLE
from xai.dashboard.words import SHELF, file_stem
from xai.dashboard.zips import unpack

PREFIX = "upload:"
_DIGITS = 8
_GRAPHS = (".onnx", ".keras")  # bring their own network
MODEL, DATA = "model", "data"


@dataclass(frozen=True, eq=False)
class Network:
    """A network from a file.

    Attributes:
        name: on the pages.
        path: of the kept file.
        file: as it was called.
        architecture: a name of `xai.known_networks()`, one of the operator's, or None for files that bring their own.
        settings: of `xai.load`.
    """

    name: str
    path: Path
    file: str
    architecture: str | None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> xai.Classifier:
        """Return the classifier; nothing in the file is run.

        Raises:
            XaiError: a file that cannot be used, or an architecture that is not on the list.
        """
        arch = None if self.architecture is None else self._network()
        return xai.load(self.path, arch=arch, name=self.file, device="auto", **self.settings)

    def _network(self) -> Any:
        labels = self.settings.get("labels")
        if self.architecture in operators():
            return self.architecture
        classes = None if labels is None else len(labels)
        return xai.untrained(str(self.architecture), classes, int(self.settings.get("channels", 3)))

    @property
    def code(self) -> str:
        """A Python expression that loads it."""
        arch = "" if self.architecture is None else f", arch={self._arch_code()}"
        more = "".join(f", {name}={value!r}" for name, value in self.settings.items())
        return f"xai.load({self.file!r}{arch}{more})"

    def _arch_code(self) -> str:
        if self.architecture in operators():
            return repr(self.architecture)
        labels, channels = self.settings.get("labels"), self.settings.get("channels", 3)
        classes = "" if labels is None else f", {len(labels)}"
        return f"xai.untrained({self.architecture!r}{classes}{'' if channels == 3 else f', channels={channels}'})"


@dataclass(frozen=True, eq=False)
class Pictures:
    """A data set from a folder or an archive.

    Attributes:
        name: on the pages.
        source: for `xai.load_data`.
        shown: what the code calls it.
        left_out: members of an archive that are no pictures.
    """

    name: str
    source: str
    shown: str
    left_out: int = 0


@dataclass(eq=False)
class Shelf:
    """Everything brought to this process."""

    folder: Path
    networks: dict[str, Network] = field(default_factory=dict)
    pictures: dict[str, Pictures] = field(default_factory=dict)
    photos: dict[str, Any] = field(default_factory=dict)  # see photos.py


@st.cache_resource(show_spinner=False)
def shelf() -> Shelf:
    """Return the shelf of this process; its folder goes when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix=SHELF))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Shelf(folder)


def operators() -> tuple[str, ...]:
    """Return the architectures that were named when the dashboard was started: code of whoever started it."""
    return tuple(part for part in os.environ.get(ARCH_VARIABLE, "").split(",") if part)


def mine(kind: str) -> list[str]:
    """Return the names of what this session brought, or knows by its link."""
    held = shelf().networks if kind == MODEL else shelf().pictures
    known: list[str] = st.session_state.setdefault(f"brought {kind}", [])
    linked = st.query_params.get(kind)
    if linked is not None and linked in held and linked not in known:
        known.append(linked)
    return [name for name in known if name in held]


def bring_network(file: str, content: bytes, architecture: str | None, settings: Mapping[str, Any]) -> Network:
    """Keep a model file and try it.

    Raises:
        XaiError: it cannot be used; one sentence says why.
    """
    suffix = Path(file).suffix.lower()
    brings_its_own = suffix in _GRAPHS
    if not brings_its_own and architecture is None:
        raise xai.InputError(f"{file}: holds weights alone, so it needs an architecture. Choose the one they are of.")
    arch = None if brings_its_own else architecture
    digest = hashlib.sha256(content + repr((arch, sorted(settings.items()))).encode()).hexdigest()
    name = f"{PREFIX}{file_stem(Path(file).stem)}-{digest[:_DIGITS]}"
    place = shelf().folder / digest
    place.mkdir(exist_ok=True)
    path = place / f"model{suffix if suffix.isascii() else ''}"
    path.write_bytes(content)
    network = Network(name, path, Path(file).name, arch, dict(settings))
    try:
        network.load()
    except xai.XaiError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise xai.InputError(_without(str(error), path, Path(file).name)) from error
    shelf().networks[name] = network
    return network


def bring_zip(file: str, content: bytes) -> Pictures:
    """Unpack an archive of pictures.

    Raises:
        XaiError: it cannot be used; one sentence says why.
    """
    digest = hashlib.sha256(content).hexdigest()
    stem = file_stem(Path(file).stem)
    name, place = f"{PREFIX}{stem}-{digest[:_DIGITS]}", shelf().folder / f"pictures-{digest}"
    if name not in shelf().pictures:
        place.mkdir(exist_ok=True)
        try:
            inner, left_out = unpack(content, Path(file).name, place)
            found = Pictures(name, str(inner), stem, left_out)
            xai.load_data(found.source)
        except xai.XaiError as error:
            shutil.rmtree(place, ignore_errors=True)
            raise xai.InputError(_without(str(error), place, Path(file).name)) from error
        shelf().pictures[name] = found
    return shelf().pictures[name]


def bring_folder(text: str) -> Pictures:
    """Take a folder, table or array file of this machine, where it is.

    Raises:
        XaiError: it cannot be used; one sentence says why.
    """
    path = Path(text.strip()).expanduser()
    if not text.strip() or "\0" in text:
        raise xai.InputError("Expected the path of a folder with one sub-folder of pictures per class; none was given.")
    xai.load_data(path)
    return shelf().pictures.setdefault(str(path), Pictures(str(path), str(path), str(path)))


def _without(text: str, path: Path, name: str) -> str:
    """Return a message that names the user's file and no place of this process."""
    return text.replace(str(path), name)
