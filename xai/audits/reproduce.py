"""How to repeat what was found: a command, and Python that anybody can run."""

import shlex
from typing import Any

from xai.audits.checks import Check
from xai.audits.config import Config
from xai.audits.scene import CALIBRATION, DATA, TRAIN


def reproduce(config: Config, id_: str, check: Check) -> dict[str, str]:
    """Return the command that makes one check again, and Python that does so by hand."""
    file = config.file or "xai.toml"
    return {"command": f"xai audit {shlex.quote(file)} --only {shlex.quote(id_)}", "python": _python(config, check)}


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
