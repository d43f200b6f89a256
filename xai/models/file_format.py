"""The format of a model file, judged by its bytes.

For a format that is not read, the reason is given; nothing is unpickled.
"""

import json
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from xai.errors import CheckpointError

CURE = "Where you trust it, save the weights alone: `safetensors.torch.save_file(model.state_dict(), FILE)`."
AGAIN = "Copy or download it again."
MAX_TENSORS = 20_000
_MAX_HEADER = 8 << 20
_MAX_PICKLE = 64 << 20
_MAX_DIRECTORY = 4 << 20
_MAX_MARKS = 20 * MAX_TENSORS  # commas, braces and brackets of a safetensors header
_HEAD = 512
_RATIO = 20  # how far an archive of another library may be compressed
_MOST_FIELDS = 100_000

_NO_WEIGHTS = {
    "empty": "the file is empty. Save or download it again.",
    "lfs": "a Git LFS pointer, not the weights themselves. Fetch them with `git lfs pull`.",
    "html": "a web page, not weights. Download the file itself, not the page about it.",
    "unknown": f"neither safetensors nor a state dict as torch.save writes it, nor ONNX or Keras. {CURE}",
    "zip": f"a zip archive, but not one that torch.save writes. {CURE}",
}
_CARRIERS = {
    "torchscript": "a TorchScript archive",
    "export": "a torch.export archive",
    "package": "a torch.package archive",
    "pickle": "a bare pickle (an old torch.save file, a whole model, or other objects)",
    "hdf5": "an HDF5 file (Keras .h5)",
    "tar": "a tar archive",
    "gzip": "a gzip archive",
}
_TRUSTED = {"torchscript", "export", "pickle"}  # read where the caller says trust=True
_READ = {"safetensors", "state dict", "onnx", "keras"}
_OTHER_WAYS = {"hdf5": "Save the model in the .keras form: `model.save('model.keras')`."}
_MEMBERS = {"data.pkl", "version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id"}
_STORAGE = re.compile(r"data/[0-9]{1,9}")


def kind_of(file: IO[bytes], path: Path, size: int, *, trust: bool = False) -> str:
    """Return what a file is that may be given to the library of its format.

    Args:
        file: open for reading, at its start; it comes back there.
        path: for messages.
        size: of the file in bytes.
        trust: lets through what can carry code and has a reader.

    Returns:
        "safetensors", "state dict", "onnx" or "keras"; with `trust` also "torchscript", "export" or "pickle".

    Raises:
        CheckpointError: any other content, or one that no library should be given; the message names the file.
    """
    kind, members = _kind_of_head(file.read(_HEAD)), []
    if kind == "zip":
        members = _members(file, path, size)
        kind = _kind_of_zip({member.filename for member in members})
    if kind == "unknown" and _is_onnx(file, size):
        kind = "onnx"
    if kind not in (_READ | _TRUSTED if trust else _READ):
        raise CheckpointError(f"{path}: {_refusal(kind, trust=trust)}")
    fault = _header_fault(file, size) if kind == "safetensors" else None
    fault = _zip_fault(members, size) if kind == "state dict" else fault
    fault = _archive_fault(members, size) if kind in {"keras", "torchscript", "export"} else fault
    if fault:
        raise CheckpointError(f"{path}: {fault}")
    file.seek(0)
    return kind


def _refusal(kind: str, *, trust: bool) -> str:
    if kind in _NO_WEIGHTS:
        return _NO_WEIGHTS[kind]
    trust_note = " `trust=True` does not help: this format is not read at all." if trust else ""
    cure = _OTHER_WAYS.get(kind, CURE)
    return f"{_CARRIERS[kind]}, a format that can carry code, so it is refused.{trust_note} {cure}"


def _kind_of_head(head: bytes) -> str:
    if not head:
        return "empty"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    starts = (
        (head, b"PK\x03\x04", "zip"),
        (head, b"PK\x05\x06", "zip"),
        (head, b"\x89HDF", "hdf5"),
        (head, b"\x1f\x8b", "gzip"),
        (head[8:], b"{", "safetensors"),
        (head[257:], b"ustar", "tar"),
        (text, b"version https://git-lfs", "lfs"),
        (text, b"<", "html"),
    )
    for content, start, kind in starts:
        if content.startswith(start):
            return kind
    return "pickle" if re.match(rb"\x80[\x01-\x05]", head) else "unknown"


def _header_fault(file: IO[bytes], size: int) -> str | None:
    """Look at a safetensors header before the library does, whose own limits let a file cost minutes."""
    file.seek(0)
    length = struct.unpack("<Q", file.read(8))[0]
    if length > size - 8:
        return f"a truncated safetensors file. {AGAIN}"
    if length > _MAX_HEADER:
        return f"a safetensors header of {length >> 20} MB, more than the {_MAX_HEADER >> 20} MB allowed. {CURE}"
    try:
        text = file.read(length)
        if sum(map(text.count, (b",", b"{", b"["))) > _MAX_MARKS:
            return f"a safetensors header with far too many entries. {CURE}"
        header = json.loads(text)
        count = len(header.keys() - {"__metadata__"})
    except (ValueError, RecursionError, AttributeError):
        return f"a damaged safetensors file. {AGAIN}"
    if count == 0:
        return f"expected 1 to {MAX_TENSORS} tensors, but got 0. {CURE}"
    return f"{count} tensors, more than the {MAX_TENSORS} allowed. {CURE}" if count > MAX_TENSORS else None


def _members(file: IO[bytes], path: Path, size: int) -> list[zipfile.ZipInfo]:
    """Return the zip's table of contents, as its one and only end record gives it.

    Raises:
        CheckpointError: truncated, damaged, or a table beyond all use.
    """
    file.seek(max(0, size - 22))
    end = file.read(22)
    if len(end) < 22 or end[:4] != b"PK\x05\x06" or end[20:] != b"\0\0":  # a comment could hide a second end record
        raise CheckpointError(f"{path}: a truncated or damaged zip archive. {AGAIN}")
    if struct.unpack("<I", end[12:16])[0] > _MAX_DIRECTORY:
        raise CheckpointError(f"{path}: a zip archive with too many members for a state dict. {CURE}")
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.infolist()
    except Exception as error:  # zipfile raises anything on damaged archives
        raise CheckpointError(f"{path}: a damaged zip archive. {AGAIN}") from error


def _kind_of_zip(names: set[str]) -> str:
    """Tell the formats that are zip archives apart by the members that only they have."""
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return "torchscript"
    if "archive_format" in inner or any(name.startswith("models/") for name in inner):
        return "export"
    if any(name.startswith(".data/extern_modules") for name in inner):
        return "package"
    if "config.json" in names and "model.weights.h5" in names:
        return "keras"
    return "state dict" if "data.pkl" in inner else "zip"


def _zip_fault(members: list[zipfile.ZipInfo], size: int) -> str | None:
    fault = next(_zip_faults(members, size), None)
    return f"not a checkpoint as torch.save writes it: {fault}. {CURE}" if fault else None


def _zip_faults(members: list[zipfile.ZipInfo], size: int) -> Iterator[str]:
    """Yield what no file of torch.save has and a hostile one may have."""
    names = [member.filename for member in members]
    root = names[0].partition("/")[0] + "/"
    inner = [name.removeprefix(root) for name in names]
    if len({name.lower() for name in names}) < len(names):
        yield "two members have the same name"
    if not all(name.startswith(root) for name in names):
        yield "it has more than one top folder"
    if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 for member in members):
        yield "it is compressed or encrypted"
    if "data.pkl" not in inner or not all(name in _MEMBERS or _STORAGE.fullmatch(name) for name in inner):
        yield "it has members that do not belong there"
    if sum(member.file_size for member in members) > size:
        yield "its members claim more bytes than the file has"
    if len(names) > MAX_TENSORS + len(_MEMBERS):
        yield f"it has more than {MAX_TENSORS} tensors"
    if any(member.filename == root + "data.pkl" and member.file_size > _MAX_PICKLE for member in members):
        yield f"its pickle is larger than {_MAX_PICKLE >> 20} MB"


def _archive_fault(members: list[zipfile.ZipInfo], size: int) -> str | None:
    """Look at an archive of another library: no doubles, no ways out of it, no bombs."""
    names = [member.filename for member in members]
    if len({name.lower() for name in names}) < len(names):
        return f"two members of the archive have the same name. {CURE}"
    if any(name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or ":" in name for name in names):
        return f"a member of the archive leads out of it. {CURE}"
    if sum(member.file_size for member in members) > _RATIO * size + (1 << 20):
        return f"the members of the archive claim more than {_RATIO} times its bytes. {CURE}"
    return None


def _is_onnx(file: IO[bytes], size: int) -> bool:
    """Whether the whole file is one protobuf message with the fields of an ONNX model, a graph (7) among them."""
    place, seen, fields = 0, set(), 0
    while place < size and fields < _MOST_FIELDS:
        fields += 1
        file.seek(place)
        head = file.read(20)
        key, used = _varint(head)
        value, more = _varint(head[used:]) if key & 7 in {0, 2} else (-1, 0)
        if not used or not more or not 1 <= key >> 3 <= 26:
            return False
        seen.add(key)
        place += used + more + (value if key & 7 == 2 else 0)
    return place == size and (7 << 3 | 2) in seen


def _varint(data: bytes) -> tuple[int, int]:
    """Return a protobuf number and the bytes that it takes; 0 bytes where there is none."""
    value = 0
    for k, byte in enumerate(data[:10]):
        value |= (byte & 0x7F) << (7 * k)
        if byte < 0x80:
            return value, k + 1
    return 0, 0
