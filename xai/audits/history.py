"""Earlier runs of one xai.toml: where their finished work is, and what it was computed from.

A list in `.xai/` beside the file, newest first. It only says where to look: whether a piece of work fits is decided by
its key, so that a stale entry costs nothing but a look.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xai.audits.code import code_digest
from xai.audits.config import Config
from xai.audits.plan import Plan, Task
from xai.audits.reproduce import WITHIN
from xai.audits.store import Store, publish
from xai.core.records import plain
from xai.errors import RecordError

STORE = "store"
_FILE = "runs.json"
_MOST = 5
_BYTES = 1 << 20
_INPUTS = {
    "model": "the model",
    "labels": "the class names",
    "versions": "a version of a package",
    "device": "the device",
    "dtype": "the precision of the model",
    "seed": "the seed",
    "micro_batch": "micro_batch",
    "shard": "shard",
    "code": "the code of the toolkit",
}


@dataclass(frozen=True)
class PastRun:
    """One earlier run.

    Attributes:
        name: its folder as it is told to users.
        folder: of its results.
        inputs: what its work depends on, by name; empty where that is not known.
    """

    name: str
    folder: Path
    inputs: Mapping[str, Any]


def default_folder(config: Config) -> Path:
    """Return where an audit is written that names no folder."""
    return config.folder / WITHIN / Path(config.file).stem


def past_runs(config: Config) -> tuple[PastRun, ...]:
    """Return the earlier runs of the same file whose folders are still there, newest first."""
    if not config.file or config.store is not None:  # a store named in the file is shared by all runs anyway
        return ()
    entries = [_past_run(config, entry) for entry in _entries(config)]
    return tuple(run for run in entries if run is not None)


def note_run(config: Config, folder: Path, inputs: Mapping[str, Any] | None) -> None:
    """Put a run first in the list; where that cannot be written, the next run finds no earlier one.

    Args:
        config: of the run.
        folder: of its results.
        inputs: of its work; None for the positive control, whose models are broken copies.
    """
    if not config.file:
        return
    place, base = folder.resolve(), config.folder.resolve()
    name = os.path.relpath(place, base) if place.is_relative_to(base) else str(place)
    listed = _entries(config)
    if inputs is None:
        inputs = next((entry.get("inputs", {}) for entry in listed if entry.get("folder") == name), {})
    others = [entry for entry in listed if entry.get("folder") != name]
    entries = [{"folder": name, "inputs": plain(inputs)}, *others][:_MOST]
    with suppress(RecordError):
        publish(_path(config), json.dumps(entries, indent=1).encode() + b"\n")


def inputs_of(plan: Plan) -> dict[str, Any]:
    """Return what all work of a plan depends on: the base of its keys, and the images of each data set."""
    images = {f"[{name}]": role.manifest.fingerprint for name, role in plan.scene.roles.items()}
    return {**plan.base, "code": code_digest(), "shard": plan.config.shard, **images}


def changes(run: PastRun, inputs: Mapping[str, Any]) -> list[str]:
    """Return what differs between an earlier run and these inputs, in words."""
    names = [name for name in inputs if run.inputs and run.inputs.get(name) != plain(inputs[name])]
    return [_INPUTS.get(name, name) for name in names if name in _INPUTS or name.startswith("[")]


def take_over(plan: Plan, store: Store, runs: Sequence[PastRun], within: str) -> dict[str, int]:
    """Copy finished work of earlier runs into a store; return how many pieces came from each run, by its name.

    What measures the machine (`speed`) is measured anew.
    """
    taken: dict[str, int] = {}
    left = [task for task in plan.left(store) if task.steady]
    for run in runs:
        lender = Store(run.folder / within / STORE)
        for task in [task for task in left if lender.has(task.key)]:
            if store.take_over(task.key, lender):
                taken[run.name] = taken.get(run.name, 0) + 1
                left.remove(task)
    return taken


def is_finished(task: Task, store: Store, runs: Sequence[PastRun]) -> bool:
    """Whether a store has a piece of work, or an earlier run whose work would be taken over."""
    lenders = (Store(run.folder / STORE) for run in runs) if task.steady else ()
    return store.has(task.key) or any(lender.has(task.key) for lender in lenders)


def told(plan: Plan, store: Store, runs: Sequence[PastRun], taken: Mapping[str, int]) -> str:
    """Return one sentence on how much is finished, from which runs, and why the rest is computed anew."""
    pieces, left = len(plan.tasks), len(plan.left(store))
    sources = ", ".join(f"{count} from the run in {name}" for name, count in taken.items())
    found = f"{pieces - left} of {pieces} pieces of work are finished" + (f" ({sources})" if sources else "")
    known = [run for run in runs if run.inputs]
    if not known:
        return found if left < pieces else f"{found}: no other run of {plan.config.file or 'this audit'} is known"
    if not left:
        return found
    inputs = inputs_of(plan)
    nearest = min(known, key=lambda run: len(changes(run, inputs)))
    differing = changes(nearest, inputs)
    why = f"differs in {', '.join(differing)}" if differing else "has not done them with these settings"
    return f"{found}; the rest is computed anew, since the run in {nearest.name} {why}"


def _path(config: Config) -> Path:
    return default_folder(config) / _FILE


def _entries(config: Config) -> list[dict[str, Any]]:
    path = _path(config)
    with suppress(OSError, ValueError, RecursionError):
        if path.stat().st_size <= _BYTES:
            held = json.loads(path.read_text(encoding="utf-8"))
            return [entry for entry in held if isinstance(entry, dict)] if isinstance(held, list) else []
    return []


def _past_run(config: Config, entry: Mapping[str, Any]) -> PastRun | None:
    name, inputs = entry.get("folder"), entry.get("inputs")
    if not isinstance(name, str):
        return None
    folder = config.folder / name
    return PastRun(name, folder, inputs if isinstance(inputs, dict) else {}) if folder.is_dir() else None
