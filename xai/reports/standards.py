"""Which evidence of an audit belongs to which requirement: a reading aid for people who know the texts.

The texts are Regulation (EU) 2024/1689 (AI Act), the NIST AI Risk Management Framework 1.0, ISO/IEC TR 24029-1:2021
(robustness of neural networks), ISO/IEC 24029-2:2023 (formal methods for it) and ISO/IEC TR 24027:2021 (bias).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MET, NOT_MET, INCONCLUSIVE, NOT_TESTED = "met", "not met", "inconclusive", "not tested"
_DECLARED = "before the first forward"


@dataclass(frozen=True)
class Requirement:
    """One line of the matrix.

    Attributes:
        source: text and place in it.
        key: message that says what is asked.
        metrics: whose checks are evidence.
    """

    source: str
    key: str
    metrics: tuple[str, ...]


REQUIREMENTS = (
    Requirement("EU AI Act, Art. 9(8)", "req.declared", ()),
    Requirement("EU AI Act, Art. 10(2)(f), (g)", "req.bias", ("group_gap", "shortcuts", "slices")),
    Requirement("EU AI Act, Art. 10(3)", "req.data", ("data_faults",)),
    Requirement("EU AI Act, Art. 13(1)", "req.explain", ("faithfulness", "stability", "explanation_drift")),
    Requirement("EU AI Act, Art. 15(1), (3)", "req.accuracy", ("accuracy",)),
    Requirement("EU AI Act, Art. 15(4)", "req.robust", ("corruption_accuracy",)),
    Requirement("EU AI Act, Art. 15(5)", "req.attack", ("robust_accuracy",)),
    Requirement("NIST AI RMF, MEASURE 2.5", "req.valid", ("accuracy", "generalisation_gap")),
    Requirement("NIST AI RMF, MEASURE 2.5", "req.calibration", ("calibration",)),
    Requirement("NIST AI RMF, MEASURE 2.6", "req.ood", ("ood_detection",)),
    Requirement("NIST AI RMF, MEASURE 2.7", "req.attack", ("robust_accuracy", "certified_accuracy")),
    Requirement("NIST AI RMF, MEASURE 2.9", "req.explain", ("faithfulness", "stability")),
    Requirement("NIST AI RMF, MEASURE 2.11", "req.bias", ("group_gap", "shortcuts", "slices")),
    Requirement("ISO/IEC TR 24029-1", "req.robust", ("corruption_accuracy", "robust_accuracy")),
    Requirement("ISO/IEC 24029-2", "req.formal", ("certified_accuracy",)),
    Requirement("ISO/IEC TR 24027", "req.bias", ("group_gap",)),
)


@dataclass(frozen=True)
class Line:
    """One requirement, judged.

    Attributes:
        requirement: what is asked.
        status: "met", "not met", "inconclusive" or "not tested".
        gated: ids of checks with a threshold, and their verdicts.
        ungated: ids of checks that only measured.
    """

    requirement: Requirement
    status: str
    gated: tuple[tuple[str, str], ...]
    ungated: tuple[str, ...]


def matrix(document: Mapping[str, Any]) -> tuple[Line, ...]:
    """Return every requirement with what the audit says of it."""
    return tuple(_line(requirement, document) for requirement in REQUIREMENTS)


def _line(requirement: Requirement, document: Mapping[str, Any]) -> Line:
    if not requirement.metrics:
        return Line(requirement, _declared(document["thresholds"]), (), ())
    held = [check for check in document["checks"] if check["metric"] in requirement.metrics]
    gated = tuple((check["id"], check["verdict"]) for check in held if check["asked"] and check["verdict"] != "not run")
    ungated = tuple(check["id"] for check in held if check["verdict"] == "measured")
    return Line(requirement, _status([verdict for _, verdict in gated]), gated, ungated)


def _declared(thresholds: Mapping[str, Any]) -> str:
    if not thresholds["conditions"]:
        return NOT_TESTED
    return MET if thresholds["declared"] == _DECLARED else NOT_MET


def _status(verdicts: Sequence[str]) -> str:
    """Return the worst: a requirement is met only when all that was judged passed."""
    if not verdicts:
        return NOT_TESTED
    if "fail" in verdicts:
        return NOT_MET
    return MET if set(verdicts) == {"pass"} else INCONCLUSIVE
