"""`xai init` for data of one's own: what it reads, what it writes, that it runs, and what it refuses."""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from own_data import NAMES, images, write_folder, write_model, write_table

from xai.audits.checks.base import CHECKS
from xai.cli import main

GENERIC = ["--class-names", ",".join(NAMES)]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return write_model(tmp_path)


def checks(text: str) -> set[str]:
    return {check["metric"] for check in tomllib.loads(text)["check"]}


def audited(file: Path | str, capsys: pytest.CaptureFixture[str], *more: str) -> dict:
    """Audit as written; return the document."""
    capsys.readouterr()
    assert main(["audit", str(file), "--json", *more]) in {0, 1, 4}
    return json.loads(capsys.readouterr().out)["audit"]


def test_a_folder_with_parts_is_read_and_the_file_runs(model, tmp_path, capsys):
    write_folder(tmp_path / "images")
    assert main(["init", "out", *model, *GENERIC, "--data", "images"]) == 0
    text = (tmp_path / "out" / "xai.toml").read_text()
    tables = tomllib.loads(text)
    assert tables["model"] == {
        "source": "../net.safetensors",
        "arch": "ownnet:network",
        "channels": 1,
        "input_size": [12, 18],
        "class_names": list(NAMES),
        "resize": "squash",  # the right one, by construction
    }
    assert tables["data"] == {"source": "../images", "part": "test"}
    assert tables["train"] == {"source": "../images", "part": "train"}
    for line in (
        "90 images of 3 classes",
        "classes: left 30, middle 30, right 30",
        "parts: test 45, train 45",
        "sizes (height x width): 12 x 36, all of 90 looked at",
        "channels: 1 (grey)",
        "net: takes grey (1 channel) images of 12 x 18",
    ):
        assert f"#   {line}" in text
    assert re.search(r"resize='squash' predicts 100\.0% of 45 images, the current 'crop' (\d+\.\d)%", text)
    assert checks(text) == set(CHECKS) - {"group_gap", "ood_detection", "slices"}
    assert "# Not asked, since it needs at least 80 images, and there are 45:" in text
    assert '# Not asked, since the data has no column with 2 to 20 groups:\n# [[check]]\n# metric = "group_gap"' in text
    (accuracy,) = audited("out/xai.toml", capsys, "--only", "accuracy")["checks"]
    assert (accuracy["measured"]["value"], accuracy["measured"]["n"], accuracy["verdict"]) == (1.0, 45, "pass")
    assert accuracy["conditions"][0]["threshold"] == 0.34  # the largest class has 15 of 45


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_with_columns_of_other_names(model, tmp_path, capsys, suffix):
    write_table(tmp_path / "set" / f"list{suffix}")
    given = f"set/list{suffix}" if suffix == ".csv" else "set"  # the only table of a folder without folders of classes
    assert main(["init", ".", *model, *GENERIC, "--data", given]) == 0
    text = (tmp_path / "xai.toml").read_text()
    tables = tomllib.loads(text)
    assert tables["data"] == {"source": f"set/list{suffix}", "path_column": "image_file", "label_column": "finding"}
    assert "#   group site: north 72, south 18" in text
    assert "#   channels: 3 (colour); 90 of 90 looked at show grey alone" in text
    assert "group_gap" in checks(text)
    assert "generalisation_gap" not in checks(text)
    found = audited("xai.toml", capsys, "--only", "accuracy")["checks"][0]["measured"]
    assert (found["value"], found["n"]) == (1.0, 90)


def test_arrays_without_names_take_numbers(model, tmp_path, capsys):
    pixels, labels = images(60)
    np.savez(tmp_path / "set.npz", images=pixels, labels=labels)
    assert main(["init", *model, "--resize", "pad", "--data", "set.npz"]) == 0
    text = (tmp_path / "xai.toml").read_text()
    assert tomllib.loads(text)["model"]["resize"] == "pad"  # as was asked for
    assert "class_names" not in tomllib.loads(text)["model"]
    assert "resize='pad' is the most accurate: 100.0% of 60 images" in text
    assert "train" not in tomllib.loads(text)


def test_data_that_lacks_a_class_keeps_the_numbers_of_the_others(model, tmp_path, capsys):
    write_folder(tmp_path / "images", parts=(), keep=2)
    names = ["--class-names", "right,left,middle"]  # of outputs 0, 1, 2: `left` of the data is then the model's second
    assert main(["init", *model, *names, "--data", "images"]) == 0
    tables = tomllib.loads((tmp_path / "xai.toml").read_text())
    assert tables["data"]["class_names"] == ["right", "left", "middle"]
    found = audited("xai.toml", capsys, "--only", "accuracy", "--resize", "squash")["checks"][0]["measured"]
    assert found["value"] == 0.0  # output 0 is bright on the left: every image is called another class, none by chance
    assert main(["init", "--force", *model, *GENERIC, "--data", "images"]) == 0
    assert audited("xai.toml", capsys, "--only", "accuracy")["checks"][0]["measured"]["value"] == 1.0


def test_what_cannot_run_is_refused_before_anything_is_written(model, tmp_path, capsys):
    write_folder(tmp_path / "images")
    write_table(tmp_path / "set" / "list.csv")
    (tmp_path / "bare.csv").write_text("image_file,age\nset/files/000.png,3\n")
    np.savez(tmp_path / "none.npz", images=images(9)[0])
    there = sorted(tmp_path.rglob("*"))
    two = ["--class-names", "cat,dog"]
    for arguments, message in (
        ([*model, "--data", "nowhere"], "no such file or folder"),
        (["--model", "missing.onnx", "--data", "images"], "missing.onnx: no such file"),
        (["--data", "images"], "Expected the model of this data: --model"),
        ([*model, "--data", "none.npz"], "no labels"),
        ([*model, "--data", "bare.csv"], "--label-column NAME"),
        ([*model, "--data", "set/list.csv", "--path-column", "age"], "list.csv"),
        ([*model, "--data", "images@tset"], "Near: test"),
        ([*model, *two, "--data", "images"], "class"),
        (["--model", "efficientnet_lite0", "--data", "images"], "expected the 1000 classes of efficientnet_lite0"),
        ([*model, "--trust", "--data", "images"], "--trust"),
        (["--model", "net.safetensors", "--data", "images"], "arch"),
        ([*model, "--resize", "fit", "--data", "images"], "squash"),
    ):
        assert main(["init", "new", *arguments]) == 2, arguments
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1, error
    assert sorted(tmp_path.rglob("*")) == there


def test_without_data_settings_are_kept_and_the_data_is_left_to_fill_in(model, tmp_path):
    assert main(["init", "a", "--resize", "squash"]) == 0
    tables = tomllib.loads((tmp_path / "a" / "xai.toml").read_text())
    assert tables["model"] == {"source": "example:fashion", "resize": "squash"}
    assert tables["data"]["source"] == "example:fashion-test"
    assert main(["init", "b", *model]) == 0
    text = (tmp_path / "b" / "xai.toml").read_text()
    assert tomllib.loads(text)["data"] == {"source": "path/to/labelled/images"}
    assert "TO FILL IN" in text
    assert "fashion" not in text
    assert {"generalisation_gap", "ood_detection"}.isdisjoint(checks(text))


def test_strange_names_stay_names(model, tmp_path, capsys):
    strange = ('a "b" # c', "d\\e", "f\ng")
    pixels, labels = images(30)
    np.savez(tmp_path / "set.npz", images=pixels, labels=labels, classes=np.array(strange))
    assert main(["init", *model, "--data", "set.npz"]) == 0
    tables = tomllib.loads((tmp_path / "xai.toml").read_text())
    assert tables["model"]["class_names"] == list(strange)
    assert set(tables) == {"model", "data", "audit", "check"}


def test_the_doctor_says_which_resize_fits(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("xai.diagnosis.broken_extras", dict)
    write_folder(tmp_path / "images")
    for arguments in (["net.safetensors", "images@test", *model[2:]], [*model, "--data", "images@test"]):
        capsys.readouterr()
        assert main(["doctor", *arguments, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["diagnosis"]
        fit = found["fit"]
        assert (fit["resizing"]["best"], fit["resizing"]["accuracy"]["squash"], fit["count"]) == ("squash", 1.0, 45)
        assert fit["accuracy"] == fit["resizing"]["accuracy"]["crop"] < 0.8
        assert "parts: test 45" in found["data"]
    assert main(["doctor", *model, "net.safetensors", "images"]) == 2
    assert main(["doctor", "missing.onnx"]) == 2
    capsys.readouterr()
    assert main(["doctor", "example:fashion"]) == 0
    assert "model: 10 classes: T-shirt/top" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "csv", "npz"])
def test_every_check_that_is_written_runs(model, tmp_path, capsys, kind):
    if kind == "folder":
        write_folder(tmp_path / "data", parts=("train", "val", "test"))
    elif kind == "csv":
        write_table(tmp_path / "data" / "list.csv")
    else:
        np.savez(tmp_path / "data.npz", images=images(24)[0], labels=images(24)[1])
    source = {"folder": "data", "csv": "data/list.csv", "npz": "data.npz"}[kind]
    assert main(["init", *model, "--data", source]) == 0
    found = audited("xai.toml", capsys)
    assert {check["id"]: check["why"] for check in found["checks"] if check["verdict"] in {"error", "not run"}} == {}
