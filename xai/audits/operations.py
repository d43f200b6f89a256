"""Operations on audits beside the run. They plan, share, judge again, control, report and write tests."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from xai.core.registry import Registry

_MODULES = {
    "available_checks": "audits.audit",
    "broken_copy": "audits.fault_injection",
    "init": "audits.starter",
    "plan": "audits.execution.estimate",
    "positive_control": "audits.control",
    "rejudge": "audits.audit",
    "report": "reports.write",
    "share": "audits.audit",
    "write_tests": "reports.regression_tests",
}
OPERATIONS: Registry[Callable[..., Any]] = Registry("operation of audits", "xai", _MODULES)


class AuditOperations:
    """Methods of `Audit` whose code is imported when they are called."""

    @staticmethod
    def plan(
        config: Any = None,
        *,
        out: str | os.PathLike[str] | None = None,
        only: Sequence[str] | None = None,
        baseline: Any = None,
        seed: int | None = None,
        **given: Any,
    ) -> Any:
        """Return what `xai.audit` would do with the same arguments, and about how long it would take.

        Args:
            config: as of `xai.audit`.
            out: the folder whose finished work counts.
            only: ids of checks; the others are left out.
            baseline: as of `xai.audit`.
            seed: as of `xai.audit`.
            given: `model`, `data`, `checks`, `train`, `calibration`, `ood` of `xai.audit`.

        Returns:
            An `AuditPlan`: each check with its images, the work left and the estimated time.

        Raises:
            InputError: settings, a model or data that cannot be used.
            NameLookupError: an unknown key, check or setting.

        Cost: a pass over the images, and each kind of work on at most 43 of them, for about three seconds.

        Example:
            >>> import xai
            >>> data = xai.load_data("example:fashion-test").subset(50)
            >>> plan = xai.Audit.plan(model="example:fashion", data=data, checks=["accuracy", "calibration"])
            >>> len(plan.checks)
            2
        """
        return OPERATIONS["plan"](config, out=out, only=only, baseline=baseline, seed=seed, **given)

    @staticmethod
    def share(config: Any, index: int, count: int, *, out: str | os.PathLike[str], **given: Any) -> tuple[int, int]:
        """Do one share of the work of an audit and write no report: for arrays of jobs over one folder.

        Args:
            config: as of `audit`.
            index: of this job, from 0.
            count: of jobs.
            out: the folder that all jobs share.
            given: `model`, `data`, `progress`, `should_stop` of `audit`.

        Returns:
            How many work items are left to all jobs, and how many there are.

        Raises:
            InputError: as of `audit`, or an impossible share.

        Example:
            >>> import tempfile, xai
            >>> data = xai.load_data("example:fashion-test").subset(50)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     asked = {"check": [{"metric": "accuracy"}]}
            ...     xai.Audit.share(asked, 0, 1, model="example:fashion", data=data, out=folder)
            (0, 1)
        """
        result: tuple[int, int] = OPERATIONS["share"](config, index, count, out=out, **given)
        return result

    @staticmethod
    def positive_control(
        config: Any = None,
        *,
        baseline: Any = None,
        out: str | os.PathLike[str] | None = None,
        only: Sequence[str] | None = None,
        progress: Any = None,
        should_stop: Callable[[], bool] | None = None,
        **given: Any,
    ) -> dict[str, str]:
        """Put every gate of an audit before something that it must fail: a gate that cannot fail proves nothing.

        Each gate has its own breakage: answers moved by one class (accuracy, robustness, corruptions, certificates,
        calibration), random mixtures of the scores (maps), a model that sees noise (OOD images), one that knows its
        training images by heart (generalisation gap), one that is wrong on a group or on dark images (gaps, slices),
        one that hangs on a mark in the corner (shortcuts), one that waits (speed), and images that occur twice (faults
        of the data). The model itself stays as it is.

        Args:
            config: as of `xai.audit`.
            baseline: as of `xai.audit`.
            out: folder; results go to `control/` in it, and are found there by the next call.
            only: ids of checks; None takes all that have a condition.
            progress: None, True for a bar, or a callable `(done, total)` in gates.
            should_stop: asked between work items; True ends the call with `xai.errors.Stopped`.
            given: `model`, `data`, `checks`, `train`, `calibration`, `ood` of `xai.audit`.

        Returns:
            The verdict of each gate by the id of its check: "fail" is what it should be; "not run" where the audit
            itself could not ask.

        Raises:
            InputError: as of `xai.audit`; a condition allows more shortcuts or weak slices than can be made on purpose.
            NameLookupError: no such check.
            Stopped: `should_stop()` was true.

        Cost: that of the audit's gates once more; attacks on a model that is wrong everywhere cost little.

        Example:
            >>> import xai
            >>> data = xai.load_data("example:fashion-test").subset(60)
            >>> gates = [{"metric": "accuracy", "at_least": 0.5}]
            >>> xai.Audit.positive_control(model="example:fashion", data=data, checks=gates)
            {'accuracy': 'fail'}
        """
        result: dict[str, str] = OPERATIONS["positive_control"](
            config, baseline=baseline, out=out, only=only, progress=progress, should_stop=should_stop, **given
        )
        return result

    @staticmethod
    def available_checks() -> list[Any]:
        """Return every check that an audit can ask, in the order of their names.

        Returns:
            A `CheckInfo` of each.

        Example:
            >>> import xai
            >>> [check.name for check in xai.Audit.available_checks() if check.family == "robustness"]
            ['certified_accuracy', 'corruption_accuracy', 'robust_accuracy']
        """
        result: list[Any] = OPERATIONS["available_checks"]()
        return result

    @staticmethod
    def init(
        folder: str | os.PathLike[str] = ".",
        model: str | Mapping[str, Any] | None = None,
        *,
        data: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> tuple[Path, ...]:
        """Write an xai.toml for a model and data, a GitHub workflow and a test that must be able to fail.

        With `data` the model is loaded and the data read: the file names parts, columns and class names, asks the
        checks that can be asked, takes the way of resizing that is significantly more accurate, and says what was read.

        Args:
            folder: to write into.
            model: anything that `xai.load` takes by name or path, or a mapping with "source" and settings of
            `xai.load`; None takes "example:fashion" and its data.
            data: anything that `xai.load_data` takes by name or path, or a mapping with "source" and its settings; None
                leaves the data of a model of one's own to fill in. A table needs no usual names of its columns.
            overwrite: whether to replace files that are there.

        Returns:
            The files written.

        Raises:
            InputError: a file is there already, and `overwrite` is False; a model or data that is not there, or that do
            not go together. Nothing is written then.
            NameLookupError: no such model of the toolkit's own, or no such setting; near names are suggested.
            RecordError: the folder cannot be written.

        Cost: with `data` a pass over at most 2,000 images of each table, and four forwards of at most 400.

        Example:
            >>> import tempfile, xai
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     [path.name for path in xai.Audit.init(folder)]
            ['xai.toml', 'test_audit.py', 'audit.yml']
        """
        result: tuple[Path, ...] = OPERATIONS["init"](folder, model, data=data, overwrite=overwrite)
        return result

    @staticmethod
    def broken_copy(classifier: Any) -> Any:
        """Return a copy that answers the next class with the confidence of the right one; the original stays as it is.

        The rows of the last layer are moved by one class (with one output, its sign is turned), so that the copy is as
        sure as the original and wrong wherever that is right. Where the last layer has not one row per class, all
        weights are drawn anew by a fixed seed.

        Args:
            classifier: to copy.

        Example:
            >>> import xai
            >>> clf = xai.load("example:fashion")
            >>> data = xai.load_data("example:fashion-test").subset(3)
            >>> broken = xai.Audit.broken_copy(clf)
            >>> clf.predict(data.images[:]).index.tolist() == broken.predict(data.images[:]).index.tolist()
            False
        """
        return OPERATIONS["broken_copy"](classifier)

    def rejudge(self, config: Any, *, baseline: Any = None) -> Self:
        """Judge a saved audit by the conditions of a file, without computing anything again.

        The figures stay; the record says that thresholds were set after they were known.

        Args:
            config: `xai.toml` with the same checks and other conditions.
            baseline: to compare with, in place of the file's.

        Returns:
            The audit, judged anew.

        Raises:
            InputError: the file asks for something that was not measured.

        Example:
            >>> import xai
            >>> data = xai.load_data("example:fashion-test").subset(200)
            >>> found = xai.audit(model="example:fashion", data=data, checks=[{"metric": "accuracy", "at_least": 0.5}])
            >>> strict = {"model": {"source": "example:fashion"}, "data": {"source": "example:fashion-test"}}
            >>> strict["check"] = [{"metric": "accuracy", "at_least": 0.999}]
            >>> found.rejudge(strict).verdict
            'fail'
        """
        result: Self = OPERATIONS["rejudge"](self, config, baseline=baseline)
        return result

    def write_tests(self, folder: str | Path, *, model: Any = None, root: str | Path | None = None) -> tuple[Path, ...]:
        """Turn each finding into a regression test, with at most 200 KB of frozen images.

        The test file is the same for every audit; names and settings are in a JSON file, which runs nothing. Images are
        frozen at the model's input size. Each test of an image is tried on the audited model first and written only if
        it is red there and an answer that is right turns it green; a gate is written only if the tests would put the
        same question to the same model and images. `left_out` in cases.json says what was not written, and why.

        Args:
            folder: of tests; `test_audit_findings.py` and `audit_findings/` are written there.
            model: the audited model, where it was given as an object; the tests then use the fixture `xai_model`, which
                your conftest.py must have. None loads the model as the audit's settings say, and so do the tests.
            root: folder that relative paths of the audit start from, that of xai.toml; None is the working directory.

        Returns:
            The files written.

        Raises:
            InputError: the model cannot be loaded as the audit's settings say, or another one was audited.
            RecordError: the folder cannot be written.

        Cost: a prediction per image, and a pass over the data to identify it.

        Example:
            >>> import xai
            >>> data = xai.load_data("example:fashion-test").subset(100)
            >>> import tempfile
            >>> checks = [{"metric": "accuracy", "at_least": 0.999}]
            >>> found = xai.audit(model="example:fashion", data=data, checks=checks)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     any(path.suffix == ".py" for path in found.write_tests(folder))
            True
        """
        result: tuple[Path, ...] = OPERATIONS["write_tests"](self, folder, model=model, root=root)
        return result
