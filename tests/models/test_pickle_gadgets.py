"""Checkpoints that would run something when unpickled: in every container, nothing runs."""

import io
import os
import pickle
import struct
import zipfile

import pytest
import torch
from checkpoint_bytes import check_line, legacy, members_of, saved, small_state, with_pickle, zip_of

from xai.errors import CheckpointError
from xai.models import load

ARCH = "xai.models.networks:SmallNet"
MARKER = "marker"


class Gadget:
    """Leaves a marker in the current folder when it is unpickled."""

    def __init__(self, function, argument):
        self.call = function, (argument,)

    def __reduce__(self):
        return self.call


GADGETS = {
    "system": Gadget(os.system, f"echo x > {MARKER}"),
    "exec": Gadget(exec, f"open('{MARKER}', 'w').close()"),
    "eval": Gadget(eval, f"open('{MARKER}', 'w').close()"),
    "open": Gadget(io.open, MARKER),
    "load": Gadget(torch.load, MARKER),
}


CONTAINERS = {
    "zip": lambda thing: saved({"w": thing}),
    "beside weights": lambda thing: saved({"state_dict": small_state(), "extra": thing}),
    "as a key": lambda thing: with_pickle(pickle.dumps({"w": [thing]}, protocol=2)),
    "legacy": lambda thing: legacy({"w": thing}),
    "pickle 5": lambda thing: pickle.dumps(thing, protocol=5),
    "pickle 2": lambda thing: pickle.dumps(thing, protocol=2),
    "pickle 0": lambda thing: pickle.dumps(thing, protocol=0),
    "second data.pkl": lambda thing: zip_of(
        [*members_of(saved(small_state())), ("archive/data.pkl", pickle.dumps(thing, 2))]
    ),
    "first data.pkl": lambda thing: zip_of(
        [("archive/data.pkl", pickle.dumps(thing, 2)), *members_of(saved(small_state()))]
    ),
    "other case": lambda thing: zip_of(
        [*members_of(saved(small_state())), ("archive/DATA.PKL", pickle.dumps(thing, 2))]
    ),
    "two folders": lambda thing: zip_of(
        [("other/data.pkl", pickle.dumps(thing, 2)), *members_of(saved(small_state()))]
    ),
    "hidden end": lambda thing: (
        saved(small_state())[:-2]
        + struct.pack("<H", len(end := zip_of([("a/data.pkl", pickle.dumps(thing, 2))])))
        + end
    ),
    "deflated": lambda thing: zip_of(
        [("a/data.pkl", pickle.dumps(thing, 2)), ("a/version", "3")], zipfile.ZIP_DEFLATED
    ),
}


@pytest.mark.parametrize("name", ["system", "exec", "eval"])
def test_the_gadgets_would_leave_a_marker(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(GADGETS[name]))
    assert (tmp_path / MARKER).exists()


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("gadget", GADGETS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_no_gadget_runs(tmp_path, monkeypatch, container, gadget, trust):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pt"
    path.write_bytes(CONTAINERS[container](GADGETS[gadget]))
    with pytest.raises(CheckpointError, match=r"model\.pt: .*") as caught:
        load(path, ARCH, trust=trust)
    assert not (tmp_path / MARKER).exists()
    check_line(caught.value)


def test_the_environment_cannot_switch_the_protection_off(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = tmp_path / "w.pt"
    path.write_bytes(saved({"w": GADGETS["exec"]}))
    with pytest.raises(CheckpointError, match="Python objects"):
        load(path, ARCH)
    assert not (tmp_path / MARKER).exists()
