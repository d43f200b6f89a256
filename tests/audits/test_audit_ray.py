"""Ray schedules, the store stays the truth: whatever is killed, the audit is the one that a single process makes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray_loop import GIVEN

import xai
from xai.errors import InputError, MissingExtraError, NameLookupError

LOOP = Path(__file__).with_name("ray_loop.py")
ACTOR_KILLS, DRIVER_KILLS, NODE_KILLS = 30, 5, 2


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'xai-toolkit[ray]'")
    return xai.audit(GIVEN, out=tmp_path_factory.mktemp("alone")).to_bytes()


def start(out: Path, *more: object) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, str(LOOP), str(out), *map(str, more)], stderr=subprocess.DEVNULL)


def parts(out: Path) -> set[str]:
    return {path.name for path in out.rglob("*.part")}


def actors_of(pid: int) -> list[int]:
    """Return the processes of actors that descend from a process."""
    parents, actors = {}, []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if (entry / "cmdline").read_bytes().startswith(b"ray::Worker"):
                    actors.append(int(entry.name))
            except OSError:
                continue

    def descends(child: int) -> bool:
        while child in parents and child != pid:
            child = parents[child]
        return child == pid

    return [actor for actor in actors if descends(actor)]


@pytest.mark.slow
def test_actors_are_killed(alone, tmp_path):
    draw, kills = random.Random(0), 0
    for number in range(100):
        out = tmp_path / str(number)
        run, seen = start(out), 0
        while run.poll() is None:
            time.sleep(draw.uniform(0, 0.2))
            if len(parts(out)) <= seen:
                continue  # an actor that starts again needs time to open the model
            seen = len(parts(out))
            for actor in draw.sample(found := actors_of(run.pid), min(1, len(found))):
                os.kill(actor, signal.SIGKILL)
                kills += 1
        assert run.returncode == 0
        assert (out / "audit.json").read_bytes() == alone
        if kills >= ACTOR_KILLS:
            break
    assert kills >= ACTOR_KILLS
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".draft")]


@pytest.mark.slow
def test_drivers_are_killed(alone, tmp_path):
    kills, out = 0, tmp_path / "run"
    while True:
        run, before = start(out), parts(out)
        while kills < DRIVER_KILLS and run.poll() is None and len(parts(out)) <= len(before) + 2:
            time.sleep(0.05)
        if kills < DRIVER_KILLS and run.poll() is None:
            run.kill()
            kills += 1
        code = run.wait()
        assert before <= parts(out)
        if code == 0:
            break
    assert kills > 0
    assert (out / "audit.json").read_bytes() == alone


@pytest.mark.slow
def test_nodes_are_killed(alone, tmp_path):
    run = start(tmp_path / "run", NODE_KILLS)
    assert run.wait() == 0
    assert (tmp_path / "run" / "audit.json").read_bytes() == alone


def test_an_unknown_engine_suggests_a_known_one(data, tmp_path):
    with pytest.raises(NameLookupError, match=r"engine 'rai'. Near: ray"):
        xai.audit(GIVEN, out=tmp_path, engine="rai")


def test_objects_of_this_process_cannot_be_sent(tmp_path):
    with pytest.raises(InputError, match="by name or path"):
        xai.audit({**GIVEN, "model": {"source": xai.load("example:fashion")}}, out=tmp_path, engine="ray")


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"xai-toolkit\[ray\]"):
        xai.audit(GIVEN, out=tmp_path, engine="ray")
