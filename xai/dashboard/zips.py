"""A zip of pictures, unpacked without trusting it: its names, its sizes and its links come from anybody."""

import io
import stat
import zipfile
from pathlib import Path, PurePosixPath

import xai

MOST_MEMBERS = 20_000
MOST_BYTES = 1 << 30  # of all members together, unpacked
MOST_TIMES = 200  # that one member may be larger than its packed form; pictures are packed already
_SMALL = 1 << 20  # bytes up to which a member may be packed as well as it likes
_KINDS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
_CHUNK = 1 << 20
_CURE = "Make the archive again from a folder with one sub-folder of pictures per class."


def unpack(content: bytes, name: str, folder: Path) -> tuple[Path, int]:
    """Write the pictures of a zip below a folder that is empty.

    Args:
        content: of the zip.
        name: of the file, for messages.
        folder: to write into.

    Returns:
        The folder with the class folders, and how many members were left out because they are no pictures.

    Raises:
        InputError: no zip, or one whose members lead out of it, are links, are encrypted, or unpack to too much.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = [member for member in archive.infolist() if not member.is_dir()]
            _check(files, name)
            wanted = [member for member in files if _is_wanted(member.filename)]
            budget = MOST_BYTES
            for member in wanted:
                budget = _write(archive, member, folder / PurePosixPath(member.filename), budget, name)
    except xai.XaiError:
        raise
    except Exception as error:  # zipfile raises anything on damaged archives
        raise xai.InputError(f"{name}: no zip archive that can be read ({type(error).__name__}). {_CURE}") from error
    if not wanted:
        raise xai.InputError(f"{name}: there is no picture in it. {_CURE}")
    return _inner(folder), len(files) - len(wanted)


def _check(files: list[zipfile.ZipInfo], name: str) -> None:
    """Look at the list of members before anything is written."""
    if len(files) > MOST_MEMBERS:
        raise xai.InputError(f"{name}: expected at most {MOST_MEMBERS:,} files, but it has {len(files):,}. Send fewer.")
    if sum(member.file_size for member in files) > MOST_BYTES:
        raise xai.InputError(f"{name}: unpacks to more than {MOST_BYTES >> 20} MiB. Send fewer or smaller pictures.")
    seen: set[str] = set()
    for member in files:
        fault = _fault(member, seen)
        if fault:
            raise xai.InputError(f"{name}: the member {member.filename[:80]!r} {fault}. {_CURE}")
        seen.add(member.filename.lower())


def _fault(member: zipfile.ZipInfo, seen: set[str]) -> str:
    path = PurePosixPath(member.filename)
    odd = "\\" in member.filename or ":" in member.filename or not member.filename.isprintable()
    if path.is_absolute() or ".." in path.parts or odd or len(member.filename) > 240:
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
        deeper = len(inside) == 1 and inside[0].is_dir() and any(one.is_dir() for one in inside[0].iterdir())
        if not deeper:
            return folder
        folder = inside[0]
