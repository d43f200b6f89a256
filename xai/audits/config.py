"""The settings file `xai.toml`, read and checked as a whole.

It says what is audited, on which images, by which checks and conditions; unknown keys are errors.
"""

import hashlib
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_origin

from xai.audits.checks.base import CHECKS, CheckRequest, Condition
from xai.audits.conditions import NAMES
from xai.audits.execution.store import canonical
from xai.core.results.codec import plain
from xai.core.validation import check_choice, check_choices, check_level, check_seed, check_whole
from xai.datasets.dataset import Dataset
from xai.errors import DataError, InputError

TABLES = ("model", "data", "train", "calibration", "ood", "audit", "report", "check")
MODEL = (
    "source",
    "arch",
    "weights",
    "class_names",
    "mean",
    "std",
    "input_size",
    "channels",
    "resize",
    "task",
    "output",
    "output_key",
    "name",
    "device",
)
SOURCE = ("source", "part", "class_names", "n", "path_column", "label_column", "part_column")
AUDIT = ("title", "seed", "level", "shard", "micro_batch", "budget", "baseline", "store")
REPORT = ("formats", "language", "images")
FORMATS = ("html", "pdf", "md", "junit", "card", "csv")
LANGUAGES = ("en", "es")
ASKED = ("id", "metric", "level", *NAMES)
_ALIASES = {"settings": "settings_of_attack"}
_MOST = 1 << 20  # bytes of a file
_ENDLESS = re.compile(r"""(?:\.[ \t]*(?:"[^"\n]*"|'[^'\n]*'|[\w-]+)[ \t]*){50}|\d{1000}""")


@dataclass(frozen=True)
class Config:
    """An audit as it was asked for.

    Attributes:
        model: settings of `xai.load`, or {"source": a classifier}.
        data: settings of `xai.load_data` for the images that are judged: "source" (a path, an example's name or a
            `Dataset`), "n" images to draw (None takes all), ...
        others: the same of further data sets by role: "train", "calibration", "ood:NAME".
        checks: in order.
        title: of reports.
        seed: of everything random.
        level: of gates that name none.
        shard: images per work item.
        micro_batch: images that go through a method together.
        budget: seconds; None for no limit.
        baseline: an earlier audit to compare with: its folder or audit.json.
        store: folder of finished work; None takes one below the results.
        report: formats, language and number of images of reports.
        file: where it was read, "" for none.
        folder: that relative paths start from.
        options: of the command line, for what stands in place of the file's.
    """

    model: Mapping[str, Any]
    data: Mapping[str, Any]
    others: Mapping[str, Mapping[str, Any]]
    checks: tuple[CheckRequest, ...]
    title: str = ""
    seed: int = 0
    level: float = 0.95
    shard: int = 256
    micro_batch: int = 256
    budget: float | None = None
    baseline: Any = None
    store: str | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""
    folder: Path = Path()
    options: tuple[str, ...] = ()

    @property
    def thresholds(self) -> list[dict[str, Any]]:
        """Every condition: what is hashed before the first forward."""
        return [
            {
                "check": request.id,
                "metric": request.check.name,
                "settings": request.check.settings,
                "level": request.level,
            }
            | {"condition": condition.name, "threshold": condition.threshold}
            for request in self.checks
            for condition in request.conditions
        ]

    @property
    def thresholds_sha256(self) -> str:
        """Digest of `thresholds`."""
        return hashlib.sha256(canonical(self.thresholds)).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready; no path of this machine but those the user wrote."""
        return {
            "model": as_table(self.model),
            "data": as_table(self.data),
            "others": {name: as_table(settings) for name, settings in sorted(self.others.items())},
            "audit": {
                "title": self.title,
                "seed": self.seed,
                "level": self.level,
                "shard": self.shard,
                "micro_batch": self.micro_batch,
                "baseline": str(self.baseline) if isinstance(self.baseline, str | Path) else None,
            },
            "report": plain(dict(self.report)),
            "checks": [request.to_dict() for request in self.checks],
        }

    def only(self, ids: Sequence[str]) -> "Config":
        """Return the same audit with some of its checks.

        Raises:
            NameLookupError: no such check in it.
        """
        known = [request.id for request in self.checks]
        check_choices("check in this audit", ids, known)
        return Config(**{**vars(self), "checks": tuple(request for request in self.checks if request.id in ids)})


def as_table(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a model or data set, JSON-ready; a source that is an object by its name."""
    source = settings["source"]
    name = source if isinstance(source, str) else getattr(source, "name", type(source).__name__)
    return {str(key): plain(value) for key, value in {**settings, "source": str(name)}.items()}


def as_in_file(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a check by the names that they have in the file."""
    shown = {own: name for name, own in _ALIASES.items()}
    return {shown.get(name, name): value for name, value in settings.items()}


def read_config(path: str | Path, given: Mapping[str, Any] | None = None) -> Config:
    """Read `xai.toml`, or the table `[tool.xai]` of `pyproject.toml`.

    Args:
        path: of the file.
        given: tables that stand in place of the file's.

    Raises:
        DataError: no such file, or no TOML.
        InputError: a value of the wrong kind, or two checks of one id.
        NameLookupError: an unknown key, check or setting; near ones are suggested.
    """
    path = Path(path)
    content = _tables(path)
    if path.name == "pyproject.toml":
        content = content.get("tool", {}).get("xai", {})
        if not content:
            raise DataError(f"{path}: there is no table [tool.xai] in it. Add it, or write xai.toml by `xai init`.")
    return parse_config(replaced(content, given or {}), file=path.name, folder=path.parent)


def replaced(content: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables with those given in their place; settings of a model without a source are added to the model."""
    model, before = given.get("model"), content.get("model")
    before = {"source": before} if isinstance(before, str) else before
    if isinstance(model, Mapping) and "source" not in model and isinstance(before, Mapping):
        given = {**given, "model": {**before, **model}}
    return {**content, **given}


def _tables(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST:
            raise DataError(f"{path}: more than a megabyte; expected a file of settings.")
        text = path.read_text(encoding="utf-8")
        if _ENDLESS.search(text):  # takes the reader's time and memory by its square
            raise DataError(f"{path}: a key of very many parts or a number of very many digits; expected settings.")
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a ValueError also of a number of very many digits
        if isinstance(error, DataError):
            raise
        first = str(error).partition("\n")[0][:160]
        raise DataError(f"{path}: no TOML ({first}). Check the line; `xai init` writes a good one.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). `xai init` writes one.") from error


def parse_config(content: Mapping[str, Any], *, file: str = "", folder: Path | None = None) -> Config:
    """Return an audit from tables as they stand in the file; see `read_config` for errors."""
    tables = _known_keys(content, TABLES, file or "the audit")
    for name in ("model", "data"):
        if name not in tables:
            raise InputError(f'Expected a table [{name}] with `source = "..."`, but there is none. Add it.')
    audit = _audit(_known_keys(tables.get("audit", {}), AUDIT, "[audit]"))
    others: dict[str, Mapping[str, Any]] = {}
    others |= {name: _source(tables[name], f"[{name}]") for name in ("train", "calibration") if name in tables}
    ood = tables.get("ood", {})
    if not isinstance(ood, Mapping):
        raise InputError(f'Expected [ood] as a table of NAME = "source", but got {ood!r}.')
    others |= {f"ood:{name}": _source(value, f"[ood] {name}") for name, value in ood.items()}
    return Config(
        model=_model(tables["model"]),
        data=_source(tables["data"], "[data]"),
        others=others,
        checks=_checks(tables.get("check"), audit.get("level", 0.95)),
        report=_report(_known_keys(tables.get("report", {}), REPORT, "[report]")),
        file=file,
        folder=folder or Path(),
        **audit,
    )


def _model(given: Any) -> dict[str, Any]:
    table = {"source": given} if not isinstance(given, Mapping) else _known_keys(given, MODEL, "[model]")
    if "source" not in table:
        raise InputError('Expected [model] with `source = "..."`, such as "example:fashion" or "weights.safetensors".')
    if "input_size" in table:
        table["input_size"] = tuple(table["input_size"])
    return table


def _source(given: Any, where: str) -> dict[str, Any]:
    table = {"source": given} if not isinstance(given, Mapping) else _known_keys(given, SOURCE, where)
    if "source" not in table:
        raise InputError(f'Expected {where} with `source = "..."`, such as "example:fashion-test" or a folder.')
    n = table.pop("n", None)
    check_whole("n", n, optional=True, cure=f"It is a setting of {where}.")
    source = table.pop("source")
    source = os.fspath(source) if isinstance(source, os.PathLike) else source
    if not isinstance(source, str | Dataset):
        raise InputError(f"Expected {where} as a path, an example's name or `xai.load_data(...)`, but got {source!r}.")
    return {"source": source, "n": n, **table}


def _audit(table: dict[str, Any]) -> dict[str, Any]:
    readers: dict[str, Callable[[str, Any], Any]] = {
        "title": _text,
        "shard": _whole,
        "micro_batch": _whole,
        "budget": seconds,
        "store": _text,
        "level": _level,
    }
    settings: dict[str, Any] = {k: readers[k](k, value) if k in readers else value for k, value in table.items()}
    if "seed" in settings:
        check_seed(settings["seed"])
    for name in ("shard", "micro_batch"):
        check_whole(name, settings.get(name, 1))
    return settings


def _level(name: str, value: Any) -> float:
    return check_level(_number(name, value), name)


def _report(table: dict[str, Any]) -> dict[str, Any]:
    kinds = {"formats": tuple[str, ...], "language": str, "images": int}
    settings = {name: _as_type(name, value, kinds[name]) for name, value in table.items()}
    check_choices("kind of report", settings.get("formats", ()), FORMATS)
    check_choice("language of reports", settings.get("language"), LANGUAGES, optional=True)
    return settings


def _checks(given: Any, level: float) -> tuple[CheckRequest, ...]:
    listed = list(CHECKS) if given is None else [given] if isinstance(given, str | Mapping) else list(given)
    if not listed:
        raise InputError("Expected at least one [[check]], but there is none.")
    requests, taken = [], set()
    for table in listed:
        request = (
            table
            if isinstance(table, CheckRequest)
            else _request({"metric": table} if isinstance(table, str) else table, level)
        )
        if request.id in taken:
            raise InputError(f"Two checks are called {request.id!r}. Give one of them another `id`.")
        taken.add(request.id)
        requests.append(request)
    return tuple(requests)


def _request(table: Any, level: float) -> CheckRequest:
    if not isinstance(table, Mapping) or not isinstance(table.get("metric"), str):
        raise InputError(f'Expected every [[check]] with `metric = "..."`, one of {", ".join(CHECKS)}; got {table!r}.')
    kind = CHECKS[table["metric"]]
    name = _text("id", table.get("id", kind.name))
    where = f"the check {name!r}"
    settings = {f.name: f.type for f in fields(kind)}
    shown = [alias for alias, own in _ALIASES.items() if own in settings] + [
        s for s in settings if s not in _ALIASES.values()
    ]
    entries = _known_keys(table, [*ASKED, *shown], where)
    conditions = tuple(Condition(key, _number(key, entries[key])) for key in NAMES if key in entries)
    for condition in conditions:
        if condition.name not in kind.conditions:
            raise InputError(f"{where} cannot be judged by {condition.name}; it takes {', '.join(kind.conditions)}.")
    given = {_ALIASES.get(setting, setting): entries[setting] for setting in shown if setting in entries}
    check = kind(**{setting: _as_type(setting, value, settings[setting]) for setting, value in given.items()})
    check_whole("images", check.images, optional=True)
    return CheckRequest(name, check, conditions or kind.usual, _level("level", entries.get("level", level)))


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def _known_keys(table: Any, known: Sequence[str], where: str) -> dict[str, Any]:
    """Return a table whose keys are all known; near ones are suggested for others."""
    if not isinstance(table, Mapping):
        raise InputError(f"Expected {where} as a table of settings, but got {table!r}.")
    check_choices(f"setting of {where}", table, known)
    return dict(table)


def _number(name: str, value: Any) -> float:
    """Return a number, also written as "8/255"."""
    if isinstance(value, str):
        top, _, bottom = value.partition("/")
        try:
            return float(top) / float(bottom or 1)
        except (ValueError, ZeroDivisionError):
            value = repr(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise InputError(f'Expected `{name}` as a number, or as "8/255", but got {value}.')
    return float(value)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"Expected `{name}` as a whole number, but got {value!r}.")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"Expected `{name}` as a text in quotes, but got {value!r}.")
    return value


def seconds(name: str, value: Any) -> float:
    """Return a duration in seconds, from a number or from "90s", "8m", "1h30m".

    Raises:
        InputError: it is none, or not above 0.
    """
    duration = 0.0
    if isinstance(value, str) and re.fullmatch(r"(\d+(\.\d+)?[smh])+", value):
        duration = sum(float(part[:-1]) * _UNITS[part[-1]] for part in re.findall(r"\d+(?:\.\d+)?[smh]", value))
    elif not isinstance(value, str):
        duration = _number(name, value)
    if not 0 < duration < float("inf"):
        raise InputError(f'Expected `{name}` as a time such as "8m", "90s" or "1h30m", but got {value!r}.')
    return duration


def _as_type(name: str, value: Any, kind: Any) -> Any:
    """Return a value as the type of a field asks for it."""
    choices = [choice for choice in get_args(kind) if choice is not type(None)]
    if get_origin(kind) is tuple:
        return _listed(name, value, choices[0])
    if get_origin(kind) is not None and kind not in _PLAIN and len(choices) == 1:  # such as int | None
        return value if value is None else _as_type(name, value, choices[0])
    for type_, read in _PLAIN.items():
        if kind is type_:
            return read(name, value)
    if not isinstance(value, Mapping):
        raise InputError(f"Expected `{name}` as a table of settings, but got {value!r}.")
    return dict(value)


def _listed(name: str, value: Any, kind: Any) -> tuple[Any, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise InputError(f"Expected `{name}` as a list, but got {value!r}.")
    return tuple(_as_type(name, item, kind) for item in items)


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"Expected `{name}` as true or false, but got {value!r}.")
    return value


_PLAIN: dict[Any, Callable[[str, Any], Any]] = {float: _number, int: _whole, str: _text, bool: _boolean}
