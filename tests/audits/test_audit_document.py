"""audit.json: its schema, findings, records; compare, judge again, baselines; the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image
from scipy import stats
from small_audits import CHECKS, CLASSES, model, sources, tables

import xai
from xai import Audit
from xai.audits.baseline import keys_of
from xai.audits.check_result import CheckResult, decode
from xai.audits.checks.base import share_of
from xai.cli import main
from xai.errors import InputError, RecordError

ORDER = ("fail", "error", "inconclusive", "not run")
DRIFT = {"metric": "explanation_drift", "method": "saliency", "images": 20, "at_least": 0.5}
HOSTILE = (
    "<script>alert(1)</script>",
    '"; DROP',
    "\x1b[31mred",
    "=1+1",
    "$x_1$",
    "\u202eabc",
    "a\nb",
    "../../x",
    "{{7*7}}",
)


def worse(weight: float = 0.3):
    """The small model with one class made likelier, so that it is wrong more often."""
    found = model(name="worse")
    found.module.linear.bias.data[0] += weight
    return found


@pytest.fixture(scope="module")
def toml(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny audit as a file, for the command line."""
    place = tmp_path_factory.mktemp("toml")
    rows = ['[model]\nsource = "example:fashion"', '[data]\nsource = "example:fashion-test"\npart = "test"\nn = 120']
    rows += ["[audit]\nshard = 32", '[[check]]\nmetric = "accuracy"\nat_least = 0.7']
    rows += ['[[check]]\nid = "robust"\nmetric = "robust_accuracy"\nattack = "fgsm"\ntrust = 0\nat_least = 0.7']
    (place / "xai.toml").write_text("\n".join(rows))
    return place / "xai.toml"


def test_it_follows_its_schema(finished):
    jsonschema.Draft202012Validator.check_schema(Audit.schema())
    jsonschema.validate(json.loads(finished.to_bytes()), Audit.schema(), cls=jsonschema.Draft202012Validator)


def test_the_schema_can_fail(finished):
    document = json.loads(finished.to_bytes())
    document["checks"][0]["verdict"] = "fine"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, Audit.schema(), cls=jsonschema.Draft202012Validator)


def test_it_comes_back_from_disk(finished, tmp_path):
    finished.save(tmp_path / "copy")
    found = Audit.load(tmp_path / "copy")
    assert found.to_bytes() == finished.to_bytes()
    assert dict(found.files) == dict(finished.files)
    assert Audit.load(tmp_path / "copy" / "audit.json").verdict == finished.verdict
    assert found.findings == finished.findings


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"{}", "something else"),
        (b"[1]", "something else"),
        (b'{"schema": "xai-audit", "schema_version": "2.0"}', "written with schema 2.0"),
        (b'{"schema": "xai-audit", "schema_version": "1.0"}', "damaged"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "audit.json").write_bytes(content)
    with pytest.raises(RecordError, match=message):
        Audit.load(tmp_path)
    with pytest.raises(RecordError, match="no saved audit here"):
        Audit.load(tmp_path / "nowhere")


def test_findings_come_worst_first_with_a_way_to_repeat_them(finished):
    verdicts = [finding.verdict for finding in finished.findings]
    assert verdicts == sorted(verdicts, key=ORDER.index)
    assert all("--only" in finding.reproduce["command"] for finding in finished.findings)
    counts = finished.document["summary"]
    assert counts["asked"] == len(finished) == sum(counts[name] for name in (*ORDER, "pass", "measured"))
    assert finished.document["headline"].startswith(finished.verdict.upper())


def test_python_of_a_finding_is_python(finished):
    for check in finished:
        compile(check["reproduce"]["python"], check["id"], "exec")


def test_pictures_of_findings_are_there_and_can_be_read(finished):
    shown = [image for check in finished for exhibit in check["measured"]["evidence"] for image in exhibit["images"]]
    assert len(shown) > 5
    for image in shown:
        content = finished.files[image["file"].removeprefix("evidence/")]
        if image["file"].endswith("png"):
            with Image.open(finished.folder / image["file"]) as picture:
                assert picture.size == (image["width"], image["height"])
        assert len(content) == finished.document["files"][image["file"].removeprefix("evidence/")]
    alts = [exhibit["alt"] for check in finished for exhibit in check["measured"]["evidence"]]
    assert all(len(alt) > 20 for alt in alts)


def test_figures_are_those_of_the_pictures(finished, data):
    classifier, pictures = model(), xai.load_data(data)
    right = np.asarray(classifier.predict(pictures.images[:]).index) == pictures.labels.numpy()
    accuracy = finished["accuracy"]["measured"]
    assert accuracy["hits"] == int(right.sum())
    assert (accuracy["low"], accuracy["high"]) == pytest.approx(
        tuple(stats.binomtest(int(right.sum()), 60).proportion_ci(0.95, "exact"))
    )
    outcomes = CheckResult.from_dict(accuracy)
    assert np.array_equal(right[outcomes.rows], outcomes.outcomes)
    robust = xai.attack(classifier, pictures.images[:], pictures.labels, "fgsm", eps=1 / 255)
    assert finished["robust"]["measured"]["value"] == pytest.approx(robust.robust_accuracy)
    for name in CLASSES:
        share = next(c for c in accuracy["classes"] if c["name"] == name)
        of_class = pictures.labels.numpy() == CLASSES.index(name)
        assert (share["hits"], share["n"]) == (int(right[of_class].sum()), int(of_class.sum()))
    assert {(g["column"], g["name"]) for g in accuracy["groups"]} == {("site", "north"), ("site", "south")}


def test_measurements_survive_json():
    found = share_of(np.array([True, False, True]), np.array([2, 0, 1]), 0.9, claim="c", facts={"x": np.float32(1)})
    again = CheckResult.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert np.array_equal(again.outcomes, found.outcomes)
    assert len(decode(found.to_dict()["rows"], "<i4")) == 3


def test_another_model_is_compared_picture_by_picture(data, finished, tmp_path):
    other = xai.audit({**tables(data), **sources(data), "model": {"source": worse()}}, out=tmp_path)
    found = xai.compare(finished, other)
    own = {one.id: one for one in found.differences}["accuracy"]
    classifier, pictures = model(), xai.load_data(data)
    labels = pictures.labels.numpy()
    old, new = (np.asarray(c.predict(pictures.images[:]).index) == labels for c in (classifier, worse()))
    lost, won = int((old & ~new).sum()), int((~old & new).sum())
    assert own.difference == pytest.approx((won - lost) / 60)
    assert own.p_value == pytest.approx(stats.binomtest(lost, lost + won, 0.5).pvalue)
    assert own.low < own.difference < own.high
    assert found.shared == 60
    assert "accuracy" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["differences"][0]["id"] == "accuracy"
    same = xai.compare(finished, finished)
    assert {one.verdict for one in same.differences} <= {"cannot tell", "not paired"}
    assert same.worse == same.better == ()


def test_a_clear_loss_is_worse_after_correction(data, finished, tmp_path):
    other = xai.audit({**tables(data), **sources(data), "model": {"source": worse(5.0)}}, out=tmp_path)
    found = xai.compare(finished, other)
    assert "accuracy" in found.worse
    assert "accuracy" in xai.compare(other, finished).better
    assert [one.adjusted >= one.p_value for one in found.differences if one.p_value is not None]


def test_audits_without_shared_pictures_cannot_be_compared(data, finished, tmp_path):
    from small_audits import write_data

    other = write_data(tmp_path, seed=5)
    strange = xai.audit({**tables(other), **sources(other)}, out=tmp_path / "out")
    with pytest.raises(InputError, match="no image is in both"):
        xai.compare(finished, strange)


def test_a_baseline_gates_drops_on_the_same_pictures(data, finished, tmp_path):
    asked = [
        {"metric": "accuracy", "max_drop_vs_baseline": 0.02},
        {
            "metric": "robust_accuracy",
            "id": "robust",
            "attack": "fgsm",
            "eps": "1/255",
            "trust": 0,
            "max_drop_vs_baseline": 0.02,
        },
    ]
    given = {**tables(data), **sources(data), "check": asked}
    fine = xai.audit(given, baseline=finished.folder, out=tmp_path / "same")
    assert fine["accuracy"]["conditions"][0]["value"] == 0
    assert fine["accuracy"]["verdict"] == "pass"  # the same model cannot have dropped
    twin = model(name="twin")
    twin.module.linear.bias.data += 1.0  # another model with the same answers
    near = xai.audit({**given, "model": {"source": twin}}, baseline=finished.folder, out=tmp_path / "twin")
    assert near["accuracy"]["verdict"] == "inconclusive"  # no drop seen, but 60 images cannot exclude two points
    assert near["accuracy"]["conditions"][0]["needed"] > 60
    bad = xai.audit({**given, "model": {"source": worse(5.0)}}, baseline=finished, out=tmp_path / "worse")
    assert bad["accuracy"]["verdict"] == "fail"
    assert bad.document["baseline"]["shared"] == 60
    alone = xai.audit(given, out=tmp_path / "alone")
    assert alone["accuracy"]["verdict"] == "not run"
    assert "no baseline" in alone["accuracy"]["why"]
    assert alone.verdict == "inconclusive"


def test_explanations_are_compared_with_the_baseline(data, tmp_path):
    given = {**tables(data), **sources(data), "check": [DRIFT]}
    first = xai.audit(given, out=tmp_path / "first")
    assert first["explanation_drift"]["verdict"] == "not run"
    same = xai.audit(given, baseline=tmp_path / "first", out=tmp_path / "same")
    assert same["explanation_drift"]["measured"]["value"] == 1.0
    assert same["explanation_drift"]["verdict"] == "pass"
    other = {**given, "model": {"source": model(seed=9)}}
    moved = xai.audit(other, baseline=tmp_path / "first", out=tmp_path / "moved")
    assert moved["explanation_drift"]["verdict"] == "fail"
    maps = [
        xai.explain(m, xai.load_data(data).images[:], "saliency").attribution.sum(1).flatten(1)
        for m in (model(), model(seed=9))
    ]
    best = [np.argsort(-m.numpy(), axis=1, kind="stable")[:, :26] for m in maps]
    overlaps = [len(set(a) & set(b)) / len(set(a) | set(b)) for a, b in zip(*best, strict=True)]
    rows = CheckResult.from_dict(moved["explanation_drift"]["measured"]).rows
    assert moved["explanation_drift"]["measured"]["value"] == pytest.approx(
        np.mean([overlaps[r] for r in rows]), abs=0.02
    )


def test_judging_again_computes_nothing(data, finished, tmp_path, monkeypatch):
    strict = [{**c, "at_least": 0.999} if c["metric"] == "accuracy" else c for c in CHECKS]
    monkeypatch.setattr("xai.audits.execution.plan.open_context", lambda *_: pytest.fail("opened"))
    found = finished.rejudge({**tables(data), **sources(data), "check": strict})
    assert found["accuracy"]["verdict"] == "fail"
    assert found.verdict == "fail"
    assert found.document["thresholds"]["declared"] == "after the figures were known"
    assert found.document["thresholds"]["sha256"] != finished.document["thresholds"]["sha256"]
    same = finished.rejudge({**tables(data), **sources(data)})
    assert [c["verdict"] for c in same] == [c["verdict"] for c in finished]
    assert same.document["thresholds"]["sha256"] == finished.document["thresholds"]["sha256"]
    with pytest.raises(InputError, match="was not measured"):
        finished.rejudge({**tables(data), **sources(data), "check": ["shortcuts"]})
    with pytest.raises(InputError, match="other settings"):
        finished.rejudge({**tables(data), **sources(data), "check": [{**CHECKS[2], "eps": "2/255"}]})


def test_one_check_by_itself_leaves_the_whole_alone(data, tmp_path):
    whole = xai.audit({**tables(data), **sources(data)}, out=tmp_path)
    part = xai.audit({**tables(data), **sources(data)}, out=tmp_path, only=["robust"])
    assert [check["id"] for check in part] == ["robust"]
    assert part["robust"]["measured"] == whole["robust"]["measured"]
    assert Audit.load(tmp_path).to_bytes() == whole.to_bytes()


def test_hostile_names_stay_text(tmp_path):
    """Names of classes, files and groups go through as they are; nothing is made of them."""
    from small_audits import write_data
    from small_models import LinearModel

    path = write_data(tmp_path, 60)
    with np.load(path) as held:
        arrays = dict(held)
    arrays["classes"] = np.array(HOSTILE[:3])
    arrays["site"] = np.array(HOSTILE)[np.arange(60) % 3 + 3]
    np.savez(path, **arrays)
    classifier = xai.Classifier(LinearModel(seed=0), class_names=HOSTILE[:3], input_size=(16, 16), name=HOSTILE[0])
    found = xai.audit({**tables(path), "model": {"source": classifier}}, out=tmp_path / HOSTILE[3])
    document = json.loads(found.to_bytes())
    assert document["model"]["classes"] == list(HOSTILE[:3])
    assert {g["name"] for g in document["checks"][0]["measured"]["groups"]} == set(HOSTILE[3:6])
    assert all(name.isprintable() for name in document["files"])
    assert sorted(path.name for path in (tmp_path / HOSTILE[3]).iterdir()) == [
        "audit.json",
        "evidence",
        "log.jsonl",
        "manifests",
        "plan.json",
        "store",
    ]


def test_keys_find_the_pictures_again(finished):
    keys = keys_of(finished.document)
    assert len(keys) == len(set(keys)) == 60
    assert all(len(key) == 8 for key in keys)


def test_the_command_line(toml, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["audit", str(toml), "--dry-run", "--out", str(out)]) == 0
    assert "work items left" in capsys.readouterr().out
    assert not (out / "store").exists()
    code = main(["audit", str(toml), "--out", str(out), "--json"])
    found = json.loads(capsys.readouterr().out)["audit"]
    assert code == 1
    assert found["verdict"] == "fail"
    assert main(["audit", str(toml), "--out", str(out)]) == 1
    text = capsys.readouterr().out
    assert text.startswith("FAIL: of 2 checks on 120 images, 1 failed, 1 passed.")
    assert main(["audit", str(toml), "--out", str(out), "--only", "accuracy"]) == 0
    loose = tmp_path / "xai.toml"
    loose.write_text(toml.read_text().replace("trust = 0\nat_least = 0.7", "trust = 0\nat_least = 0.05"))
    capsys.readouterr()
    assert main(["check", str(out), "--thresholds", str(loose)]) == 0
    assert main(["check", str(out), "--thresholds", str(toml), "--json"]) == 1
    assert main(["compare", str(out), str(out)]) == 0
    capsys.readouterr()
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == Audit.schema()


def test_codes_of_the_command_line(toml, tmp_path, capsys):
    undecided = tmp_path / "xai.toml"
    undecided.write_text(toml.read_text().split("[[check]]\nid")[0].replace("0.7", "0.93"))
    assert main(["audit", str(undecided), "--out", str(tmp_path / "a")]) == 4
    assert main(["audit", str(tmp_path / "none.toml")]) == 2
    assert main(["audit", str(toml), "--shard", "4/4", "--out", str(tmp_path / "b")]) == 2
    assert main(["audit", str(toml), "--shard", "0/1"]) == 2
    assert main(["check", str(tmp_path / "nowhere"), "--thresholds", str(toml)]) == 2
    err = capsys.readouterr().err
    assert all(line.startswith("xai: ") for line in err.strip().splitlines())
    assert main(["audit", str(toml), "--shard", "0/2", "--out", str(tmp_path / "c")]) == 0
    assert main(["audit", str(toml), "--shard", "1/2", "--out", str(tmp_path / "c")]) == 0
    assert "0 of 8 work items are left" in capsys.readouterr().out


def _hears_interrupts():
    """Undo what a shell does to all it starts in the background: they ignore SIGINT, and so do their children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_signal_ends_it_with_130_and_the_same_command_goes_on(toml, tmp_path):
    out = tmp_path / "run"
    slow = toml.read_text().replace('attack = "fgsm"', 'attack = "pgd"\nsteps = 200')
    (tmp_path / "xai.toml").write_text(slow)
    command = [sys.executable, "-m", "xai.cli", "audit", str(tmp_path / "xai.toml"), "--out", str(out)]
    for ask in (signal.SIGINT, signal.SIGTERM):
        run = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, preexec_fn=_hears_interrupts
        )
        before = len(list(out.rglob("*.part")))
        while len(list(out.rglob("*.part"))) <= before and run.poll() is None:
            time.sleep(0.01)
        os.kill(run.pid, ask)
        _, err = run.communicate()
        assert run.returncode == 130
        begun, ended = err.splitlines()
        assert ended == "xai: interrupted; what was finished is kept"
        assert (int(begun.split()[1]) == 0) == (
            ask == signal.SIGINT
        )  # the second run begins with what the first finished


def test_init_writes_files_that_run(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a"b').touch()  # a model of that name must be there
    assert main(["init", str(tmp_path), "--model", "example:fashion-robust"]) == 0
    assert main(["init", str(tmp_path)]) == 2
    before = (tmp_path / "xai.toml").read_text()
    assert main(["init", str(tmp_path), "--force", "--model", 'a"c']) == 2  # there is no such model
    assert (tmp_path / "xai.toml").read_text() == before
    assert main(["init", str(tmp_path), "--force", "--model", 'a"b']) == 0
    capsys.readouterr()
    assert 'source = "a\\"b"' in (tmp_path / "xai.toml").read_text()
    assert main(["init", str(tmp_path), "--force", "--model", "example:fashion-robust"]) == 0
    from xai.audits.checks.base import CHECKS as KINDS
    from xai.audits.config import read_config

    config = read_config(tmp_path / "xai.toml")
    assert config.model["source"] == "example:fashion-robust"
    assert {asked.check.name for asked in config.checks} == set(KINDS)
    compile((tmp_path / "tests" / "test_audit.py").read_text(), "test_audit.py", "exec")
    assert "xai audit xai.toml" in (tmp_path / ".github" / "workflows" / "audit.yml").read_text()
