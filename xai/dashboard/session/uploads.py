"""Uploads of users and the sample images.

Users add models from files, data from folders and archives, and single images.

Files go to a folder of this process under the digest of their content, never under a name of theirs. All sessions share
the store, but what is in it has to be known by its name, which holds the digest: a session lists its own.
"""

import atexit
import hashlib
import io
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import streamlit as st

import xai
from xai.dashboard.environment import operators
from xai.dashboard.text import UPLOAD_PREFIX, file_stem

MOST_MEMBERS = 20_000
MOST_BYTES = 1 << 30  # of all members together, unpacked
MOST_TIMES = 200  # that one member may be larger than its packed form; images are packed already
_SMALL = 1 << 20  # bytes up to which a member may be packed as well as it likes
_KINDS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
_CHUNK = 1 << 20
_CURE = "Make the archive again from a folder with one sub-folder of images per class."


def unpack(content: bytes, name: str, folder: Path) -> tuple[Path, int]:
    """Write the images of a zip below a folder that is empty.

    Args:
        content: of the zip.
        name: of the file, for messages.
        folder: to write into.

    Returns:
        The folder with the class folders, and how many members were left out because they are no images.

    Raises:
        InputError: no zip, or one whose members lead out of it, are links, are encrypted, or unpack to too much.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = [member for member in archive.infolist() if not member.is_dir()]
            _check(files, name)
            members = [member for member in files if _is_wanted(member.filename)]
            budget = MOST_BYTES
            for member in members:
                budget = _write(archive, member, folder / PurePosixPath(member.filename), budget, name)
    except xai.XaiError:
        raise
    except Exception as error:  # zipfile raises anything on damaged archives
        raise xai.InputError(f"{name}: no zip archive that can be read ({type(error).__name__}). {_CURE}") from error
    if not members:
        raise xai.InputError(f"{name}: there is no image in it. {_CURE}")
    return _inner(folder), len(files) - len(members)


def _check(files: list[zipfile.ZipInfo], name: str) -> None:
    """Look at the list of members before anything is written."""
    if len(files) > MOST_MEMBERS:
        raise xai.InputError(f"{name}: expected at most {MOST_MEMBERS:,} files, but it has {len(files):,}. Send fewer.")
    if sum(member.file_size for member in files) > MOST_BYTES:
        raise xai.InputError(f"{name}: unpacks to more than {MOST_BYTES >> 20} MiB. Send fewer or smaller images.")
    seen: set[str] = set()
    for member in files:
        fault = _fault(member, seen)
        if fault:
            raise xai.InputError(f"{name}: the member {member.filename[:80]!r} {fault}. {_CURE}")
        seen.add(member.filename.lower())


def _fault(member: zipfile.ZipInfo, seen: set[str]) -> str:
    path = PurePosixPath(member.filename)
    unsafe = "\\" in member.filename or ":" in member.filename or not member.filename.isprintable()
    if path.is_absolute() or ".." in path.parts or unsafe or len(member.filename) > 240:
        return "leads out of the archive or has an impossible name"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.filename.lower() in seen:
        return "is there twice"
    if member.file_size > max(_SMALL, MOST_TIMES * member.compress_size):
        return f"unpacks to more than {MOST_TIMES} times its size"
    return ""


def _is_wanted(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in _KINDS and not hidden


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, place: Path, budget: int, name: str) -> int:
    """Write one member, counting what really comes out; return what is left of the budget."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, place.open("xb") as target:
        while chunk := source.read(_CHUNK):
            budget -= len(chunk)
            if budget < 0:
                raise xai.InputError(f"{name}: unpacks to more than {MOST_BYTES >> 20} MiB, whatever it says. {_CURE}")
            target.write(chunk)
    return budget


def _inner(folder: Path) -> Path:
    """Return the folder whose sub-folders are the classes: archives often hold one folder around all."""
    while True:
        inside = list(folder.iterdir())
        deeper = len(inside) == 1 and inside[0].is_dir() and any(entry.is_dir() for entry in inside[0].iterdir())
        if not deeper:
            return folder
        folder = inside[0]


PREFIX = "upload:"
_DIGITS = 8
_GRAPHS = (".onnx", ".keras")  # bring their own architecture
MODEL, DATA = "model", "data"


@dataclass(frozen=True, eq=False)
class UploadedModel:
    """A model from a file.

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
        labels = self.settings.get("class_names")
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
        labels, channels = self.settings.get("class_names"), self.settings.get("channels", 3)
        classes = "" if labels is None else f", {len(labels)}"
        return f"xai.untrained({self.architecture!r}{classes}{'' if channels == 3 else f', channels={channels}'})"


@dataclass(frozen=True, eq=False)
class UploadedData:
    """A data set from a folder or an archive.

    Attributes:
        name: on the pages.
        source: for `xai.load_data`.
        shown: what the code calls it.
        left_out: members of an archive that are no images.
    """

    name: str
    source: str
    shown: str
    left_out: int = 0


@dataclass(eq=False)
class UploadStore:
    """Everything brought to this process."""

    folder: Path
    models: dict[str, UploadedModel] = field(default_factory=dict)
    data: dict[str, UploadedData] = field(default_factory=dict)
    images: dict[str, Any] = field(default_factory=dict)


@st.cache_resource(show_spinner=False)
def upload_store() -> UploadStore:
    """Return the store of uploads of this process; its folder goes when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix=UPLOAD_PREFIX))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return UploadStore(folder)


def session_uploads(kind: str) -> list[str]:
    """Return the names of what this session brought, or knows by its link."""
    uploads = upload_store().models if kind == MODEL else upload_store().data
    known: list[str] = st.session_state.setdefault(f"brought {kind}", [])
    linked = st.query_params.get(kind)
    if linked is not None and linked in uploads and linked not in known:
        known.append(linked)
    return [name for name in known if name in uploads]


def add_model(file: str, content: bytes, architecture: str | None, settings: Mapping[str, Any]) -> UploadedModel:
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
    place = upload_store().folder / digest
    place.mkdir(exist_ok=True)
    path = place / f"model{suffix if suffix.isascii() else ''}"
    path.write_bytes(content)
    model = UploadedModel(name, path, Path(file).name, arch, dict(settings))
    try:
        model.load()
    except xai.XaiError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise xai.InputError(_without(str(error), path, Path(file).name)) from error
    upload_store().models[name] = model
    return model


def add_data_zip(file: str, content: bytes) -> UploadedData:
    """Unpack an archive of images.

    Raises:
        XaiError: it cannot be used; one sentence says why.
    """
    digest = hashlib.sha256(content).hexdigest()
    stem = file_stem(Path(file).stem)
    name, place = f"{PREFIX}{stem}-{digest[:_DIGITS]}", upload_store().folder / f"images-{digest}"
    if name not in upload_store().data:
        place.mkdir(exist_ok=True)
        try:
            inner, left_out = unpack(content, Path(file).name, place)
            result = UploadedData(name, str(inner), stem, left_out)
            xai.load_data(result.source)
        except xai.XaiError as error:
            shutil.rmtree(place, ignore_errors=True)
            raise xai.InputError(_without(str(error), place, Path(file).name)) from error
        upload_store().data[name] = result
    return upload_store().data[name]


def add_data_folder(text: str) -> UploadedData:
    """Take a folder, table or array file of this machine, where it is.

    Raises:
        XaiError: it cannot be used; one sentence says why.
    """
    path = Path(text.strip()).expanduser()
    if not text.strip() or "\0" in text:
        raise xai.InputError("Expected the path of a folder with one sub-folder of images per class; none was given.")
    xai.load_data(path)
    return upload_store().data.setdefault(str(path), UploadedData(str(path), str(path), str(path)))


def _without(text: str, path: Path, name: str) -> str:
    """Return a message that names the user's file and no place of this process."""
    return text.replace(str(path), name)


_GARMENTS = "example:fashion-test"


@dataclass(frozen=True, eq=False)
class SourceImage:
    """An image to explain.

    Attributes:
        name: of the file.
        identity: digest of the content.
        content: bytes of a file, or pixels.
        code: a Python expression for it.
    """

    name: str
    identity: str
    content: Any
    code: str

    def open(self) -> Any:
        """Return it in a form that xai reads; a file's bytes are decoded by xai alone."""
        if not isinstance(self.content, bytes):
            return self.content
        stream = io.BytesIO(self.content)
        stream.name = self.name
        return stream


def from_file(name: str, content: bytes) -> SourceImage:
    """Return the image of an uploaded file."""
    return SourceImage(name, hashlib.sha256(content).hexdigest(), content, repr(name))


def from_path(path: Path, name: str) -> SourceImage:
    """Return a sample photograph."""
    content = path.read_bytes()
    code = f"{{p.name: p for p in xai.sample_photos()}}[{name!r}].path"
    return SourceImage(path.name, hashlib.sha256(content).hexdigest(), content, code)


@st.cache_resource(show_spinner=False)
def garments() -> dict[str, SourceImage]:
    """Return the first image of each class of the example data, by class name."""
    data = xai.load_data(_GARMENTS)
    labels = np.asarray(data.labels)
    first = {name: int(np.flatnonzero(labels == k)[0]) for k, name in enumerate(data.class_names)}
    return {
        name: SourceImage(
            f"fashion-{number}",
            f"{_GARMENTS}/{number}",
            data.images[number],
            f"xai.load_data({_GARMENTS!r}).images[{number}]",
        )
        for name, number in first.items()
    }


_MOST_IMAGES = 64  # images in the store; the oldest go first


_IMAGE_DIGITS = 16


@dataclass(frozen=True)
class UploadedImage:
    """An uploaded image, not decoded yet.

    Attributes:
        name: in the address; nobody finds it by guessing.
        file: as it was called.
        path: of its bytes.
    """

    name: str
    file: str
    path: Path

    def open(self) -> SourceImage:
        """Return the image."""
        return from_file(self.file, self.path.read_bytes())


def add_image(file: str, content: bytes) -> UploadedImage:
    """Keep an image file in the store."""
    digest = hashlib.sha256(content).hexdigest()
    photo = UploadedImage(
        f"{PREFIX}{file_stem(Path(file).stem)}-{digest[:_IMAGE_DIGITS]}",
        file,
        upload_store().folder / f"photo-{digest}",
    )
    photos = upload_store().images
    if photo.name not in photos:
        photo.path.write_bytes(content)
        photos[photo.name] = photo
    while len(photos) > _MOST_IMAGES:
        _drop(next(iter(photos)))
    return photo


def _drop(name: str) -> None:
    gone = upload_store().images.pop(name, None)
    if gone is not None and all(other.path != gone.path for other in upload_store().images.values()):
        gone.path.unlink(missing_ok=True)
