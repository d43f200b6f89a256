"""`pytest xai.toml`, the fixture `xai_check`, and tests made of findings; each run in a process of its own."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from reports.report_cases import hostile
from small_models import LinearModel, pictures

import xai
from xai.errors import NameLookupError
from xai.pytest_plugin import Failed, XaiCheck, _checks, judge

TOML = """
[model]
source = "example:fashion"
[data]
source = "example:fashion-test"
n = 150
[[check]]
metric = "accuracy"
at_least = 0.7
[[check]]
id = "robust"
metric = "robust_accuracy"
attack = "fgsm"
trust = 0
images = 60
at_least = 0.9
[[check]]
metric = "group_gap"
"""
ROOT = Path(xai.__file__).parents[1]


class Config:
    """As much of a configuration as the fixture asks for."""

    rootpath = Path("/nowhere")

    def __init__(self, inconclusive="skip"):
        self._inconclusive = inconclusive

    def getoption(self, name):
        return self._inconclusive


def run_pytest(folder, *arguments, plugin=True):
    line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "addopts=", "--rootdir", str(folder)]
    line += ["-p", "xai.pytest_plugin"] * plugin
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("GITHUB_STEP_SUMMARY", None)
    return subprocess.run(
        [*line, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


def test_an_audit_file_is_run_as_tests(tmp_path):
    (tmp_path / "xai.toml").write_text(TOML)
    xai.audit(tmp_path / "xai.toml", out=tmp_path / "run", only=["accuracy"])
    ran = run_pytest(tmp_path, "xai.toml", "-v", "-rs", "--junitxml=j.xml", "--xai-report=html,md,junit")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    told = [line.removeprefix("xai.toml: ") for line in ran.stdout.splitlines() if line.startswith("xai.toml: ")]
    assert told[0] == (  # past pytest's capture, before any test ends
        "1 of 2 work items are finished (1 from the run in run); the rest is computed anew, since the run in run "
        "has not done them with these settings"
    )
    shares = [int(line.partition(" %")[0]) for line in told[1:]]
    assert shares == sorted(set(shares))
    assert shares[-1] == 100
    assert "positive control: 100 % of the work is done" in ran.stdout
    cases = {case.get("name"): case for case in ET.parse(tmp_path / "j.xml").iter("testcase")}
    kinds = {name: [child.tag for child in case if child.tag != "properties"] for name, case in cases.items()}
    assert kinds == {"accuracy": [], "robust": ["failure"], "group_gap": ["skipped"], "positive control": []}
    assert "again: xai audit xai.toml --only robust" in ran.stdout
    assert "Traceback" not in ran.stdout
    held = {one.get("name"): one.get("value") for one in cases["accuracy"].iter("property")}
    assert held["verdict"] == "pass"
    assert float(held["value"]) > 0.7
    written = tmp_path / ".xai" / "xai"
    assert {"audit.json", "report.html", "summary.md", "junit.xml"} <= {path.name for path in written.iterdir()}


def test_an_audit_is_not_run_unless_it_is_named(tmp_path):
    (tmp_path / "xai.toml").write_text(TOML)
    (tmp_path / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
    ran = run_pytest(tmp_path, ".")
    assert ran.returncode == 0, ran.stdout
    assert "1 passed" in ran.stdout


@pytest.mark.parametrize("text", ["no toml", "a = 1", '[model]\nsource = "x"\n[[check]]\nid = "without a metric"'])
def test_a_file_that_is_no_audit_is_an_error_of_one_line(tmp_path, text):
    (tmp_path / "xai.toml").write_text(text)
    with pytest.raises(pytest.Collector.CollectError, match=r"no TOML|no audit|\[\[check\]\]"):
        _checks(tmp_path / "xai.toml")


def test_a_run_that_does_not_use_it_pays_little():
    script = "import sys, pytest, time; start = time.perf_counter(); import xai.pytest_plugin; "
    script += (
        "print(time.perf_counter() - start, [n for n in ('torch', 'numpy', 'pandas', 'xai.core') if n in sys.modules])"
    )
    best = 1.0
    for _ in range(5):
        ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
        seconds, _, loaded = ran.stdout.strip().partition(" ")
        assert loaded == "[]"
        best = min(best, float(seconds))
    assert best < 0.2  # 20 ms on a machine at rest; loose, for this one may be busy


def small(labels=("red", "green", "blue")):
    images = pictures(60, seed=0)
    model = xai.Classifier(LinearModel(seed=0), class_names=labels, input_size=(16, 16))
    labels = model.predict(images).index.numpy()
    labels[::5] = (labels[::5] + 1) % 3
    return model, images, labels


def test_the_fixture_asks_one_question(tmp_path):
    model, images, labels = small()
    file = tmp_path / "d.npz"
    np.savez(file, images=(images.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8), labels=labels)
    check = XaiCheck(Config())
    found = check("accuracy", model=model, data=str(file)).at_least(0.5)
    assert found["verdict"] == "pass"
    assert found["measured"]["n"] == 60
    with pytest.raises(check.Failed, match="clearly below the threshold"):
        check("accuracy", model=model, data=str(file)).at_least(0.99)
    with pytest.raises(check.Failed):
        check("accuracy", model=xai.Audit.broken_copy(model), data=str(file)).at_least(0.5)
    with pytest.raises(pytest.skip.Exception):
        check("accuracy", model=model, data=str(file)).at_least(0.78)
    robust = check("robust_accuracy", model=model, data=str(file), attack="fgsm", eps="1/255", trust=0)
    with pytest.raises(check.Failed, match="again: "):
        robust.at_least(0.99)
    with pytest.raises(NameLookupError, match="robust_accuracy"):
        check("robust_acuracy", model=model, data=str(file)).at_least(0.5)


@pytest.mark.parametrize(
    ("verdict", "inconclusive", "raised"),
    [
        ("pass", "fail", None),
        ("measured", "fail", None),
        ("fail", "skip", Failed),
        ("error", "skip", Failed),
        ("inconclusive", "fail", Failed),
        ("inconclusive", "skip", pytest.skip.Exception),
        ("not run", "fail", pytest.skip.Exception),
    ],
)
def test_verdicts_become_outcomes(verdict, inconclusive, raised):
    if raised is None:
        judge(verdict, "text", Config(inconclusive))
        return
    with pytest.raises(raised, match="text"):
        judge(verdict, "text", Config(inconclusive))


@pytest.mark.slow
def test_findings_become_tests_that_fail_now_and_pass_for_a_repaired_model(tmp_path):
    (tmp_path / "xai.toml").write_text(TOML)
    found = xai.audit(tmp_path / "xai.toml")
    written = found.write_tests(tmp_path / "tests")
    frozen = [path for path in written if path.suffix == ".png"]
    assert frozen
    assert sum(path.stat().st_size for path in frozen) <= 200_000
    cases = json.loads((tmp_path / "tests" / "audit_findings" / "cases.json").read_text())
    assert [gate["check"]["id"] for gate in cases["gates"]] == ["robust", "group_gap"]
    ran = run_pytest(tmp_path, "tests", "-q", plugin=False)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    failed = {line.split("::")[1].split(" ")[0] for line in ran.stdout.splitlines() if line.startswith("FAILED")}
    assert "test_gate[robust-0]" in failed
    assert not [name for name in failed if name.startswith("test_the_gate_fails_what_is_broken")]
    assert sum(name.startswith("test_image") for name in failed) > len(frozen) // 2
    cases["audit"]["model"] = {"source": "example:fashion-robust"}  # the repair
    (tmp_path / "tests" / "audit_findings" / "cases.json").write_text(json.dumps(cases))
    again = run_pytest(tmp_path, "tests", "-q", "-k", "test_image", plugin=False)
    fewer = again.stdout.count("FAILED")
    assert fewer < sum(name.startswith("test_image") for name in failed)


BAD = '../../x"' + '""\\n; import os # {{7*7}} $(touch y)'


def test_hostile_names_stay_data_in_the_tests(tmp_path):
    """Whatever classes and images are called, the test file is the same, and nothing is written elsewhere."""
    written = {}
    for name, labels in {"plain": ("red", "green", "blue"), "bad": [f"{BAD}{k}" for k in range(3)]}.items():
        model, images, truth = small(labels)
        file = tmp_path / f"{name}.npz"
        np.savez(file, images=(images.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8), labels=truth)
        found = xai.audit(model=model, data=str(file), checks=[{"metric": "accuracy", "at_least": 0.99}])
        renamed = hostile(found, BAD) if name == "bad" else found
        renamed.document["settings"]["data"]["source"] = str(file)  # what is not there cannot be asked again
        written[name] = renamed.write_tests(tmp_path / name, model=model)
    plain, bad = written.values()
    assert [path.name for path in bad if path.suffix != ".png"] == [
        path.name for path in plain if path.suffix != ".png"
    ]
    assert bad[-1].read_text() == plain[-1].read_text()
    assert {path.parent.parent for path in bad[:-1]} | {bad[-1].parent} == {tmp_path / "bad"}
