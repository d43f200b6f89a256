"""JUnit: one test case per check, as continuous integration reads it."""

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

from xai.audits import Audit
from xai.reports.content import why
from xai.reports.words import Words, harmless

_CHILD = {"fail": "failure", "error": "error", "inconclusive": "skipped", "not run": "skipped"}


def junit(audit: Audit, words: Words) -> str:
    """Return a suite per family; what cannot be told or was not run is neither passed nor failed, but skipped."""
    document = audit.document
    families = list(dict.fromkeys(check["family"] for check in document["checks"]))
    root = ET.Element("testsuites", _attributes(document["title"], document["checks"]))
    for family in families:
        checks = [check for check in document["checks"] if check["family"] == family]
        suite = ET.SubElement(root, "testsuite", _attributes(words.sentence(family), checks))
        for check in checks:
            suite.append(_case(check, words))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _attributes(name: str, checks: list[Mapping[str, Any]]) -> dict[str, str]:
    kinds = [_CHILD.get(check["verdict"], "") for check in checks]
    counts = {"tests": len(checks), "failures": kinds.count("failure"), "errors": kinds.count("error")}
    return {"name": harmless(name)} | {k: str(n) for k, n in {**counts, "skipped": kinds.count("skipped")}.items()}


def _case(check: Mapping[str, Any], words: Words) -> ET.Element:
    case = ET.Element("testcase", {"classname": f"xai.{harmless(check['family'])}", "name": harmless(check["id"])})
    properties = ET.SubElement(case, "properties")
    for name, value in _properties(check).items():
        ET.SubElement(properties, "property", {"name": name, "value": harmless(str(value))})
    child = _CHILD.get(check["verdict"])
    if child is not None:
        unit = (check["measured"] or {}).get("unit")
        told = [why(one, unit, words).text for one in check["conditions"] if one["verdict"] == check["verdict"]]
        message = " ".join(told) or str(check["why"])
        verdict = words(f"verdict.{check['verdict']}")
        ET.SubElement(
            case, child, {"type": check["verdict"], "message": harmless(f"{verdict}: {message}")}
        ).text = harmless(check["reproduce"]["command"])
    return case


def _properties(check: Mapping[str, Any]) -> dict[str, Any]:
    measured = check["measured"] or {}
    held = {"metric": check["metric"], "kind": check["kind"], "verdict": check["verdict"], "level": check["level"]}
    held |= {name: measured[name] for name in ("value", "low", "high", "n", "unit") if measured.get(name) is not None}
    return held | {one["condition"]: one["threshold"] for one in check["conditions"]}
