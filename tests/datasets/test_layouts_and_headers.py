"""Folders and tables as people have them: parts and what lies beside, numbers as classes, separators, columns."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

import xai
from xai.datasets.dataset import class_number
from xai.errors import DataError, InputError, TargetError
from xai.models.networks import SmallNet


def write(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if path.endswith(".png"):
            Image.new("RGB", (7, 5), (20, 40, 60)).save(root / path)
        else:
            (root / path).write_text("x")
    return root


LAYOUTS = {
    "annotations": (["train/cat/1.png", "train/dog/2.png", "val/dog/3.png", "annotations/a.json"], "train val", 3),
    "unlabelled test": (["train/cat/1.png", "train/dog/2.png", "test/3.png"], "train", 2),
    "nested unlabelled": (["train/cat/1.png", "train/dog/2.png", "test/test/3.png"], "train", 2),
    "unlabelled by name": (["train/cat/1.png", "train/dog/2.png", "test_unlabelled/3.png"], "train", 2),
    "sets": (["training_set/cat/1.png", "training_set/dog/2.png", "test_set/cat/3.png"], "test training", 3),
    "twice": (["seg_train/seg_train/cat/1.png", "seg_test/seg_test/dog/2.png"], "test train", 2),
    "words": (["Training Data/cat/1.png", "Training Data/dog/1.png", "TestSet/dog/1.png"], "test training", 3),
    "years": (["train2017/cat/1.png", "val2017/dog/1.png", "models/a.pt"], "train val", 2),
    "capitals": (["Train/cat/1.png", "Train/dog/2.png", "Valid/cat/3.png"], "Train Valid", 3),
}


@pytest.mark.parametrize(("paths", "parts", "count"), LAYOUTS.values(), ids=LAYOUTS)
def test_folders_called_as_parts_are_parts(paths: list[str], parts: str, count: int, tmp_path: Path) -> None:
    data = xai.load_data(write(tmp_path, *paths))
    assert data.class_names == ("cat", "dog")
    assert data.parts == tuple(parts.split())
    assert len(data) == count
    assert [data.class_names[k] for k in data.labels] == ["cat" if "cat" in name else "dog" for name in data.ids]
    beside = {path.split("/")[0] for path in paths} - {name.split("/")[0] for name in data.ids}
    assert all(any(f"{name!r}" in note and "left out" in note for note in data.notes) for name in beside)


CLASSES = {
    "parts without classes": (["train/1.png", "test/2.png"], ("test", "train")),
    "a vehicle": (["train/1.png", "car/2.png"], ("car", "train")),
    "kinds of trains": (["express_train/day/1.png", "freight_train/day/2.png"], ("express_train", "freight_train")),
    "a word in a name": (["test tube/1.png", "flask/2.png"], ("flask", "test tube")),
}


@pytest.mark.parametrize(("paths", "classes"), CLASSES.values(), ids=CLASSES)
def test_classes_that_have_a_part_in_their_name_stay_classes(
    paths: list[str], classes: tuple[str, ...], tmp_path: Path
) -> None:
    data = xai.load_data(write(tmp_path, *paths))
    assert data.class_names == classes
    assert len([note for note in data.notes if "called as parts" in note]) == (classes == ("test", "train"))


UNCLEAR = {
    "another folder with images": ["train/cat/1.png", "train/dog/2.png", "extra/cat/3.png"],
    "images and labels": ["train/images/1.png", "train/labels/1.txt", "val/images/2.png"],
}


@pytest.mark.parametrize("paths", UNCLEAR.values(), ids=UNCLEAR)
def test_what_is_not_clear_is_refused_and_the_cure_works(paths: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"called as parts.*class_names=\[") as told:
        xai.load_data(write(tmp_path, *paths))
    assert "\n" not in str(told.value)
    names = sorted({path.split("/")[0] for path in paths})
    assert xai.load_data(tmp_path, class_names=names).class_names == tuple(names)


def test_numbers_are_the_same_in_folders_and_tables(tmp_path: Path) -> None:
    numbers = ["0", "3", "7", "10", "11"]
    write(tmp_path / "f", *(f"{k}/{k}.png" for k in numbers))
    folder = xai.load_data(tmp_path / "f")
    for form in ("{}", "{}.0", "{}.", "0{}"):
        rows = [f"f/{k}/{k}.png,{form.format(k)}" for k in numbers]
        (tmp_path / "t.csv").write_text("\n".join(["path,label", *rows]))
        table = xai.load_data(tmp_path / "t.csv")
        assert table.labels.tolist() == [0, 3, 7, 10, 11]
        assert table.class_names == folder.class_names == tuple(map(str, range(12)))
    assert dict(zip(folder.ids, folder.labels.tolist(), strict=True)) == {f"{k}/{k}.png": int(k) for k in numbers}
    assert any("called 0 to 11" in note for note in folder.notes)
    pd.DataFrame({"path": ["f/3/3.png", "f/7/7.png"], "label": [3.0, 7.0]}).to_parquet(tmp_path / "t.parquet")
    assert xai.load_data(tmp_path / "t.parquet").labels.tolist() == [3, 7]


def test_numbers_that_the_model_has_not_are_refused_and_the_cure_works(tmp_path: Path) -> None:
    write(tmp_path, "3/1.png", "7/2.png")
    clf = xai.Classifier(SmallNet(num_classes=2, channels=3, width=4).eval(), input_size=(8, 9))
    with pytest.raises(TargetError, match=r"0 to 1, but .* has 3 to 7.*class_names=\['3', '7'\]"):
        xai.attack(clf, xai.load_data(tmp_path), None, "fgsm", eps=1e-3)
    data = xai.load_data(tmp_path, class_names=["3", "7"])
    assert xai.attack(clf, data, None, "fgsm", eps=1e-3).labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", 3),
        ("3.0", 3),
        ("03", 3),
        ("2.000", 2),
        ("3.5", None),
        ("-1", None),
        ("", None),
        ("1e0", None),
        ("²", None),
    ],
)
def test_class_numbers(text: str, number: int | None) -> None:
    assert class_number(text) == number


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_separators_and_any_case_of_letters(separator: str, suffix: str, tmp_path: Path) -> None:
    write(tmp_path, "0.png", "1.png")
    rows = ["Path,LABEL,Site", "0.png,dog,n", "1.png,cat,s"]
    (tmp_path / f"t.{suffix}").write_text("\n".join(rows).replace(",", separator))
    data = xai.load_data(tmp_path / f"t.{suffix}")
    assert data.class_names == ("cat", "dog")
    assert data.labels.tolist() == [1, 0]
    assert data.groups["Site"].tolist() == ["n", "s"]
    assert bool(data.notes) == (separator != ",")


@pytest.mark.parametrize("name", ["NA", "nan", "null", "None", "N/A", "#N/A"])
def test_names_that_look_like_missing_values_are_names(name: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"path,label,age,site\n0.png,{name},1.5,\n1.png,US,,x\n")
    data = xai.load_data(tmp_path / "t.csv")
    assert [data.class_names[k] for k in data.labels] == [name, "US"]
    assert data.groups["age"].tolist()[0] == 1.5
    assert data.groups["site"].tolist() == [None, "x"]


def test_missing_columns_name_the_setting(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("filename,class\n0.png,cat\n1.png,dog\n")
    with pytest.raises(DataError, match=r"no column 'path'.*filename, class.*path_column="):
        xai.load_data(tmp_path / "t.csv")
    data = xai.load_data(tmp_path / "t.csv", path_column="filename")
    assert data.labels is None
    assert any("label_column='class'" in note for note in data.notes)
    assert xai.load_data(tmp_path / "t.csv", path_column="Filename", label_column="Class").labels.tolist() == [0, 1]
    with pytest.raises(DataError, match=r"no column 'clas'\. Near: class.*label_column="):
        xai.load_data(tmp_path / "t.csv", path_column="filename", label_column="clas")


def written(path: Path, header: str, encoding: str = "utf-8", count: int = 4) -> Path:
    """Write a table of images that are there."""
    write(path.parent, *(f"a b/{k}.png" for k in range(count)))
    rows = "".join(f"a b/{k}.png,{'cat' if k % 2 else 'dog'},m/{k}.png\n" for k in range(count))
    path.write_bytes((header + "\n" + rows).encode(encoding))
    return path


@pytest.mark.parametrize("name", ["image", "filename", "File Name", "img"])
def test_without_a_path_the_column_that_names_images_is_read(name: str, tmp_path: Path) -> None:
    data = xai.load_data(written(tmp_path / "t.csv", f"{name},label,mask"))
    assert [data.class_names[k] for k in data.labels] == ["dog", "cat", "dog", "cat"]
    assert f"there is no column 'path': {name!r} is read, whose cells are files of images" in data.notes
    assert data.images[:4].shape == (4, 3, 5, 7)


def test_two_columns_of_images_are_not_chosen_from(tmp_path: Path) -> None:
    write(tmp_path, *(f"m/{k}.png" for k in range(4)))
    with pytest.raises(DataError, match=r"no column 'path'. Known: image, label, mask. Name it"):
        xai.load_data(written(tmp_path / "t.csv", "image,label,mask"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_text_of_another_encoding_is_named(encoding: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a text in UTF-8, but it is in UTF-16 or UTF-32. Save it again"):
        xai.load_data(written(tmp_path / "t.csv", "path,label,mask", encoding))


def test_missing_labels_name_the_column_that_may_have_them(tmp_path: Path) -> None:
    table = written(tmp_path / "t.csv", "path,diagnosis,mask", count=20)
    for k in range(20):
        Image.new("RGB", (7, 5), (10 * k, 99, 3)).save(tmp_path / f"a b/{k}.png")
    data = xai.load_data(table)
    model = xai.Classifier(SmallNet(2, 3, 2).eval(), input_size=(24, 28))
    with pytest.raises(InputError, match="no labels: pass label_column='diagnosis' if it has the classes"):
        xai.calibration(model, data)
