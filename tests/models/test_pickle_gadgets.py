"""Checkpoints that would run something when unpickled: in every container, nothing runs."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoint_bytes import CONTAINERS, GADGETS, MARKER, check_line, legacy, malicious, plant_payload, saved
from model_state import switches
from small_models import GapCnn, pictures

import xai
from xai.cli import main
from xai.errors import CheckpointError
from xai.models.loading import load
from xai.models.networks import SmallNet

ARCH = "xai.models.networks:SmallNet"
FILES = malicious()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder that the process stands in, with what some gadgets look for."""
    monkeypatch.chdir(tmp_path)
    plant_payload(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [name for name in GADGETS if name not in {"torch.load", "hub", "import", "locate"}])
def test_the_gadgets_would_leave_a_marker(place, monkeypatch, name):
    monkeypatch.syspath_prepend(place)
    thing = pickle.loads(pickle.dumps(GADGETS[name]))
    if hasattr(thing, "close"):
        thing.close()
    assert (place / MARKER).exists()


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("gadget", ["system", "exec", "eval", "open", "torch.load"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_no_gadget_runs_where_weights_are_read(place, container, gadget, trust):
    path = place / "model.pt"
    path.write_bytes(CONTAINERS[container](GADGETS[gadget]))
    with pytest.raises(CheckpointError, match=r"model\.pt: .*") as caught:
        load(path, ARCH, trust=trust)
    assert not (place / MARKER).exists()
    check_line(caught.value)


def test_the_corpus_is_large_enough():
    assert len(FILES) >= 60


@pytest.mark.parametrize("name", FILES)
def test_no_malicious_file_runs_through_the_interface_or_the_command_line(place, capfd, name):
    path = place / "model.bin"
    path.write_bytes(FILES[name])
    before = switches()
    said = []
    for arch in (None, ARCH):  # alone it may be a whole model; with a network it has to be weights
        with pytest.raises(CheckpointError) as caught:
            xai.load(path, arch)
        check_line(caught.value)
        said.append(str(caught.value))
    assert main(["explain", "photo.png", "--model", str(path), "--arch", ARCH]) == 2
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", f"xai: {said[1]}\n")
    assert said[0].startswith(f"{path}: ")
    assert switches() == before
    assert not (place / MARKER).exists()


def test_the_environment_cannot_switch_the_protection_off(place, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = place / "w.pt"
    path.write_bytes(saved({"w": GADGETS["exec"]}))
    with pytest.raises(CheckpointError, match="Python objects"):
        load(path, ARCH)
    assert not (place / MARKER).exists()


def test_the_old_form_of_weights_is_read_as_weights_where_it_is_trusted(place):
    path = place / "w.pt"
    path.write_bytes(legacy(SmallNet().state_dict()))
    with pytest.raises(CheckpointError, match="a bare pickle"):
        load(path, ARCH, channels=1)
    assert load(path, ARCH, channels=1, trust=True).num_classes == 10


@pytest.mark.parametrize("form", [saved, legacy])
def test_a_pickled_network_is_read_where_it_is_trusted_and_that_is_said(place, form):
    path = place / "net.pth"
    path.write_bytes(form(GapCnn()))
    with pytest.raises((CheckpointError, xai.InputError), match=r"net\.pth"):
        load(path)
    found = load(path, trust=True)
    assert found.notes == ("loaded with trust=True: whatever code the file holds has run",)
    assert found.notes[0] in xai.explain(found, pictures(1)).notes


def test_trusted_code_runs(place):
    (place / "w.pt").write_bytes(saved({"w": GADGETS["exec"]}))
    with pytest.raises(CheckpointError, match=r"expected a torch\.nn\.Module, but it holds a dict"):
        load(place / "w.pt", trust=True)
    assert (place / MARKER).exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_no_program_is_started_and_no_connection_made(place):
    """The kernel's view: one Python for the calls, one for the limited process, and nothing else."""
    for k, content in enumerate(FILES.values()):
        (place / f"{k}.bin").write_bytes(content)
    script = (
        "import sys, pathlib, xai\n"
        "for path in sorted(pathlib.Path('.').glob('*.bin')):\n"
        "    for arch in (None, sys.argv[1]):\n"
        "        try:\n            xai.load(path, arch)\n            print('read', path)\n"
        "        except xai.XaiError:\n            pass\n"
    )
    log = place / "strace.log"
    asked = ["strace", "-f", "-qq", "-e", "trace=execve,connect", "-o", str(log), sys.executable, "-c", script, ARCH]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(xai.__file__).parents[1]), *sys.path])}
    ran = subprocess.run(asked, capture_output=True, text=True, check=True, env=environment)
    assert (ran.stdout, ran.stderr) == ("", "")
    lines = log.read_text().splitlines()
    started = [line for line in lines if "execve(" in line and " = 0" in line]
    assert len(started) == 2, started
    assert [line for line in lines if "connect(" in line and "AF_UNIX" not in line] == []
    assert not (place / MARKER).exists()
