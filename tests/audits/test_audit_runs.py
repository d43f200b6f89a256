"""Running: resume, what changes a key and what does not, budget, stop, broken checks, memory, lost files."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from small_audits import CHECKS, CLASSES, model, sources, tables, write_data
from small_models import LinearModel, pictures

import xai
from xai.audits.checks.accuracy import Accuracy
from xai.audits.conditions import ERROR, NOT_RUN
from xai.audits.execution.stages.attacks import AttackStage
from xai.audits.execution.stages.base import settled
from xai.audits.execution.stages.predictions import PredictionStage
from xai.errors import InputError, Stopped


def run(data: Path, out: Path, **given):
    return xai.audit({**tables(data), **sources(data), **given.pop("tables", {})}, out=out, **given)


def events(found, name):
    return [line for line in found.log if line["event"] == name]


@pytest.fixture
def counted(monkeypatch):
    """Count the images that go through each stage."""
    seen = Counter()
    for stage in (PredictionStage, AttackStage):

        def wrapped(self, scene, rows, real=stage.run):
            seen[self.name] += len(rows)
            return real(self, scene, rows)

        monkeypatch.setattr(stage, "run", wrapped)
    return seen


def test_a_second_run_computes_nothing_and_says_the_same(data, tmp_path, counted):
    first = run(data, tmp_path)
    assert counted == {"predictions": 60, "attacked": 60}
    counted.clear()
    again = run(data, tmp_path)
    assert counted == {}
    assert again.to_bytes() == first.to_bytes() == (tmp_path / "audit.json").read_bytes()


def test_another_folder_gives_the_same_bytes(data, tmp_path, finished):
    assert run(data, tmp_path).to_bytes() == finished.to_bytes()


def test_the_order_of_the_pictures_changes_no_figure(data, tmp_path, finished):
    with np.load(data) as held:
        arrays = dict(held)
    turned = tmp_path / "data.npz"
    np.savez(turned, **{name: values if name == "classes" else values[::-1] for name, values in arrays.items()})
    found = run(turned, tmp_path / "out")
    assert [c["measured"]["value"] for c in found] == [c["measured"]["value"] for c in finished]
    assert (
        found.document["data"]["data"]["accounting"]["fingerprint"]
        == (finished.document["data"]["data"]["accounting"]["fingerprint"])
    )


def test_only_what_changed_is_computed_again(data, tmp_path, counted):
    run(data, tmp_path)
    counted.clear()
    changed = [c if isinstance(c, str) or c["metric"] != "robust_accuracy" else {**c, "eps": "2/255"} for c in CHECKS]
    run(data, tmp_path, tables={"check": changed})
    assert counted == {"attacked": 60}
    counted.clear()
    loose = [{**c, "at_least": 0.1} if c["metric"] == "accuracy" else c for c in CHECKS]
    run(data, tmp_path, tables={"check": loose})  # thresholds are no part of the work
    assert counted == {}
    run(data, tmp_path, tables={"model": {"source": model(seed=1)}})
    assert counted == {"predictions": 60, "attacked": 60}
    counted.clear()
    run(data, tmp_path, seed=1)
    assert counted == {"predictions": 60, "attacked": 60}


def test_one_changed_picture_changes_at_most_its_neighbours_pieces(data, tmp_path, counted):
    run(data, tmp_path / "out")
    counted.clear()
    with np.load(data) as held:
        arrays = dict(held)
    arrays["labels"] = arrays["labels"].copy()
    arrays["labels"][7] = (arrays["labels"][7] + 1) % 3
    np.savez(tmp_path / "data.npz", **arrays)
    run(tmp_path / "data.npz", tmp_path / "out")
    assert counted == {"predictions": 16, "attacked": 16}  # of 60: the piece with that image


def test_stopping_keeps_what_is_done(data, tmp_path, counted, finished):
    asked = iter([False] * 4 + [True] * 1000)
    with pytest.raises(Stopped):
        run(data, tmp_path, should_stop=lambda: next(asked))
    done = sum(counted.values())
    assert 0 < done < 120
    assert events(xai.Audit(finished.document, {}, tmp_path), "interrupted")
    assert run(data, tmp_path).to_bytes() == finished.to_bytes()
    assert sum(counted.values()) <= 120 + 16


def test_interrupting_keeps_what_is_done(data, tmp_path, monkeypatch, finished):
    calls = iter(range(1000))

    def interrupted(self, scene, rows, real=PredictionStage.run):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return real(self, scene, rows)

    monkeypatch.setattr(PredictionStage, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path)
    monkeypatch.undo()
    assert list((tmp_path / "store").rglob("*.part"))
    assert run(data, tmp_path).to_bytes() == finished.to_bytes()


def test_a_budget_judges_what_there_is_and_the_next_call_goes_on(data, tmp_path, monkeypatch, finished):
    clock = iter(np.arange(10_000) * 1.0)
    monkeypatch.setattr("xai.audits.execution.run.time.monotonic", lambda: float(next(clock)))
    found = run(data, tmp_path, budget=6)
    monkeypatch.undo()
    assert not found.document["complete"]
    states = {check["id"]: check["verdict"] for check in found}
    assert NOT_RUN in states.values()
    assert found.verdict != "pass"
    partly = [c for c in found if c["measured"] and not c["complete"]]
    assert partly
    assert any("for lack of time" in limit for limit in found.document["limits"])
    assert 0 < partly[0]["measured"]["n"] < 60
    assert run(data, tmp_path).to_bytes() == finished.to_bytes()


def test_a_check_that_breaks_is_a_finding_and_not_the_end(data, tmp_path, monkeypatch, finished):
    monkeypatch.setattr(AttackStage, "run", lambda *_: (_ for _ in ()).throw(ValueError("no\nway")))
    found = run(data, tmp_path)
    assert found["robust"]["verdict"] == ERROR
    assert found["robust"]["error"] == {"type": "ValueError", "message": "no\nway"}
    assert found.verdict in {"error", "fail"}
    assert "robust" in [finding.id for finding in found.findings]
    assert found["accuracy"]["measured"] == finished["accuracy"]["measured"]
    monkeypatch.setattr(Accuracy, "measure", lambda *_: 1 / 0)
    assert run(data, tmp_path / "other")["accuracy"]["error"]["type"] == "ZeroDivisionError"
    monkeypatch.undo()
    assert run(data, tmp_path).to_bytes() == finished.to_bytes()


MESSAGES = (
    "CUDA out of memory. Tried to allocate 2.00 GiB",
    "MPS backend out of memory",
    "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 80 bytes",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "NVML_SUCCESS == r INTERNAL ASSERT FAILED",
)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(MESSAGES[0]),
        *(pytest.param(RuntimeError(text), marks=pytest.mark.slow) for text in MESSAGES[1:]),
    ],
    ids=lambda error: str(error)[:20],
)
def test_memory_that_runs_out_shrinks_the_micro_batch_and_is_recorded(data, tmp_path, monkeypatch, error, finished):
    def hungry(self, scene, rows, real=AttackStage.run):
        if len(rows) > 2:
            raise error
        return real(self, scene, rows)

    monkeypatch.setattr(AttackStage, "run", hungry)
    found = run(data, tmp_path)
    assert found["robust"]["work"]["shrunk_to"] == 2
    assert found["accuracy"]["work"]["shrunk_to"] is None
    assert found["robust"]["measured"]["outcomes"] == finished["robust"]["measured"]["outcomes"]


@pytest.mark.slow
def test_memory_that_runs_out_inside_is_recorded_too(data, tmp_path, monkeypatch):
    small = LinearModel()
    real = small.forward
    monkeypatch.setattr(
        small, "forward", lambda x: real(x) if len(x) <= 4 else (_ for _ in ()).throw(RuntimeError(MESSAGES[0]))
    )
    found = run(
        data, tmp_path, tables={"model": {"source": xai.Classifier(small, class_names=CLASSES, input_size=(16, 16))}}
    )
    assert found["accuracy"]["work"]["shrunk_to"] == 4


def test_memory_that_never_suffices_is_an_error_of_that_check(data, tmp_path, monkeypatch, finished):
    monkeypatch.setattr(AttackStage, "run", lambda *_: (_ for _ in ()).throw(MemoryError()))
    found = run(data, tmp_path)
    assert found["robust"]["error"]["type"] == "MemoryError"
    assert found["accuracy"] == finished["accuracy"]


def test_damaged_and_lost_parts_are_made_again(data, tmp_path, finished):
    run(data, tmp_path)
    parts = sorted((tmp_path / "store").rglob("*.part"))
    for k, part in enumerate(parts):
        part.write_bytes(part.read_bytes()[: 40 * (k % 3)]) if k % 2 else part.unlink()
    assert run(data, tmp_path).to_bytes() == finished.to_bytes()


def test_thresholds_are_written_before_the_model_is_loaded(data, tmp_path):
    with pytest.raises(InputError):
        xai.audit({**tables(data), "model": {"source": "nothing.safetensors"}}, out=tmp_path)
    (declared,) = json.loads((tmp_path / "plan.json").read_text())
    found = run(data, tmp_path)
    assert found.document["thresholds"]["sha256"] == declared["sha256"]
    assert found.document["thresholds"]["declared"] == "before the first forward"
    run(data, tmp_path, tables={"check": ["accuracy"]})
    assert len(json.loads((tmp_path / "plan.json").read_text())) == 2  # a change of mind leaves a trace


def test_everything_is_checked_before_any_work(data, tmp_path, counted):
    wrong = [*CHECKS, {"metric": "accuracy", "id": "second", "at_least": 0.5, "attack": "pgd"}]
    with pytest.raises(xai.XaiError):
        run(data, tmp_path, tables={"check": wrong})
    with pytest.raises(xai.XaiError):
        run(data, tmp_path, only=["robus"])
    with pytest.raises(xai.XaiError):
        run(data, tmp_path, tables={"ood": {"far": "nowhere/"}})
    assert counted == {}


def test_every_file_is_accounted_for_once(tmp_path):
    folder = tmp_path / "images"
    images = pictures(40)
    for k, image in enumerate(images):
        place = folder / CLASSES[k % 3] / f"{k}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        _save(image, place)
    (folder / CLASSES[0] / "broken.png").write_bytes(b"no image")
    (folder / CLASSES[0] / "notes.txt").write_text("hello")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.png").write_bytes(b"")
    _save(images[0], folder / CLASSES[1] / "twice.png")
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = xai.audit(
        {
            "model": {"source": model()},
            "data": {"source": str(folder), "class_names": list(CLASSES)},
            "check": ["accuracy"],
        },
        out=tmp_path / "out",
    )
    held = found.document["data"]["data"]["accounting"]
    assert held["total"] == len(files) == 44
    assert held["counts"] == {"used": 41, "unreadable": 1, "not drawn": 0, "no image": 2}
    assert held["repeated"] == 1
    assert "broken.png" in held["unreadable"][0][0]
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifests" / "data.jsonl").read_text().splitlines()]
    assert sorted(line["name"] for line in lines) == sorted(path.relative_to(folder).as_posix() for path in files)
    assert found["accuracy"]["measured"]["n"] == 41


def _save(image, place):
    from PIL import Image

    Image.fromarray((image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)).save(place)


def test_a_draw_leaves_the_rest_accounted_for(data, tmp_path):
    found = run(data, tmp_path, tables={"data": {"source": str(data), "n": 45}})
    assert found.document["data"]["data"]["accounting"]["counts"]["not drawn"] == 15
    assert found["accuracy"]["measured"]["n"] == 45


def test_the_model_comes_back_as_it_was(data, tmp_path):
    classifier = model()
    classifier.module.train()
    before = {name: value.clone() for name, value in classifier.module.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    xai.audit({**tables(data), "model": {"source": classifier}}, out=tmp_path)
    assert classifier.module.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in classifier.module.state_dict().items())


def test_without_a_folder_nothing_stays_on_disk(data, finished, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = xai.audit({**tables(data), **sources(data)})
    assert found.to_bytes() == finished.to_bytes()
    assert list(tmp_path.iterdir()) == []
    assert dict(found.files) == dict(finished.files)


def test_shares_of_the_work_give_the_same_audit(data, tmp_path, counted, finished):
    given = {**tables(data), **sources(data)}
    left = [xai.Audit.share(given, k, 3, out=tmp_path)[0] for k in range(3)]
    assert left[-1] == 0
    assert left[0] > left[1] > 0
    assert sum(counted.values()) == 120
    assert not (tmp_path / "audit.json").exists()
    assert run(data, tmp_path).to_bytes() == finished.to_bytes()
    assert sum(counted.values()) == 120
    with pytest.raises(InputError, match="i/n"):
        xai.Audit.share(given, 3, 3, out=tmp_path)


def test_work_is_settled_on_one_way_to_compute():
    before = torch.backends.cudnn.deterministic
    with settled():
        assert torch.backends.cudnn.deterministic
    assert torch.backends.cudnn.deterministic == before


def test_a_plan_says_what_is_left(data, tmp_path):
    given = {**tables(data), **sources(data)}
    plan = xai.Audit.plan(given, out=tmp_path)
    assert plan.left == plan.pieces > 0
    assert plan.rows > 0
    assert "work items left" in str(plan)
    run(data, tmp_path)
    assert xai.Audit.plan(given, out=tmp_path).left == 0


def test_data_of_another_seed_shares_no_piece(tmp_path, data):
    other = write_data(tmp_path, seed=1)
    run(data, tmp_path / "out")
    assert xai.Audit.plan({**tables(other), **sources(other)}, out=tmp_path / "out").left > 0
