"""The work of `Audit.init`: a commented xai.toml, a workflow and a test to start from."""

import os
from collections.abc import Mapping
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from xai.audits.operations import OPERATIONS
from xai.audits.starter_data import Reading, comment_text, read, table_text, whole_text, with_checks
from xai.errors import InputError, RecordError
from xai.models.loading import check_source

FILES = {
    "xai.toml": "xai.toml",
    "test_audit.txt": "tests/test_audit.py",
    "workflow.yml": ".github/workflows/audit.yml",
}
_EXAMPLE, _EXAMPLES = "example:fashion", "example:"
_TO_FILL_IN = "path/to/labelled/images"
_WITHOUT = {
    "generalisation_gap": "there is no table [train] with images",
    "ood_detection": "it needs tables [train], [calibration] and [ood] with images",
}


def init(folder: str | os.PathLike[str], model: Any, *, data: Any, overwrite: bool) -> tuple[Path, ...]:
    """Do the work of `Audit.init`."""
    place, settings = Path(folder), _as_table(_EXAMPLE if model is None else model)
    if "source" not in settings:
        raise InputError('Expected a model with a "source", such as "weights.safetensors", but got settings alone.')
    check_source(os.fspath(settings["source"]))
    targets = {name: place / target for name, target in FILES.items()}
    for path in targets.values():
        if path.exists() and not overwrite:
            raise InputError(f"{path} is there already. Move it away, or overwrite it with --force.")
    if data is not None and model is None and not _source_of(data).startswith(_EXAMPLES):
        raise InputError("Expected the model of this data: --model, such as weights.safetensors with --arch.")
    contents = {targets[name]: _template(name) for name in FILES}
    contents[targets["xai.toml"]] = _tables(place, settings, data)
    for path, content in contents.items():
        _write(path, content)
    return tuple(contents)


OPERATIONS.register("init")(init)


def _tables(place: Path, model: Mapping[str, Any], data: Any) -> str:
    template = _template("xai.toml")
    if data is not None:
        return _own(read(place, model, _as_table(data), template), template)
    if str(model["source"]).startswith(_EXAMPLES):
        top, _, rest = template.partition("\n[data]")
        top_tables = top[: top.index("[model]\n")] + table_text("model", model, {})
        return f"{top_tables}\n[data]{rest}"
    comments = {"source": "TO FILL IN: a folder per class, .csv, .parquet or .npz; `xai init --data` reads it for you"}
    tables = [table_text("model", model, {}), table_text("data", {"source": _TO_FILL_IN}, comments)]
    return with_checks(whole_text(tables, template), _WITHOUT, {})


def _own(reading: Reading, template: str) -> str:
    """Return the file for a model and data that were read."""
    comments = [comment_text(title, lines) for title, lines in reading.lines.items()]
    tables = [table_text(name, table, reading.comments.get(name, {})) for name, table in reading.tables.items()]
    return with_checks(whole_text(["".join(comments), *tables], template), reading.missing, reading.changes)


def _as_table(given: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Any]:
    return dict(given) if isinstance(given, Mapping) else {"source": os.fspath(given)}


def _source_of(data: Any) -> str:
    return str(_as_table(data).get("source", ""))


def _template(name: str) -> str:
    return (resources("xai.audits") / "starters" / name).read_text(encoding="utf-8")


def _write(path: Path, content: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise RecordError(f"{path}: cannot be written ({error.strerror}). Choose another folder.") from error
