"""The pytest plugin: `pytest xai.toml` runs an audit as tests, and `xai_check` asks one question in a test of yours.

Nothing is imported before a test needs it: a run that does not use the plugin pays for this file alone.
"""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

_SHOWN = 3  # images named in a failure


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("xai", "audits of image classifiers")
    group.addoption(
        "--xai-out", metavar="DIR", help="folder of results and finished work; default: .xai/ beside the file"
    )
    group.addoption("--xai-report", metavar="KINDS", help="reports to write of a whole audit, such as html,md,junit")
    group.addoption(
        "--xai-inconclusive",
        choices=("skip", "fail"),
        default="skip",
        help="outcome of inconclusive checks (skip)",
    )
    group.addoption(
        "--xai-no-control", action="store_true", help="leave out the positive control, which injects faults"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark that all tests of an audit have."""
    config.addinivalue_line("markers", "xai: a check of an audit")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect an audit that was named on the command line; others are left alone, for they may take minutes."""
    if file_path.suffix == ".toml" and parent.session.isinitpath(file_path):
        return AuditFile.from_parent(parent, path=file_path)
    return None


class AuditFile(pytest.File):
    """One xai.toml, audited once, when its first test runs."""

    _finished: Any = None
    _error: Exception | None = None

    def collect(self) -> Iterator[pytest.Item]:
        """Yield a test per check, and one for the positive control."""
        checks = _checks(self.path)
        for check in checks:
            yield CheckItem.from_parent(self, name=_name(check), id_=check.get("id", check["metric"]))
        if not checks:
            yield CheckItem.from_parent(self, name="audit", id_=None)
        if checks and not self.config.getoption("--xai-no-control"):
            yield ControlItem.from_parent(self, name="positive control")

    @property
    def folder(self) -> Path:
        """Where results go."""
        given = self.config.getoption("--xai-out")
        return Path(given) if given else self.path.parent / ".xai" / self.path.stem

    def audit(self) -> Any:
        """Return the audit of the tests that were selected; an error is raised again for each of them."""
        if self._error is not None:
            raise self._error
        if self._finished is None:
            try:
                self._finished = self._run()
            except Exception as error:
                self._error = error
                raise
        return self._finished

    def _run(self) -> Any:
        import xai

        items = [item for item in self.session.items if isinstance(item, CheckItem) and item.parent is self]
        ids = [item.check_id for item in items if item.check_id is not None]
        whole = len(ids) == len(_checks(self.path)) or not ids
        terminal = _Terminal(self.config, self.path.name)
        with terminal.telling():
            audit = xai.audit(self.path, out=self.folder, only=None if whole else ids, progress=terminal)
        kinds = [kind.strip() for kind in (self.config.getoption("--xai-report") or "").split(",") if kind.strip()]
        for kind in kinds if whole else ():
            audit.report(self.folder, kind=kind)
        if "md" in kinds and whole and os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as summary:
                summary.write((self.folder / "summary.md").read_text(encoding="utf-8"))
        return audit


class _Terminal(logging.Handler):
    """Lines in the terminal while the tests of an audit run: what xai says, and each tenth of the work."""

    def __init__(self, config: pytest.Config, name: str) -> None:
        super().__init__()
        self._writer: Any = config.pluginmanager.get_plugin("terminalreporter")  # none in a worker of pytest-xdist
        self._capture: Any = config.pluginmanager.get_plugin("capturemanager")
        self._name, self._tenths = name, -1

    def __call__(self, done: int, total: int) -> None:
        """Tell how much of the work is done."""
        tenths = 10 * done // max(1, total)
        if tenths > self._tenths:
            self._tenths = tenths
            self._write(f"{100 * done // max(1, total)} % of the work is done")

    def emit(self, record: logging.LogRecord) -> None:
        """Tell what xai says."""
        self._write(record.getMessage())

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Tell what xai says meanwhile."""
        log = logging.getLogger("xai")
        before = log.level
        log.setLevel(logging.INFO)
        log.addHandler(self)
        try:
            yield
        finally:
            log.removeHandler(self)
            log.setLevel(before)

    def _write(self, text: str) -> None:
        if self._writer is None:
            return
        with nullcontext() if self._capture is None else self._capture.global_and_fixture_disabled():
            self._writer.ensure_newline()
            self._writer.write_line("".join(c if c.isprintable() else " " for c in f"{self._name}: {text}"))


class _Item(pytest.Item):
    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.add_marker("xai")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return what failed, without a traceback where xai itself says what is wrong."""
        import xai

        if isinstance(excinfo.value, Failed | xai.XaiError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return where it stands."""
        return self.path, None, f"{self.path.name}: {self.name}"


class CheckItem(_Item):
    """One check of an audit."""

    def __init__(self, *, id_: str | None, **given: Any) -> None:
        super().__init__(**given)
        self.check_id = id_

    def runtest(self) -> None:
        """Judge it."""
        audit = self.parent.audit()  # type: ignore[union-attr]  # its parent is an AuditFile
        if self.check_id is None:
            judge(audit.verdict, str(audit), self.config)
            return
        check = audit[self.check_id]
        self.user_properties += [(name, value) for name, value in _properties(check).items() if value is not None]
        judge(check["verdict"], text_of(check), self.config)


class ControlItem(_Item):
    """The positive control: each gate on an injected fault, which it must fail."""

    def runtest(self) -> None:
        """Ask every gate that is not left out."""
        import xai

        file: Any = self.parent
        ids = [item.check_id for item in self.session.items if isinstance(item, CheckItem) and item.parent is file]
        terminal = _Terminal(self.config, f"{file.path.name}, positive control")
        some = [id_ for id_ in ids if id_] or None
        verdicts = xai.Audit.positive_control(file.path, only=some, out=file.folder, progress=terminal)
        passed = [f"{name} ({verdict})" for name, verdict in verdicts.items() if verdict not in {"fail", "not run"}]
        if passed:
            raise Failed(f"an injected fault does not fail {', '.join(passed)}: these gates cannot fail")


class Failed(AssertionError):  # noqa: N818
    """A gate that does not hold."""


class XaiCheck:
    """The fixture `xai_check`: `xai_check("accuracy", model=m, data=d).at_least(0.9)`.

    Attributes:
        Failed: what is raised when a gate does not hold.
    """

    Failed = Failed

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def __call__(self, metric: str, *, model: Any = None, data: Any = None, **settings: Any) -> Question:
        """Ask a question; nothing is computed before a condition follows.

        Args:
            metric: name of a check, such as "robust_accuracy".
            model: anything that `xai.audit` takes; None takes that of `xai.toml` in the root of the tests.
            data: labelled images, likewise.
            settings: of the check, and `train`, `calibration`, `ood`, `baseline` of the audit.
        """
        return Question(self._config, metric, model, data, settings)


class Question:
    """A check that waits for its condition."""

    def __init__(self, config: pytest.Config, metric: str, model: Any, data: Any, settings: dict[str, Any]) -> None:
        self._config, self._metric, self._model, self._data, self._settings = config, metric, model, data, settings

    def at_least(self, value: float, *, worst_class: float | None = None, worst_group: float | None = None) -> Any:
        """Raise `Failed` unless the figure is at least this; skip where that is inconclusive; return the check."""
        return self._judged(at_least=value, worst_class_at_least=worst_class, worst_group_at_least=worst_group)

    def at_most(self, value: float) -> Any:
        """Raise `Failed` unless the figure is at most this; skip where that is inconclusive; return the check."""
        return self._judged(at_most=value)

    def max_drop(self, value: float) -> Any:
        """Raise `Failed` if the figure dropped by more than this against `baseline`, image by image."""
        return self._judged(max_drop_vs_baseline=value)

    def _judged(self, **conditions: float | None) -> Any:
        import xai

        thresholds = {name: value for name, value in conditions.items() if value is not None}
        roles = ("train", "calibration", "ood", "baseline")
        given = {name: self._settings[name] for name in roles if name in self._settings}
        own = {name: value for name, value in self._settings.items() if name not in roles}
        file = self._config.rootpath / "xai.toml"
        whole = self._model is not None and self._data is not None
        source = None if whole or not file.is_file() else file
        out = None if source is None else self._config.rootpath / ".xai" / "tests"
        checks = [{"metric": self._metric, **own, **thresholds}]
        audit = xai.audit(source, model=self._model, data=self._data, checks=checks, out=out, **given)
        check = audit.checks[0]
        judge(check["verdict"], text_of(check), self._config)
        return check


@pytest.fixture(scope="session")
def xai_check(pytestconfig: pytest.Config) -> XaiCheck:
    """Ask one question of an audit: `xai_check("accuracy", model=m, data=d).at_least(0.9)`."""
    return XaiCheck(pytestconfig)


def judge(verdict: str, text: str, config: pytest.Config) -> None:
    """Fail, skip or return, by a verdict; what was not run or is inconclusive is neither passed nor failed."""
    if verdict in {"fail", "error"}:
        raise Failed(text)
    if verdict == "inconclusive" and config.getoption("--xai-inconclusive") == "fail":
        raise Failed(text)
    if verdict in {"inconclusive", "not run"}:
        pytest.skip(text.splitlines()[0])


def text_of(check: Mapping[str, Any]) -> str:
    """Return verdict, figure, threshold, the worst images and how to repeat it."""
    lines = [f"{check['verdict']}: {check['why']}"]
    lines += [
        f"  smallest difference that would have been seen: {condition['detectable']:.3g}"
        for condition in check["conditions"]
        if condition["detectable"] is not None
    ][:1]
    evidence = (check["measured"] or {}).get("evidence", ())[:_SHOWN]
    lines += [f"  {exhibit['caption']}" for exhibit in evidence]
    lines.append(f"  again: {check['reproduce']['command']}")
    return "\n".join("".join(c if c.isprintable() else " " for c in line) for line in lines)


def _properties(check: Mapping[str, Any]) -> dict[str, Any]:
    measured = check["measured"] or {}
    return {name: measured.get(name) for name in ("value", "low", "high", "n", "unit")} | {"verdict": check["verdict"]}


def _tables(path: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise pytest.Collector.CollectError(f"{path}: no TOML ({error})") from error
    tables = tables.get("tool", {}).get("xai", {}) if path.name == "pyproject.toml" else tables
    if not isinstance(tables.get("model"), dict):
        raise pytest.Collector.CollectError(f'{path}: no audit; expected a table [model] with `source = "..."`')
    return tables


def _checks(path: Path) -> list[dict[str, Any]]:
    listed = _tables(path).get("check", [])
    usable = isinstance(listed, list) and all(isinstance(table, dict) and "metric" in table for table in listed)
    if not usable:
        raise pytest.Collector.CollectError(f'{path}: expected every [[check]] with `metric = "..."`')
    return list(listed)


def _name(check: Mapping[str, Any]) -> str:
    """Return the name of a test; unprintable characters are left out."""
    text = str(check.get("id", check["metric"]))
    return "".join(c if c.isprintable() else " " for c in text)
