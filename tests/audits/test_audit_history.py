"""Runs of one xai.toml into different folders: finished work is taken over by its keys alone, and said from where."""

import json
import logging
import shutil
from collections import Counter
from pathlib import Path

import pytest
from small_audits import model, write_data

import xai
from xai.audits.config import read_config
from xai.audits.execution.plan import note_run
from xai.audits.execution.stages.attacks import AttackStage
from xai.audits.execution.stages.base import DataStage
from xai.audits.execution.stages.predictions import PredictionStage
from xai.pytest_plugin import XaiCheck

TOML = """
[model]
source = "stands in for the object that tests pass"
[data]
source = "{data}"
[audit]
shard = 16
[[check]]
metric = "accuracy"
at_least = {least}
[[check]]
id = "robust"
metric = "robust_accuracy"
attack = "fgsm"
eps = "1/255"
trust = 0
"""


@pytest.fixture
def counted(monkeypatch):
    """Count the images that go through each stage."""
    seen = Counter()
    for stage in (PredictionStage, AttackStage, DataStage):

        def wrapped(self, scene, rows, real=stage.run):
            seen[getattr(self, "title", "") or self.name] += len(rows)
            return real(self, scene, rows)

        monkeypatch.setattr(stage, "run", wrapped)
    return seen


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_data(tmp_path)
    (tmp_path / "xai.toml").write_text(TOML.format(data="data.npz", least=0.5))
    return tmp_path / "xai.toml"


def audit(file: Path, caplog, out: Path | None = None, **given):
    """Run an audit of the file; return it and what was said of finished work."""
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="xai"):
        found = xai.audit(file, model=given.pop("model", model()), out=out, **given)
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("xai")]
    return found, line


def test_a_run_without_a_folder_uses_the_work_of_the_last_run(file, tmp_path, counted, caplog):
    first, line = audit(file, caplog, tmp_path / "run")
    assert line == "0 of 8 work items are finished: no other run of xai.toml is known"
    counted.clear()
    assert xai.Audit.plan(file, model=model()).left == 0
    second, line = audit(file, caplog)
    assert counted == {}
    assert line == "8 of 8 work items are finished (8 from the run in run)"
    assert second.to_bytes() == first.to_bytes()
    assert second.folder == tmp_path / ".xai" / "xai"
    shutil.rmtree(tmp_path / "run")  # what was taken over is kept
    audit(file, caplog)
    assert counted == {}


@pytest.mark.parametrize("place", ["below", "elsewhere"])
def test_a_run_into_another_folder_does_so_too(file, tmp_path, tmp_path_factory, counted, caplog, place, monkeypatch):
    out = tmp_path / "a" / "b" if place == "below" else tmp_path_factory.mktemp("far") / "run"
    audit(file, caplog, out, only=["accuracy"])
    counted.clear()
    monkeypatch.chdir(tmp_path_factory.mktemp("home"))  # from any folder
    _, line = audit(file, caplog, tmp_path / "other", only=["accuracy"])
    assert counted == {}
    assert f"4 from the run in {Path('a', 'b') if place == 'below' else out}" in line


def test_thresholds_are_no_part_of_the_work(file, tmp_path, counted, caplog):
    audit(file, caplog, tmp_path / "run")
    counted.clear()
    file.write_text(TOML.format(data="data.npz", least=0.999))
    assert audit(file, caplog)[0].verdict == "fail"
    assert counted == {}


def test_work_on_another_model_or_other_data_is_never_taken(file, tmp_path, counted, caplog):
    before, _ = audit(file, caplog, tmp_path / "run")
    counted.clear()
    other, line = audit(file, caplog, model=model(seed=1))
    assert counted == {"predictions": 60, "attacked": 60}
    assert line == (
        "0 of 8 work items are finished; the rest is computed anew, since the run in run differs in the model"
    )
    assert other["accuracy"]["measured"]["value"] != before["accuracy"]["measured"]["value"]
    counted.clear()
    write_data(tmp_path, count=48, seed=3)
    _, line = audit(file, caplog)
    assert counted == {"predictions": 48, "attacked": 48}
    assert "since the run in run differs in [data]" in line
    counted.clear()
    _, line = audit(file, caplog, seed=5, only=["robust"])
    assert line.endswith(f"since the run in {Path('.xai', 'xai')} differs in the seed")
    assert counted == {"attacked": 48}


def test_what_another_check_needs_is_said_to_be_new(file, tmp_path, counted, caplog):
    audit(file, caplog, tmp_path / "run")
    counted.clear()
    file.write_text(file.read_text().replace("1/255", "3/255"))
    _, line = audit(file, caplog)
    assert counted == {"attacked": 60}
    assert line == (
        "4 of 8 work items are finished (4 from the run in run); the rest is computed anew, since the run in run "
        "has not done them with these settings"
    )


def test_half_a_run_is_half_of_the_work(file, tmp_path, counted, caplog):
    asked = iter([False] * 3)
    with pytest.raises(xai.errors.Stopped):
        audit(file, caplog, tmp_path / "run", should_stop=lambda: next(asked, True))
    counted.clear()
    _, line = audit(file, caplog)
    assert line.startswith("1 of 8 work items are finished (1 from the run in run); the rest is computed anew")
    assert counted == {"predictions": 44, "attacked": 60}


def test_damaged_work_is_done_again(file, tmp_path, counted, caplog):
    first, _ = audit(file, caplog, tmp_path / "run")
    for part in (tmp_path / "run" / "store").rglob("*.part"):
        part.write_bytes(part.read_bytes()[:-1] + b"?")
    counted.clear()
    again, line = audit(file, caplog)
    assert counted == {"predictions": 60, "attacked": 60}
    assert line.startswith("0 of 8")
    assert again.to_bytes() == first.to_bytes()


@pytest.mark.parametrize("content", ["", "[", "{}", "[3]", '[{"folder": 7}]', '[{"folder": "nowhere"}]', "[" * 9999])
def test_a_list_of_runs_that_is_none_is_no_harm(file, tmp_path, caplog, content):
    (tmp_path / ".xai" / "xai").mkdir(parents=True)
    (tmp_path / ".xai" / "xai" / "runs.json").write_text(content)
    assert "no other run" in audit(file, caplog, tmp_path / "run", only=["accuracy"])[1]
    listed = json.loads((tmp_path / ".xai" / "xai" / "runs.json").read_text())
    assert listed[0]["folder"] == "run"


def test_the_list_is_short_and_names_a_folder_once(file, tmp_path):
    config = read_config(file)
    for k in (0, 1, 2, 3, 4, 5, 6, 5):
        note_run(config, tmp_path / f"run{k}", {"seed": k})
    listed = json.loads((tmp_path / ".xai" / "xai" / "runs.json").read_text())
    assert [entry["folder"] for entry in listed] == ["run5", "run6", "run4", "run3", "run2"]


def test_a_list_that_cannot_be_written_ends_no_audit(file, tmp_path, caplog):
    (tmp_path / ".xai").write_text("a file where the folder should be")
    assert audit(file, caplog, tmp_path / "run", only=["accuracy"])[0].verdict == "pass"


def test_the_positive_control_is_taken_over_and_leaves_the_audit_s_inputs(file, tmp_path, counted, caplog):
    audit(file, caplog, tmp_path / "run")
    counted.clear()
    first = xai.Audit.positive_control(file, model=model(), out=tmp_path / "run", only=["accuracy"])
    assert first == {"accuracy": "fail"}
    assert counted == {"predictions": 60}
    counted.clear()
    assert xai.Audit.positive_control(file, model=model(), only=["accuracy"]) == first
    assert counted == {}
    assert "differs in the model" in audit(file, caplog, model=model(seed=1))[1]


def test_speed_is_measured_anew(file, tmp_path, counted, caplog):
    file.write_text(file.read_text() + '[[check]]\nmetric = "speed"\nrepeats = 2\nimages = 8\n')
    audit(file, caplog, tmp_path / "run")
    counted.clear()
    assert xai.Audit.plan(file, model=model()).left == 1
    found, _ = audit(file, caplog)
    assert set(counted) == {"speed"}
    (piece,) = {line["key"] for line in found.log if line["event"] == "done"}
    assert found["speed"]["work"]["keys"] == [piece]


def test_the_fixture_uses_it_too(file, tmp_path, counted, caplog):
    file.write_text(file.read_text().replace("stands in for the object that tests pass", "example:fashion"))
    file.write_text(file.read_text().replace("data.npz", 'example:fashion-test"\nn = 40 #'))
    xai.audit(file, out=tmp_path / "run")
    counted.clear()

    class Config:
        rootpath = tmp_path

        def getoption(self, _name):
            return "skip"

    XaiCheck(Config())("accuracy").at_least(0.4)
    assert counted == {}
