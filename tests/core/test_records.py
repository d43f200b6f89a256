"""Results on disk: whole or not at all, never a pickle, and what is damaged is refused."""

import hashlib
import io
import json
import os
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import GapCnn, pictures

import xai
from xai.core.results import codec as records
from xai.core.results.codec import ARRAYS, MANIFEST, read_record, unpacked, versions, write_file, write_record
from xai.errors import RecordError, ShapeError
from xai.explanations.explanation import Explanation

KIND = "thing"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_record(tmp_path / "run", KIND, {"a": 1, "b": [2.5, None]}, {"x": np.eye(3)}, {"note.txt": b"hello"})
    return tmp_path / "run"


def test_written_and_read(folder: Path) -> None:
    fields, arrays = read_record(folder, KIND)
    assert (fields["a"], fields["b"], fields["kind"]) == (1, [2.5, None], KIND)
    np.testing.assert_array_equal(arrays["x"], np.eye(3))
    assert (folder / "note.txt").read_bytes() == b"hello"
    assert set(fields["files"]) == {ARRAYS, "note.txt"}


def test_files_have_the_rights_of_new_files(folder: Path) -> None:
    (folder / "plain").write_bytes(b"")
    wanted = stat.S_IMODE((folder / "plain").stat().st_mode)
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in (ARRAYS, MANIFEST, "note.txt")} == {wanted}


def test_nothing_else_is_left(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {ARRAYS, MANIFEST, "note.txt"}


def test_the_manifest_is_written_last_and_an_older_one_goes_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def fail_at_second(path: Path, content: bytes) -> None:
        assert not (folder / MANIFEST).exists()
        written.append(path.name)
        if len(written) == 2:
            raise RecordError("injected")
        write_file(path, content)

    monkeypatch.setattr(records, "write_file", fail_at_second)
    with pytest.raises(RecordError, match="injected"):
        write_record(folder, KIND, {}, {"x": np.zeros(1)}, {"note.txt": b"new"})
    assert written == [ARRAYS, "note.txt"]
    with pytest.raises(RecordError, match=r"no saved thing here \(manifest.json is missing\)"):
        read_record(folder, KIND)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path / "a", b"old")

    def full(_self: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(RecordError, match=r"a: cannot be written \(No space left on device\)"):
        write_file(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "x", tmp_path / ("n" * 300)):
        with pytest.raises(RecordError, match=r"cannot be written \(.+\)\. Choose another folder"):
            write_file(path, b"")
    with pytest.raises(RecordError, match=r"file: cannot be written"):
        write_record(tmp_path / "file", KIND, {}, {}, {})


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"no saved thing here \(manifest.json is missing\)\. Check the path"):
        read_record(tmp_path, KIND)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RecordError, match=r"cannot be read \(NotADirectoryError\)"):
        read_record(tmp_path / "file", KIND)


def test_missing_arrays(folder: Path) -> None:
    (folder / ARRAYS).unlink()
    with pytest.raises(RecordError, match=r"\(values\.npz is missing\)"):
        read_record(folder, KIND)


def change(folder: Path, **fields: Any) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, **fields}))


def replace_arrays(folder: Path, content: bytes) -> None:
    (folder / ARRAYS).write_bytes(content)
    change(folder, files={ARRAYS: hashlib.sha256(content).hexdigest()})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "other"}, "expected a saved thing, but this is another kind"),
        ({"schema": 99}, r"newer version of xai \(schema 99\)\. Update"),
        ({"schema": "1"}, "manifest.json is damaged"),
        ({"schema": None}, "manifest.json is damaged"),
        ({"files": None}, "manifest.json is damaged"),
        ({"files": []}, "manifest.json is damaged"),
        ({"files": {}}, "values.npz is damaged or was changed"),
    ],
)
def test_odd_manifests(folder: Path, fields: dict[str, Any], words: str) -> None:
    change(folder, **fields)
    with pytest.raises(RecordError, match=words):
        read_record(folder, KIND)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"null", b"{}"])
def test_manifests_that_are_none(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(RecordError, match=r"cannot be read|another kind"):
        read_record(folder, KIND)


@pytest.mark.parametrize("place", [0, 30, -1])
def test_every_changed_byte_is_noticed(folder: Path, place: int) -> None:
    content = bytearray((folder / ARRAYS).read_bytes())
    content[place] ^= 1
    (folder / ARRAYS).write_bytes(content)
    with pytest.raises(RecordError, match=r"values\.npz is damaged or was changed after it was saved"):
        read_record(folder, KIND)


class Marker:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def test_arrays_of_objects_are_refused_and_nothing_runs(folder: Path, tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, x=np.array([Marker(tmp_path / "ran")], dtype=object))
    replace_arrays(folder, stream.getvalue())
    with pytest.raises(RecordError, match="something else than plain arrays"):
        read_record(folder, KIND)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 damaged", b"\x80\x04\x95", b"\x93NUMPY"])
def test_arrays_that_are_none(folder: Path, content: bytes) -> None:
    replace_arrays(folder, content)
    with pytest.raises(RecordError, match="something else than plain arrays"):
        read_record(folder, KIND)


def test_versions() -> None:
    assert {"python", "torch", "numpy"} <= set(versions())
    versions()["python"] = "changed"
    assert versions()["python"] != "changed"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return xai.explain(GapCnn(), pictures(2)).save(tmp_path / "out")


@pytest.mark.parametrize(
    "fields",
    [
        {"geometries": None},
        {"geometries": []},
        {"geometries": [{}, {}]},
        {"geometries": [{"original": [1]}] * 2},
        {"target_names": "ab"},
        {"image_names": ["a"]},
        {"notes": 3},
        {"predictions": None},
    ],
)
def test_an_explanation_with_an_odd_manifest_is_refused(saved: Path, fields: dict[str, Any]) -> None:
    record = json.loads((saved / MANIFEST).read_text())["result"]
    change(saved, result=record | fields)
    with pytest.raises(RecordError, match="the saved explanation is damaged or incomplete"):
        Explanation.load(saved)


@pytest.mark.parametrize("name", ["image_names", "settings", "unit", "seed", "geometries", "versions"])
def test_an_explanation_that_lacks_a_field_is_refused(saved: Path, name: str) -> None:
    manifest = json.loads((saved / MANIFEST).read_text())
    part = manifest["result"]
    del (part if name in part else part["provenance"])[name]
    (saved / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(RecordError, match="the saved explanation is damaged or incomplete"):
        Explanation.load(saved)


def test_an_explanation_that_lacks_an_array_is_refused(saved: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, attribution=np.zeros((2, 1, 4, 4)))
    replace_arrays(saved, stream.getvalue())
    with pytest.raises(RecordError, match="the saved explanation is damaged or incomplete"):
        Explanation.load(saved)


def test_an_older_result_is_replaced(saved: Path) -> None:
    xai.explain(GapCnn(), pictures(1), seed=7).save(saved)
    assert len(Explanation.load(saved)) == 1
    assert Explanation.load(saved).seed == 7


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".pdf", ".svg"])
def test_a_picture_of_an_explanation(suffix: str, tmp_path: Path) -> None:
    path = xai.explain(GapCnn(), pictures(1)).save(tmp_path / "new" / f"map{suffix}")
    start = {".png": b"\x89PNG", ".jpg": b"\xff\xd8", ".pdf": b"%PDF", ".svg": b"<?xml"}[suffix]
    assert path.read_bytes().startswith(start)
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_one_heatmap_of_several_must_be_chosen() -> None:
    found = xai.explain(GapCnn(), pictures(2))
    with pytest.raises(ShapeError, match=r"there are 2\. Use `heatmaps\[k\]`"):
        _ = found.heatmap
    assert found.heatmaps[1].shape == (16, 16)
    assert found.heatmaps[0] is found.heatmaps[0]
    assert "GapCnn" in repr(found)


def test_a_member_that_is_no_array_is_refused() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.npy", b"no array")
    with pytest.raises(ValueError, match="no arrays"):
        unpacked(stream.getvalue())
