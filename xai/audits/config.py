"""`xai.toml`: what is audited, on which images, by which checks and conditions; strict, and checked as a whole."""

import hashlib
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from xai.audits.checks.base import CHECKS, Check
from xai.audits.conditions import NAMES, Condition
from xai.audits.execution.store import canonical
from xai.audits.values import as_type, known_keys, number, seconds, text, whole
from xai.core.results.message import Message
from xai.core.results.serialization import plain
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
SOURCE = ("source", "part", "classes", "n", "path_column", "label_column", "part_column")
AUDIT = ("title", "seed", "level", "shard", "micro_batch", "budget", "baseline", "store")
REPORT = ("formats", "language", "images")
FORMATS = ("html", "pdf", "md", "junit", "card", "csv")
LANGUAGES = ("en", "es")
ASKED = ("id", "metric", "level", *NAMES)
_ALIASES = {"settings": "settings_of_attack"}
_MOST = 1 << 20  # bytes of a file
_ENDLESS = re.compile(r"""(?:\.[ \t]*(?:"[^"\n]*"|'[^'\n]*'|[\w-]+)[ \t]*){50}|\d{1000}""")


@dataclass(frozen=True)
class DataSettings:
    """Where a data set comes from.

    Attributes:
        source: a path or an example's name, or a `Dataset`.
        n: images to draw; None takes all.
        settings: further ones of `xai.load_data`.
    """

    source: Any
    n: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it as it would stand in the file."""
        name = self.source if isinstance(self.source, str) else getattr(self.source, "name", type(self.source).__name__)
        return {"source": str(name), "n": self.n, **plain(dict(self.settings))}


@dataclass(frozen=True)
class CheckRequest:
    """One check of an audit.

    Attributes:
        id: stable name.
        check: with its settings.
        conditions: that judge it.
        level: of its intervals and gates.
    """

    id: str
    check: Check
    conditions: tuple[Condition, ...]
    level: float

    @property
    def idle(self) -> list[str]:
        """Which conditions no model can fail; each in one line."""
        never = [condition for condition in self.conditions if condition.is_idle(self.check.span)]
        text, title = "{title}: no model can fail {condition} = {threshold:g}", Message(self.check.title)
        return [
            Message(text, title=title, condition=condition.name, threshold=condition.threshold) for condition in never
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return it as it would stand in the file."""
        thresholds = {condition.name: condition.threshold for condition in self.conditions}
        return {"id": self.id, "metric": self.check.name, "level": self.level, **self.check.settings, **thresholds}


@dataclass(frozen=True)
class Config:
    """An audit as it was asked for.

    Attributes:
        model: settings of `xai.load`, or {"source": a classifier}.
        data: the images that are judged.
        others: further data sets by role: "train", "calibration", "ood:NAME".
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
    data: DataSettings
    others: Mapping[str, DataSettings]
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
        others = {name: source.to_dict() for name, source in sorted(self.others.items())}
        source = self.model["source"]
        name = source if isinstance(source, str) else getattr(source, "name", type(source).__name__)
        return {
            "model": plain({**self.model, "source": str(name)}),
            "data": self.data.to_dict(),
            "others": others,
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
    tables = known_keys(content, TABLES, file or "the audit")
    for name in ("model", "data"):
        if name not in tables:
            raise InputError(f'Expected a table [{name}] with `source = "..."`, but there is none. Add it.')
    audit = _audit(known_keys(tables.get("audit", {}), AUDIT, "[audit]"))
    others: dict[str, DataSettings] = {}
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
        report=_report(known_keys(tables.get("report", {}), REPORT, "[report]")),
        file=file,
        folder=folder or Path(),
        **audit,
    )


def _model(given: Any) -> dict[str, Any]:
    table = {"source": given} if not isinstance(given, Mapping) else known_keys(given, MODEL, "[model]")
    if "source" not in table:
        raise InputError('Expected [model] with `source = "..."`, such as "example:fashion" or "weights.safetensors".')
    if "input_size" in table:
        table["input_size"] = tuple(table["input_size"])
    return table


def _source(given: Any, where: str) -> DataSettings:
    table = {"source": given} if not isinstance(given, Mapping) else known_keys(given, SOURCE, where)
    if "source" not in table:
        raise InputError(f'Expected {where} with `source = "..."`, such as "example:fashion-test" or a folder.')
    n = table.pop("n", None)
    check_whole("n", n, optional=True, cure=f"It is a setting of {where}.")
    source = table.pop("source")
    source = os.fspath(source) if isinstance(source, os.PathLike) else source
    if not isinstance(source, str | Dataset):
        raise InputError(f"Expected {where} as a path, an example's name or `xai.load_data(...)`, but got {source!r}.")
    return DataSettings(source, n, table)


def _audit(table: dict[str, Any]) -> dict[str, Any]:
    readers: dict[str, Callable[[str, Any], Any]] = {
        "title": text,
        "shard": whole,
        "micro_batch": whole,
        "budget": seconds,
        "store": text,
        "level": _level,
    }
    settings: dict[str, Any] = {k: readers[k](k, value) if k in readers else value for k, value in table.items()}
    if "seed" in settings:
        check_seed(settings["seed"])
    for name in ("shard", "micro_batch"):
        check_whole(name, settings.get(name, 1))
    return settings


def _level(name: str, value: Any) -> float:
    return check_level(number(name, value), name)


def _report(table: dict[str, Any]) -> dict[str, Any]:
    kinds = {"formats": tuple[str, ...], "language": str, "images": int}
    settings = {name: as_type(name, value, kinds[name]) for name, value in table.items()}
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
            else _asked({"metric": table} if isinstance(table, str) else table, level)
        )
        if request.id in taken:
            raise InputError(f"Two checks are called {request.id!r}. Give one of them another `id`.")
        taken.add(request.id)
        requests.append(request)
    return tuple(requests)


def _asked(table: Any, level: float) -> CheckRequest:
    if not isinstance(table, Mapping) or not isinstance(table.get("metric"), str):
        raise InputError(f'Expected every [[check]] with `metric = "..."`, one of {", ".join(CHECKS)}; got {table!r}.')
    kind = CHECKS[table["metric"]]
    name = text("id", table.get("id", kind.name))
    where = f"the check {name!r}"
    settings = {f.name: f.type for f in fields(kind)}
    shown = [alias for alias, own in _ALIASES.items() if own in settings] + [
        s for s in settings if s not in _ALIASES.values()
    ]
    entries = known_keys(table, [*ASKED, *shown], where)
    conditions = tuple(Condition(key, number(key, entries[key])) for key in NAMES if key in entries)
    for condition in conditions:
        if condition.name not in kind.conditions:
            raise InputError(f"{where} cannot be judged by {condition.name}; it takes {', '.join(kind.conditions)}.")
    given = {_ALIASES.get(setting, setting): entries[setting] for setting in shown if setting in entries}
    check = kind(**{setting: as_type(setting, value, settings[setting]) for setting, value in given.items()})
    check_whole("images", check.images, optional=True)
    return CheckRequest(name, check, conditions or kind.usual, _level("level", entries.get("level", level)))
