"""How to repeat what was found: a command, and Python that anybody can run."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xai.audits.checks import Check
from xai.audits.config import Config
from xai.audits.scene import CALIBRATION, DATA, TRAIN

ONLY, WITHIN = "only", ".xai"
_OPTIONS = {"source": "model", "labels": "class_names"}


def reproduce(config: Config, id_: str, check: Check) -> dict[str, str]:
    """Return the command that makes one check again, and Python that does so by hand."""
    words = ["xai", "audit", config.file or "xai.toml", *config.options, "--only", id_]
    return {"command": shlex.join(words), "python": _python(config, check)}


def located(entry: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """Return a check or finding whose command names the folder of its audit, where that is not the usual one.

    `audit.json` holds no folder, since it is the same bytes in all of them.
    """
    whole = folder.parent.parent if folder is not None and folder.parent.name == ONLY else folder
    if whole is None or whole.parent.name == WITHIN:
        return dict(entry)
    whole = whole.relative_to(Path.cwd()) if whole.is_absolute() and whole.is_relative_to(Path.cwd()) else whole
    command = f"{entry['reproduce']['command']} --out {shlex.quote(str(whole))}"
    return {**entry, "reproduce": {**entry["reproduce"], "command": command}}


def options_of(model: Any, data: Any, seed: int | None) -> tuple[str, ...]:
    """Return the options of the command line for what stood in place of the file's; objects have none."""
    found = [] if seed is None else ["--seed", str(seed)]
    if isinstance(data, Mapping | str | os.PathLike):
        table = dict(data) if isinstance(data, Mapping) else {"source": os.fspath(data)}
        part = f"@{table['part']}" if table.get("part") else ""
        found += [f"--data={table['source']}{part}"] if isinstance(table.get("source"), str) else []
    if isinstance(model, Mapping | str | os.PathLike):
        table = dict(model) if isinstance(model, Mapping) else {"source": os.fspath(model)}
        for name, value in table.items():
            option = f"--{_OPTIONS.get(name, name).replace('_', '-')}"
            if name == "labels":
                found += [option, ",".join(value)]
            elif isinstance(value, list | tuple):
                found += [option, *map(str, value)]
            elif isinstance(value, str | int | float):
                found += [option, str(value)]
    return tuple(found)


def _python(config: Config, check: Check) -> str:
    lines = ["import xai", "", f"model = xai.load({_model(config)})"]
    for name, source in {DATA: config.data, **config.others}.items():
        if name in {DATA, TRAIN, CALIBRATION} and (name == DATA or name in check.needs):
            lines.append(f"{name} = xai.load_data({_source(source.to_dict())})")
        elif name.startswith("ood:") and "ood" in "".join(check.needs):
            lines.append(f"foreign = xai.load_data({_source(source.to_dict())})")
    return "\n".join([*lines, check.code()])


def _model(config: Config) -> str:
    held = config.to_dict()["model"]
    return ", ".join([repr(held["source"]), *(f"{k}={v!r}" for k, v in held.items() if k != "source")])


def _source(held: dict[str, Any]) -> str:
    n = held.get("n")
    given = ", ".join(
        [repr(held["source"]), *(f"{k}={v!r}" for k, v in held.items() if k not in {"source", "n"} and v is not None)]
    )
    return f"{given}).subset({n}" if n else given
