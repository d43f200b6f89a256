"""Every kind of data set: values, laziness, subsets, and one clear line for each that cannot be used."""

import gzip
import io
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import xai
from xai.core.model.classifier import Classifier
from xai.errors import DataError, ImageError, NameLookupError
from xai.models.networks import SmallNet


def write_picture(path: Path, value: int, size: tuple[int, int] = (6, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return two classes with three and two images, and things that are none."""
    root = tmp_path / "data"
    for k in range(3):
        write_picture(root / "cats" / f"{k}.png", 10 * k)
    write_picture(root / "dogs" / "deep" / "a.png", 100)
    write_picture(root / "dogs" / "b.jpg", 110)
    (root / "dogs" / "notes.txt").write_text("no image")
    (root / ".ipynb_checkpoints").mkdir()
    (root / "cats" / ".DS_Store").write_bytes(b"x")
    return root


def test_folder(folder: Path) -> None:
    data = xai.load_data(folder)
    assert data.class_names == ("cats", "dogs")
    assert len(data) == 5
    assert data.labels.tolist() == [0, 0, 0, 1, 1]
    assert list(data.ids) == ["cats/0.png", "cats/1.png", "cats/2.png", "dogs/b.jpg", "dogs/deep/a.png"]
    assert data.images[2].shape == (3, 4, 6)
    assert float(data.images[2].max()) == pytest.approx(20 / 255)
    assert data.images[1:3].shape == (2, 3, 4, 6)
    assert any(".txt" in note for note in data.notes)


def test_pictures_of_different_sizes_come_as_a_list(folder: Path) -> None:
    write_picture(folder / "cats" / "9.png", 5, size=(9, 9))
    images = xai.load_data(folder).images[0:4]
    assert [tuple(image.shape) for image in images] == [(3, 4, 6)] * 3 + [(3, 9, 9)]


def test_classes_given_fix_the_order_and_allow_one_folder(folder: Path) -> None:
    data = xai.load_data(folder, class_names=["dogs", "cats", "birds"])
    assert data.labels.tolist() == [1, 1, 1, 0, 0]
    assert any("birds" in note for note in data.notes)


def test_a_damaged_picture_is_named(folder: Path) -> None:
    (folder / "cats" / "1.png").write_text("broken")
    with pytest.raises(ImageError, match=r"1\.png"):
        xai.load_data(folder).images[1]


def write_csv(tmp_path: Path, text: str) -> Path:
    for k in range(3):
        write_picture(tmp_path / "p" / f"{k}.png", 50 * k)
    path = tmp_path / "m.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_with_groups_bom_and_spaces(tmp_path: Path) -> None:
    path = write_csv(tmp_path, '\ufeffpath, label ,camera\np/0.png,dog,"A, left"\np/1.png, cat,B\np/2.png,dog,B\n')
    data = xai.load_data(path)
    assert data.class_names == ("cat", "dog")
    assert data.labels.tolist() == [1, 0, 1]
    assert list(data.groups) == ["camera"]
    assert data.groups["camera"].tolist() == ["A, left", "B", "B"]
    assert float(data.images[1].max()) == pytest.approx(50 / 255)
    assert len(set(data.ids)) == 3
    with pytest.raises(NameLookupError, match="camera"):
        data.groups["camra"]


def test_parquet_and_numeric_labels(tmp_path: Path) -> None:
    write_csv(tmp_path, "path\n")
    path = tmp_path / "m.parquet"
    pd.DataFrame({"path": ["p/0.png", "p/2.png"], "label": [2, 0], "age": [1.5, 2.5]}).to_parquet(path)
    data = xai.load_data(path)
    assert data.labels.tolist() == [2, 0]
    assert data.class_names == ("0", "1", "2")
    assert data.groups["age"].tolist() == [1.5, 2.5]


def test_manifest_without_labels(tmp_path: Path) -> None:
    data = xai.load_data(write_csv(tmp_path, "path\np/0.png\np/1.png\n"))
    assert data.labels is None
    assert len(data) == 2


def load_traced(path: Path, rows: int) -> tuple[xai.Dataset, int]:
    """Return a manifest of many rows, and the most memory that Python held while reading it."""
    with path.open("w") as file:
        file.write("path,label,camera\n")
        for k in range(rows):
            file.write(f"folder/with/a/long/name/{k:09d}.png,{'cat' if k % 3 else 'dog'},camera-{k % 7}\n")
    tracemalloc.start()
    data = xai.load_data(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return data, peak


def test_a_large_manifest_is_never_all_in_memory(tmp_path: Path) -> None:
    load_traced(tmp_path / "first.csv", 10)  # imports what is needed
    (_, less), (data, more) = load_traced(tmp_path / "a.csv", 40_000), load_traced(tmp_path / "b.csv", 120_000)
    assert len(data) == 120_000
    assert data.ids[119_999].endswith("119999.png")
    assert int((data.labels == 1).sum()) == 40_000
    assert (more - less) / 80_000 < 35  # two numbers a row and a copy; the table has 51 bytes a row, as objects 300


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(save: Callable[..., None], tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (7, 5, 4, 3), dtype=np.uint8)
    save(tmp_path / "a.npz", images=images, labels=np.arange(7) % 2, classes=np.array(["x", "y"]), site=np.arange(7))
    data = xai.load_data(tmp_path / "a.npz")
    wanted = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    torch.testing.assert_close(data.images[:], wanted)
    assert data.class_names == ("x", "y")
    assert data.groups["site"].tolist() == list(range(7))
    assert isinstance(data.source.labels, np.memmap)


def write_idx(path: Path, values: np.ndarray, *, zipped: bool) -> None:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    content = header + values.tobytes()
    path.write_bytes(gzip.compress(content) if zipped else content)


@pytest.mark.parametrize("zipped", [True, False])
def test_idx(zipped: bool, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (6, 5, 4), dtype=np.uint8)
    suffix = ".gz" if zipped else ""
    for prefix, rows in (("train", slice(0, 4)), ("t10k", slice(4, 6))):
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte{suffix}", images[rows], zipped=zipped)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte{suffix}", np.arange(6, dtype=np.uint8)[rows], zipped=zipped)
    data = xai.load_data(tmp_path)
    torch.testing.assert_close(data.images[:], torch.from_numpy(images)[:, None].float() / 255)
    assert xai.load_data(tmp_path, part="test").labels.tolist() == [4, 5]
    assert data.groups["part"].tolist() == ["train"] * 4 + ["test"] * 2


def cifar_batch(pixels: np.ndarray, labels: list[int], protocol: int, key: bytes = b"labels") -> bytes:
    """Return a batch as Python 2 wrote it, but for the protocol."""
    return pickle.dumps(
        {b"batch_label": b"b", key: labels, b"data": pixels, b"filenames": [b"a.png"] * len(labels)}, protocol
    )


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_cifar(protocol: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 3072), dtype=np.uint8)
    (tmp_path / "data_batch_1").write_bytes(cifar_batch(pixels[:3], [3, 300, 1], protocol))
    (tmp_path / "test_batch").write_bytes(cifar_batch(pixels[3:], [7], protocol))
    (tmp_path / "batches.meta").write_bytes(
        pickle.dumps({"label_names": [f"c{k}" for k in range(301)], "num_vis": 3072}, protocol)
    )
    data = xai.load_data(tmp_path)
    assert data.labels.tolist() == [3, 300, 1, 7]
    assert data.class_names[300] == "c300"
    torch.testing.assert_close(data.images[:], torch.from_numpy(pixels).view(4, 3, 32, 32).float() / 255)
    assert len(xai.load_data(tmp_path, part="test")) == 1


def test_cifar_as_python_2_wrote_it(tmp_path: Path) -> None:
    pixels = bytes(range(256)) * 12
    binstring = b"T" + len(pixels).to_bytes(4, "little") + pixels
    content = b"\x80\x02}q\x01(U\x06labelsq\x02]q\x03K\x05aU\x04dataq\x04" + binstring + b"q\x05u."
    (tmp_path / "test_batch").write_bytes(content)
    data = xai.load_data(tmp_path)
    assert data.labels.tolist() == [5]
    assert (data.images[0] * 255).round().flatten()[:5].tolist() == [0, 1, 2, 3, 4]


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (self.marker, "ran")


def test_a_cifar_batch_with_code_does_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"labels": [1], b"data": Evil(marker)}, 2))
    with pytest.raises(DataError, match="test_batch"):
        xai.load_data(tmp_path)
    assert not marker.exists()


def test_examples() -> None:
    data = xai.load_data("example:fashion-test")
    halves = [xai.load_data("example:fashion-test", part=part) for part in ("calibration", "test")]
    assert len(data) == 10_000
    assert [len(half) for half in halves] == [5_000, 5_000]
    assert not set(halves[0].ids) & set(halves[1].ids)
    assert data.images[0].shape == (1, 28, 28)
    assert len(xai.load_data("example:fashion-train")) == 10_000
    digits = xai.load_data("example:digits")
    assert digits.images[0].shape == (1, 8, 8)
    assert float(digits.images[0].max()) <= 1


def test_subsets_are_seeded_and_lazy() -> None:
    data = xai.load_data("example:fashion-test")
    first, again, other = data.subset(50, seed=1), data.subset(50, seed=1), data.subset(50, seed=2)
    assert list(first.ids) == list(again.ids)
    assert list(first.ids) != list(other.ids)
    assert len(set(first.ids)) == 50
    assert data.subset(20_000) is data
    taken = first.take([3, 1])
    assert list(taken.ids) == [first.ids[3], first.ids[1]]
    assert torch.equal(taken.labels, first.labels[[3, 1]])


def test_outputs_of_a_data_set_with_grey_files_and_a_colour_model(folder: Path) -> None:
    Image.new("L", (6, 4), 77).save(folder / "cats" / "1.png")
    torch.manual_seed(0)
    model = Classifier(SmallNet(num_classes=2, channels=3, width=4), input_size=(8, 8))
    found = model.outputs(xai.load_data(folder))
    assert found.logits.shape == (5, 2)
    assert found.features.shape == (5, 16)
    assert found.labels.tolist() == [0, 0, 0, 1, 1]


def test_fingerprint_sees_pixels_and_labels(folder: Path) -> None:
    before = xai.load_data(folder).fingerprint
    assert xai.load_data(folder).fingerprint == before
    write_picture(folder / "cats" / "0.png", 99)
    assert xai.load_data(folder).fingerprint != before


def bad_sources(root: Path) -> dict[str, tuple[Path, str]]:
    """Return data sets that cannot be used, each with a part of the message."""
    (root / "empty").mkdir()
    write_picture(root / "flat" / "a.png", 1)
    write_picture(root / "single" / "cats" / "a.png", 1)
    (root / "bare" / "cats").mkdir(parents=True)
    (root / "bare" / "dogs").mkdir()
    (root / "empty.csv").write_text("")
    (root / "header.csv").write_text("path,label\n")
    (root / "column.csv").write_text("file,label\na.png,x\n")
    (root / "missing.csv").write_text("path,label\na.png,x\nb.png,\n")
    (root / "outside.csv").write_text("path,label\n../../a.png,x\n")
    (root / "broken.parquet").write_bytes(b"PAR1 nonsense")
    (root / "broken.npz").write_bytes(b"PK nonsense")
    np.savez(root / "noimages.npz", photos=np.zeros((2, 3, 3)))
    np.savez(root / "objects.npz", images=np.array([{}, {}], dtype=object))
    np.savez(root / "length.npz", images=np.zeros((2, 3, 3), np.uint8), labels=np.zeros(3, np.int64))
    (root / "idx").mkdir()
    (root / "idx" / "t10k-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + b"\0\0\0\x05" * 3)
    (root / "idx" / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\0")
    (root / "text.pdf").write_text("x")
    said = {
        "nothing": "no such file", "empty": "empty", "flat": "no class folders", "single": "only one class",
        "bare": "no image",
        "empty.csv": "empty", "header.csv": "no rows", "column.csv": "no column 'path'", "missing.csv": "no label",
        "outside.csv": "leaves the folder", "broken.parquet": "cannot be read", "broken.npz": "damaged",
        "noimages.npz": "no array 'images'", "objects.npz": "Python objects", "length.npz": "2 images",
        "idx": "size is not",
        "text.pdf": "known kind",
    }  # fmt: skip
    return {name: (root / name, text) for name, text in said.items()}


def test_each_bad_source_is_one_line(tmp_path: Path) -> None:
    for name, (path, text) in bad_sources(tmp_path).items():
        with pytest.raises(DataError, match=text) as caught:
            xai.load_data(path)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_labels_outside_the_classes(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "path,label\np/0.png,cat\np/1.png,bird\n")
    with pytest.raises(DataError, match="bird"):
        xai.load_data(path, class_names=["cat", "dog"])
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 3, 3), np.uint8), labels=np.array([0, 5]))
    with pytest.raises(DataError, match="labels from 0 to 5 for 2 classes"):
        xai.load_data(tmp_path / "a.npz", class_names=["cat", "dog"])


def test_a_deflated_npz_that_is_cut_short(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros((100, 8, 8), np.uint8))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", stream.getvalue()[:-50])
    with pytest.raises(DataError, match="damaged"):
        xai.load_data(tmp_path / "a.npz")


def test_unknown_example() -> None:
    with pytest.raises(NameLookupError, match="fashion-test"):
        xai.load_data("example:fashion-tets")
    with pytest.raises(NameLookupError, match="calibration"):
        xai.load_data("example:fashion-test", part="calibrate")


def test_any_seed_of_64_bits_draws_a_subset() -> None:
    data = xai.load_data("example:fashion-test")
    assert len(data.subset(5, seed=-1)) == 5
    with pytest.raises(xai.XaiError, match="64 bits"):
        data.subset(5, seed=1 << 70)


@pytest.mark.parametrize("column", ["path", "label", "site"])
def test_bytes_that_are_no_text_in_a_parquet_file_are_one_line(tmp_path: Path, column: str) -> None:
    pd.DataFrame({"path": ["mark1.png"] * 2, "label": ["mark2"] * 2, "site": ["mark3"] * 2}).to_parquet(
        tmp_path / "t.parquet", compression=None
    )
    mark = {"path": b"mark1", "label": b"mark2", "site": b"mark3"}[column]
    content = (tmp_path / "t.parquet").read_bytes().replace(mark, b"ma\xff\xfe" + mark[-1:])
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as a table") as caught:
        xai.load_data(tmp_path / "t.parquet")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "said"), [("a\0" * 500, "null character"), ("../" * 500 + "a.png", "leaves the folder")]
)
def test_a_strange_path_is_told_briefly(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(f"path,label\n{text},cat\n")
    with pytest.raises(DataError, match=said) as caught:
        xai.load_data(tmp_path / "t.csv")
    assert len(str(caught.value)) < 400
