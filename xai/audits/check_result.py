"""What a check measured, apart from any judgement, and ready to be judged again from the file alone."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np

from xai.core.results.serialization import finite, plain
from xai.stats.intervals import clopper_pearson, paired_mean

KEY_BYTES = 8  # of each image's digest, enough to find it again in another audit


@dataclass(frozen=True)
class GroupShare:
    """How many images of one class or group are right.

    Attributes:
        name: of the class, or of the group within its column.
        hits: right ones.
        n: all.
        column: of a group; "" for classes.
    """

    name: str
    hits: int
    n: int
    column: str = ""


@dataclass(frozen=True, eq=False)
class CheckResult:
    """One figure with all that judges need.

    Attributes:
        value: the figure; None where nothing could be measured.
        low: lower end of its interval; None for counts of findings, which have their own inference.
        high: upper end.
        level: of the interval.
        n: images measured.
        unit: "share", "points", "ece", "auroc", "iou", "findings" or "images/s".
        hits: right images, where the figure is a share.
        classes: per class, where the figure is a share.
        groups: per group of each group column.
        rows: (n,) numbers of the images in the data of the audit; None where the figure has no single images.
        outcomes: (n,) bool right or wrong, or float64, one per image of `rows`.
        undecided: of findings: what was too small to tell; "" when everything was decided.
        detectable: of findings: the smallest effect that would have been seen, four times in five.
        needed: of findings: images that would settle what is undecided.
        doubts: what speaks against the figure itself; a check with doubts does not pass.
        claim: one sentence with the figure.
        facts: further figures, JSON-ready.
        tables: rows for reports, by name.
        curves: columns of equal length for reports, by name.
        evidence: images for reports, see `artifacts.Album`.
        notes: what was done and what to beware of.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    n: int
    unit: str
    hits: int | None = None
    classes: tuple[GroupShare, ...] = ()
    groups: tuple[GroupShare, ...] = ()
    rows: np.ndarray | None = field(default=None, repr=False)
    outcomes: np.ndarray | None = field(default=None, repr=False)
    undecided: str = ""
    detectable: float | None = None
    needed: int | None = None
    doubts: tuple[str, ...] = ()
    claim: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    evidence: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready; numbers that are not finite become None, arrays base64 text."""
        content = {f.name: finite(plain(getattr(self, f.name))) for f in fields(self) if f.name not in _SPECIAL}
        content |= {name: [vars(share) for share in getattr(self, name)] for name in ("classes", "groups")}
        return content | {"rows": encode(self.rows, "<i4"), "outcomes": _outcomes(self.outcomes)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return what `to_dict` wrote.

        Raises:
            LookupError, TypeError, ValueError: it did not write this.
        """
        values = {f.name: content[f.name] for f in fields(cls)}
        values |= {name: tuple(GroupShare(**share) for share in content[name]) for name in ("classes", "groups")}
        values |= {name: tuple(content[name]) for name in ("doubts", "evidence", "notes")}
        values["rows"] = None if content["rows"] is None else decode(content["rows"], "<i4")
        values["outcomes"] = _read_outcomes(content["outcomes"])
        return cls(**values)


_SPECIAL = {"classes", "groups", "rows", "outcomes"}


def share_of(
    right: np.ndarray,
    rows: np.ndarray,
    level: float,
    *,
    classes: Sequence[GroupShare] = (),
    groups: Sequence[GroupShare] = (),
    **rest: Any,
) -> CheckResult:
    """Return the share of right images with its exact interval.

    Args:
        right: (n,) bool.
        rows: (n,) their numbers in the data.
        level: of the interval.
        classes: the same per class.
        groups: the same per group.
        rest: further fields of the measurement.
    """
    hits, n = int(right.sum()), len(right)
    low, high = clopper_pearson(hits, n, level)
    value = hits / n if n else None
    own: dict[str, Any] = {"rows": rows.astype(np.int64), "outcomes": right.astype(bool), "hits": hits}
    return CheckResult(value, low, high, level, n, "share", **own, classes=tuple(classes), groups=tuple(groups), **rest)


def mean_share_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """Return the t-interval of a mean of shares (n,), within 0 and 1; of a single one 0 to 1."""
    if len(values) < 2:
        return 0.0, 1.0
    _, low, high, _ = paired_mean(np.zeros(len(values)), values, level)
    return max(0.0, low), min(1.0, high)


def shares_by(codes: np.ndarray, right: np.ndarray, names: Sequence[str], column: str = "") -> tuple[GroupShare, ...]:
    """Return the share of right images of each class or group that occurs.

    Args:
        codes: (n,) class or group of each image.
        right: (n,) bool.
        names: of the classes or groups.
        column: of the groups.
    """
    counts = np.bincount(codes, minlength=len(names))
    hits = np.bincount(codes, weights=right, minlength=len(names)).astype(int)
    return tuple(
        GroupShare(name, int(h), int(c), column) for name, h, c in zip(names, hits, counts, strict=True) if int(c) > 0
    )


def encode(values: np.ndarray | None, kind: str) -> str | None:
    """Return numbers of a type as base64 text."""
    return None if values is None else base64.b64encode(np.asarray(values).astype(kind).tobytes()).decode()


def decode(text: str, kind: str) -> np.ndarray:
    """Return the numbers of such a text."""
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=kind).copy()


def _outcomes(values: np.ndarray | None) -> dict[str, Any] | None:
    if values is None:
        return None
    if values.dtype == bool:
        return {"kind": "hits", "n": len(values), "data": encode(np.packbits(values), "u1")}
    return {"kind": "values", "n": len(values), "data": encode(values, "<f8")}


def _read_outcomes(content: Mapping[str, Any] | None) -> np.ndarray | None:
    if content is None:
        return None
    if content["kind"] == "hits":
        return np.unpackbits(decode(content["data"], "u1"), count=int(content["n"])).astype(bool)
    return decode(content["data"], "<f8")
