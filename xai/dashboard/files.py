"""What can be downloaded, as bytes; made when it is asked for."""

import io
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import xai

_MOMENT = (1980, 1, 1, 0, 0, 0)  # the same result gives the same bytes


class Kept(Protocol):
    """A result that is saved as a folder."""

    def save(self, path: Path, /) -> Any:
        """Write it; return the folder."""


def picture_png(explanation: xai.Explanation) -> bytes:
    """Return picture, map and overlay as a PNG."""
    with tempfile.TemporaryDirectory() as folder:
        return explanation.save(Path(folder) / "explanation.png").read_bytes()


def whole_zip(result: Kept) -> bytes:
    """Return the folder that `load` of the result's class reads, as a zip."""
    with zipped() as (stream, archive, folder):
        add_folder(archive, result.save(folder / "result"))
    return stream.getvalue()


def together_zip(agreement: xai.Agreement) -> bytes:
    """Return all compared explanations as a zip: a picture and a folder each, and all pictures side by side."""
    with zipped() as (stream, archive, folder):
        _add(archive, agreement.save(folder / "side_by_side.png"))
        for explanation in agreement.explanations:
            name = explanation.method
            _add(archive, explanation.save(folder / f"{name}.png"))
            _add(archive, explanation.save(folder / name), f"{name}/")
    return stream.getvalue()


@contextmanager
def zipped() -> Iterator[tuple[io.BytesIO, zipfile.ZipFile, Path]]:
    """Give a stream, the zip that is written to it, and a folder that goes afterwards."""
    stream = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        yield stream, archive, Path(folder)


def add_folder(archive: zipfile.ZipFile, folder: Path) -> None:
    """Add all files below a folder, named from there."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        _add(archive, path, path.relative_to(folder).as_posix().removesuffix(path.name))


def _add(archive: zipfile.ZipFile, path: Path, prefix: str = "") -> None:
    """Add a file, or the files of a folder."""
    for one in sorted(path.iterdir()) if path.is_dir() else [path]:
        add_file(archive, prefix + one.name, one.read_bytes())


def add_file(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a file with a fixed time: the same content gives the same archive."""
    archive.writestr(zipfile.ZipInfo(name, _MOMENT), content, zipfile.ZIP_DEFLATED)


def map_npy(explanation: xai.Explanation) -> bytes:
    """Return the raw signed map (H, W) float32 as a NumPy file; (N, H, W) for N classes."""
    stream = io.BytesIO()
    maps = np.stack(explanation.heatmaps)
    np.save(stream, maps[0] if len(maps) == 1 else maps, allow_pickle=False)
    return stream.getvalue()


def saved(result: Kept, name: str) -> bytes:
    """Return one file that a result saves under a name; its suffix says in which form."""
    with tempfile.TemporaryDirectory() as folder:
        result.save(Path(folder) / name)
        return (Path(folder) / name).read_bytes()
