"""Verdicts: one vocabulary for gates, maps, proofs and questions, in code, files and reports."""

from enum import StrEnum


class GateVerdict(StrEnum):
    """Of a figure against a threshold."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_RUN = "not run"
    ERROR = "error"


class MapVerdict(StrEnum):
    """Of an attribution map."""

    TRUST = "trust"
    DOUBT = "doubt"
    REJECT = "reject"


class ProofVerdict(StrEnum):
    """Of an image at a radius."""

    VERIFIED = "verified"
    VIOLATED = "violated"
    UNPROVEN = "unproven"


class QuestionVerdict(StrEnum):
    """Of a question asked of data."""

    FINDING = "finding"
    NO_EVIDENCE = "no evidence"
    TOO_SMALL = "too small to tell"
