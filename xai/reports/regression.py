"""`write_tests`: the findings of an audit as tests, with the pictures that showed them."""

import json
import re
from collections.abc import Mapping
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from xai.audits import Audit
from xai.audits.config import as_in_file
from xai.audits.store import publish
from xai.errors import RecordError

MOST_BYTES = 200_000  # of all frozen pictures
_TEST, _FOLDER = "test_audit_findings.py", "audit_findings"
_LABELLED = ("accuracy", "corruption_accuracy", "robust_accuracy")  # whose pictures have a right answer
_CHANGED = ("adversarial", "corrupted", "planted")
_JUDGED = ("fail", "inconclusive")
_OTHERS = ("train", "calibration")


def write_tests(audit: Audit, folder: str | Path) -> tuple[Path, ...]:
    """Turn each finding into a regression test, with at most 200 KB of frozen pictures.

    The test file is the same for every audit; names and settings are in a JSON file, which runs nothing.

    Args:
        audit: its findings.
        folder: of tests; `test_audit_findings.py` and `audit_findings/` are written there.

    Returns:
        The files written.

    Raises:
        RecordError: the folder cannot be written.

    Example:
        >>> import xai
        >>> data = xai.load_data("example:fashion-test").subset(100)
        >>> import tempfile
        >>> found = xai.audit(model="example:fashion", data=data, checks=[{"metric": "accuracy", "at_least": 0.999}])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     any(path.suffix == ".py" for path in xai.write_tests(found, folder))
        True
    """
    place = Path(folder)
    pictures, content = _pictures(audit)
    found = [one for one in audit.document["findings"] if one["verdict"] in _JUDGED]
    ids = list(dict.fromkeys(one["check"] for one in found))
    gates: list[dict[str, Any]] = [{"name": _plain(id_, k), "check": _asked(audit, id_)} for k, id_ in enumerate(ids)]
    cases = {"audit": _tables(audit), "pictures": pictures, "gates": gates}
    text = (resources("xai.reports") / "starters" / "test_audit_findings.txt").read_text(encoding="utf-8")
    written = {place / _FOLDER / name: png for name, png in content.items()}
    written[place / _FOLDER / "cases.json"] = (json.dumps(cases, indent=1) + "\n").encode()
    written[place / _TEST] = text.encode()
    for path, held in written.items():
        publish(path, held)
    return tuple(written)


def _pictures(audit: Audit) -> tuple[list[dict[str, str]], dict[str, bytes]]:
    cases: list[dict[str, str]] = []
    content: dict[str, bytes] = {}
    for finding in audit.document["findings"]:
        for exhibit in finding["evidence"] if finding["verdict"] in _JUDGED else ():
            case = _case(finding, exhibit)
            png = None if case is None else _file(audit, case["file"])
            if case is None or png is None or case["file"] in content:
                continue
            if sum(map(len, content.values())) + len(png) > MOST_BYTES:
                continue
            content[case["file"]] = png
            cases.append({"name": _plain(finding["check"], len(cases)), **case})
    return cases, content


def _case(finding: Mapping[str, Any], exhibit: Mapping[str, Any]) -> dict[str, str] | None:
    """Return what is known of an exhibit's picture; None where it has no right or wrong answer."""
    pictures = {one["role"]: one["file"].removeprefix("evidence/") for one in exhibit["images"]}
    role = next((role for role in _CHANGED if role in pictures), "picture")
    facts = exhibit["facts"]
    if role not in pictures or not pictures[role].endswith(".png"):
        return None
    case = {"file": pictures[role], "check": finding["check"], "picture": exhibit["picture"]}
    if role == "planted" and "predicted" in facts:
        return case | {"not": facts["predicted"]}
    return case | {"label": facts["label"]} if finding["metric"] in _LABELLED and "label" in facts else None


def _file(audit: Audit, name: str) -> bytes | None:
    try:
        return audit.files[name]
    except (KeyError, RecordError):
        return None


def _asked(audit: Audit, id_: str) -> dict[str, Any]:
    """Return a check as it would stand in the file."""
    return as_in_file(next(one for one in audit.document["settings"]["checks"] if one["id"] == id_))


def _tables(audit: Audit) -> dict[str, Any]:
    settings = audit.document["settings"]
    others = settings["others"]
    found = {"model": settings["model"], "data": settings["data"], "audit": {"seed": settings["audit"]["seed"]}}
    found |= {name: others[name] for name in _OTHERS if name in others}
    foreign = {name.removeprefix("ood:"): source for name, source in others.items() if name.startswith("ood:")}
    return found | ({"ood": foreign} if foreign else {})


def _plain(id_: str, k: int) -> str:
    """Return a name for a test: letters and digits, told apart by a number."""
    return f"{re.sub(r'[^A-Za-z0-9_.]+', '-', id_).strip('-')[:60]}-{k}"
