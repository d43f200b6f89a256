"""Parts of a data set: found by their usual names, said, taken by name, and no groups."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import xai
from xai.errors import InputError, NameLookupError

PARTS = ["train"] * 5 + ["val"] * 2 + ["test"] * 3
SITES = ["north", "south"] * 5


def table(folder: Path, column: str, values: list, kind: str = "csv") -> Path:
    """Write ten images and a table with a column of parts and one of groups."""
    for k in range(10):
        Image.fromarray(np.full((6, 8), 20 * k, dtype=np.uint8)).save(folder / f"{k}.png")
    columns = {"path": [f"{k}.png" for k in range(10)], "label": ["a", "b"] * 5, column: values, "site": SITES}
    path = folder / f"table.{kind}"
    if kind == "csv":
        rows = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
        path.write_text("\n".join(rows) + "\n")
    elif kind == "parquet":
        parquet.write_table(pa.table(columns), path)
    else:
        images = np.stack([np.full((6, 8), 20 * k, dtype=np.uint8) for k in range(10)])
        np.savez(path, images=images, labels=np.arange(10) % 2, **{column: np.array(values), "site": np.array(SITES)})
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
@pytest.mark.parametrize("column", ["split", "part", "subset", "Set", "fold"])
def test_parts_are_found_by_their_usual_names(tmp_path: Path, column: str, kind: str) -> None:
    data = xai.load_data(table(tmp_path, column, PARTS, kind))
    assert data.parts == ("test", "train", "val")
    assert {name: len(data.part(name)) for name in data.parts} == {"train": 5, "val": 2, "test": 3}
    assert data.part("val").groups["site"].tolist() == ["south", "north"]
    assert list(data.groups) == ["site"]
    assert any(f"{column!r} was taken for the parts" in note for note in data.notes)
    assert len(xai.load_data(tmp_path / f"table.{kind}", part="test")) == 3
    clf = xai.load("example:fashion")
    found = xai.bias(clf, data, labels=[0] * 10, metrics=["accuracy"])
    assert set(found.table["column"]) == {"site"}


def test_numbers_are_parts_too(tmp_path: Path) -> None:
    data = xai.load_data(table(tmp_path, "fold", [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]))
    assert data.parts == ("0", "1", "2")
    assert len(data.part("0")) == len(data.part(0)) == 4


@pytest.mark.parametrize(
    ("column", "values"),
    [("set", ["indoor", "outdoor"] * 5), ("subset", ["a", "b"] * 5), ("splits", PARTS), ("camera", PARTS)],
)
def test_what_may_be_a_group_stays_one(tmp_path: Path, column: str, values: list) -> None:
    data = xai.load_data(table(tmp_path, column, values))
    assert data.parts == ()
    assert list(data.groups) == [column, "site"]
    assert not any("parts" in note for note in data.notes)
    with pytest.raises(NameLookupError):
        data.part("test")


def test_a_column_can_be_named_or_ruled_out(tmp_path: Path) -> None:
    path = table(tmp_path, "split", PARTS)
    named = xai.load_data(path, part_column="site")
    assert named.parts == ("north", "south")
    assert list(named.groups) == ["split"]
    assert xai.load_data(path, part_column="").parts == ()
    with pytest.raises(NameLookupError, match="split"):
        xai.load_data(path, part_column="spilt")
    settings = {"source": str(path), "part_column": "split", "part": "test"}
    clf = xai.Classifier(xai.load("example:fashion").module, list("abcdefghij"), (28, 28), channels=1)
    found = xai.audit(model=clf, data=settings, checks=["accuracy"])
    assert found.document["images"]["n"] == 3


def test_a_column_of_many_values_is_no_part(tmp_path: Path) -> None:
    count = 40
    np.savez(tmp_path / "d.npz", images=np.zeros((count, 4, 4), dtype=np.uint8), split=np.arange(count))
    assert xai.load_data(tmp_path / "d.npz").parts == ()


def test_folders_of_parts_are_no_classes(tmp_path: Path) -> None:
    for part, count in {"train": 3, "val": 1, "test": 2}.items():
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for k in range(count):
                Image.fromarray(np.full((5, 7), 10 * k, dtype=np.uint8)).save(tmp_path / part / name / f"{k}.png")
    data = xai.load_data(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert {name: len(data.part(name)) for name in data.parts} == {"train": 6, "val": 2, "test": 4}
    assert data.part("test").labels.tolist() == [0, 0, 1, 1]
    assert data.ids[0] == "test/cat/0.png" or data.ids[0].startswith("t")
    assert any("taken for the parts" in note for note in data.notes)
    assert list(data.groups) == []
    one = xai.load_data(tmp_path / "train")  # a folder of classes as ever
    assert (one.class_names, one.parts) == (("cat", "dog"), ())


def test_classes_that_are_called_as_parts_are(tmp_path: Path) -> None:
    for name in ("train", "test"):  # images of railways, say: no folders below
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((5, 7), dtype=np.uint8)).save(tmp_path / name / "0.png")
    assert xai.load_data(tmp_path).class_names == ("test", "train")


def test_the_command_line_takes_a_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from xai.cli import main

    path = table(tmp_path, "split", PARTS)
    path.write_text(path.read_text().replace(",a,", ",Bag,").replace(",b,", ",Coat,"))
    assert main(["attack", "--data", f"{path}@test", "--model", "example:fashion", "--method", "fgsm"]) in {0, 2}
    assert "3 images" in capsys.readouterr().out
    with pytest.raises(InputError):
        xai.attack(xai.load("example:fashion"), xai.load_data(path).images[:])
