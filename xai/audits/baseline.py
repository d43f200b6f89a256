"""The baseline of an audit, and `compare` for two audits of the same images.

Checks are compared one by one, with paired differences.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from xai.audits.check_result import CheckResult, decode
from xai.audits.conditions import PairedOutcome
from xai.audits.config import Config
from xai.audits.execution.plan import baseline_path
from xai.audits.record import Audit
from xai.core.results.codec import finite, plain
from xai.core.results.message import Message, frame_of
from xai.errors import InputError
from xai.stats.intervals import drop_interval, holm, mcnemar, paired_mean

if TYPE_CHECKING:
    import pandas as pd


def keys_of(document: Mapping[str, Any]) -> list[bytes]:
    """Return the digests of the images of an audit."""
    size = int(document["images"]["key_bytes"])
    joined = decode(document["images"]["keys"], "u1").tobytes()
    return [joined[start : start + size] for start in range(0, len(joined), size)]


def measured_in(document: Mapping[str, Any], id_: str) -> CheckResult | None:
    """Return what a check of a document measured; None where it has no such check, or it was not run."""
    for check in document["checks"]:
        if check["id"] == id_ and check["measured"] is not None:
            return CheckResult.from_dict(check["measured"])
    return None


def pair_of(
    before: CheckResult, before_keys: Sequence[bytes], after: CheckResult, after_keys: Sequence[bytes]
) -> PairedOutcome | None:
    """Return the outcomes of the images that both measured, in the order of the second; None without outcomes."""
    if any(result.rows is None or result.outcomes is None for result in (before, after)):
        return None
    assert before.rows is not None
    assert before.outcomes is not None
    assert after.rows is not None
    assert after.outcomes is not None
    if before.outcomes.dtype != after.outcomes.dtype:
        return None
    place = {before_keys[int(row)]: k for k, row in enumerate(before.rows)}
    both = [(k, place[after_keys[int(row)]]) for k, row in enumerate(after.rows) if after_keys[int(row)] in place]
    mine, theirs = np.array([k for k, _ in both], dtype=np.int64), np.array([j for _, j in both], dtype=np.int64)
    return PairedOutcome(before.outcomes[theirs], after.outcomes[mine])


def pairs_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, PairedOutcome]:
    """Return the pairs of all checks that two documents share."""
    names = [check["id"] for check in after["checks"]]
    before_keys, after_keys = keys_of(before), keys_of(after)
    pairs = {}
    for name in names:
        old, new = measured_in(before, name), measured_in(after, name)
        pair = None if old is None or new is None else pair_of(old, before_keys, new, after_keys)
        if pair is not None and len(pair.before):
            pairs[name] = pair
    return pairs


BETTER, WORSE, CANNOT_TELL, NOT_PAIRED = "better", "worse", "cannot tell", "not paired"


@dataclass(frozen=True)
class Difference:
    """One check in two audits.

    Attributes:
        id: of the check.
        title: in words.
        unit: of the figure.
        before: figure of the first audit, on all its images.
        after: of the second.
        n: images that both measured.
        difference: after - before on these; None where the check has no figure per image.
        low: lower end of its interval.
        high: upper end.
        p_value: of no difference, two-sided and paired: McNemar's exact test for shares, a t-test for means.
        adjusted: for all checks that are compared (Holm).
        verdict: "better", "worse", "cannot tell", or "not paired".
        verdicts: of the check in both audits.
    """

    id: str
    title: str
    unit: str
    before: float | None
    after: float | None
    n: int
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    adjusted: float | None
    verdict: str
    verdicts: tuple[str, str]

    def __str__(self) -> str:
        """One line."""
        if self.difference is None:
            return f"{self.id}: {_shown(self.before)} -> {_shown(self.after)} ({self.verdict})"
        span = f"{self.low:+.4f} to {self.high:+.4f}"
        return f"{self.id}: {self.difference:+.4f} ({span}; {self.n:,} images, p {self.adjusted:.2g}): {self.verdict}"


@dataclass(frozen=True)
class AuditComparison:
    """Two audits, the first being what the second is measured by.

    Attributes:
        differences: one per check that both have.
        before: model and data of the first.
        after: of the second.
        shared: images that are in both.
        level: of the intervals.
        only_before: checks that the second does not have.
        only_after: checks that the first does not have.
        notes: what to beware of.

    Example:
        >>> import xai
        >>> data = xai.load_data("example:fashion-test").subset(50)
        >>> before, after = (
        ...     xai.audit(model=f"example:fashion{kind}", data=data, checks=["accuracy"]) for kind in ("", "-robust")
        ... )
        >>> xai.compare(before, after).shared
        50
    """

    differences: tuple[Difference, ...]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    shared: int
    level: float
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of checks compared."""
        return len(self.differences)

    def __str__(self) -> str:
        """One line per check."""
        head = f"{self.after['model']} against {self.before['model']} on {self.shared:,} shared images"
        return "\n".join([head, *map(str, self.differences), *self.notes])

    @property
    def better(self) -> tuple[str, ...]:
        """Checks in which the second is better, after correction for their number."""
        return tuple(difference.id for difference in self.differences if difference.verdict == BETTER)

    @property
    def worse(self) -> tuple[str, ...]:
        """Checks in which it is worse."""
        return tuple(difference.id for difference in self.differences if difference.verdict == WORSE)

    @property
    def table(self) -> "pd.DataFrame":
        """One row per check."""
        return frame_of(self.differences)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        content: dict[str, Any] = finite(plain(asdict(self)))
        return content | {"better": list(self.better), "worse": list(self.worse)}


def compare(before: Audit, after: Audit, *, level: float = 0.95) -> AuditComparison:
    """Compare two audits on the images that both measured.

    Args:
        before: the baseline.
        after: what is compared with it.
        level: of the intervals, and 1 minus that of the tests.

    Returns:
        AuditComparison; `.differences`, `.better`, `.worse`, `.table`.

    Raises:
        InputError: no image, or no check, is in both.

    Example:
        >>> import xai
        >>> data = xai.load_data("example:fashion-test").subset(50)
        >>> before = xai.audit(model="example:fashion", data=data, checks=["accuracy"])
        >>> after = xai.audit(model="example:fashion-robust", data=data, checks=["accuracy"])
        >>> [difference.id for difference in xai.compare(before, after).differences]
        ['accuracy']
    """
    old, new = before.document, after.document
    shared = len(set(keys_of(old)) & set(keys_of(new)))
    first, second = ({str(check["id"]): check for check in document["checks"]} for document in (old, new))
    both = [name for name in second if name in first]
    if not shared or not both:
        what = "image" if not shared else "check"
        raise InputError(f"Expected two audits with shared images and checks, but no {what} is in both.")
    pairs = pairs_of(old, new)
    rows = [_difference(first[name], second[name], pairs.get(name), level) for name in both]
    adjusted = holm([np.nan if row["p_value"] is None else row["p_value"] for row in rows])
    changed = [name for name in both if first[name]["settings"] != second[name]["settings"]]
    return AuditComparison(
        tuple(
            _judged(row, float(p), 1 - level, second[row["id"]]["better"])
            for row, p in zip(rows, adjusted, strict=True)
        ),
        _about(old),
        _about(new),
        shared,
        level,
        _only_in(first, second),
        _only_in(second, first),
        (
            *_numbers(old, new, shared),
            *(Message("{check} was measured with other settings in the two audits", check=name) for name in changed),
        ),
    )


def _numbers(old: Mapping[str, Any], new: Mapping[str, Any], shared: int) -> list[str]:
    """Return a note where the audits are of different images."""
    before, after = int(old["images"]["n"]), int(new["images"]["n"])
    if before == after == shared:
        return []
    text = "the first audit is of {before} images and the second of {after}; {shared} are in both"
    return [Message(text, before=before, after=after, shared=shared)]


def _only_in(these: Mapping[str, Any], those: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(name for name in these if name not in those)


def _difference(
    old: Mapping[str, Any], new: Mapping[str, Any], pair: PairedOutcome | None, level: float
) -> dict[str, Any]:
    before, after = old["measured"] or {}, new["measured"] or {}
    row = {"id": new["id"], "title": new["title"], "unit": after.get("unit") or before.get("unit") or ""}
    row |= {"before": before.get("value"), "after": after.get("value"), "verdicts": (old["verdict"], new["verdict"])}
    if pair is None:
        return {**row, "n": 0, **dict.fromkeys(("difference", "low", "high", "p_value"))}
    n = len(pair.before)
    if pair.after.dtype == bool:
        lost, won = int((pair.before & ~pair.after).sum()), int((~pair.before & pair.after).sum())
        low, high = drop_interval(won, lost, n, level)
        p = mcnemar(lost, won, two_sided=True)
        return {**row, "n": n, "difference": (won - lost) / n, "low": low, "high": high, "p_value": p}
    mean, low, high, p = paired_mean(pair.before, pair.after, level)
    return {**row, "n": n, "difference": mean, "low": low, "high": high, "p_value": p}


def _judged(row: Mapping[str, Any], adjusted: float, alpha: float, better: str) -> Difference:
    if row["difference"] is None:
        return Difference(**row, adjusted=None, verdict=NOT_PAIRED)
    if adjusted > alpha:
        return Difference(**row, adjusted=adjusted, verdict=CANNOT_TELL)
    up = (row["difference"] > 0) == (better == "more")
    return Difference(**row, adjusted=adjusted, verdict=BETTER if up else WORSE)


def _about(document: Mapping[str, Any]) -> dict[str, Any]:
    model = document["model"]
    about = {"model": model["name"], "fingerprint": model["fingerprint"], "verdict": document["verdict"]}
    return about | {"data": document["data"]["data"]["source"], "images": document["images"]["n"]}


def _shown(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


@dataclass(frozen=True, eq=False)
class Baseline:
    """A baseline.

    Attributes:
        audit: the earlier one.
    """

    audit: Audit

    @classmethod
    def of(cls, config: Config) -> Self | None:
        """Return the baseline that the settings name; None for none.

        Raises:
            RecordError: there is none at that place.
        """
        if isinstance(config.baseline, Audit):
            return cls(config.baseline)
        path = baseline_path(config)
        return None if path is None else cls(Audit.load(path))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its file."""
        return hashlib.sha256(self.audit.to_bytes()).hexdigest()

    @cached_property
    def keys(self) -> list[bytes]:
        """Digests of its images."""
        return keys_of(self.audit.document)

    def before(self, id_: str) -> tuple[CheckResult, Sequence[str]] | None:
        """Return what it measured by a check, and hex digests of the images it did so on."""
        measured = measured_in(self.audit.document, id_)
        if measured is None or measured.rows is None:
            return None
        return measured, [self.keys[int(row)].hex() for row in measured.rows]

    def pair(
        self, id_: str, measured: CheckResult | None, keys: Sequence[bytes], model: str, settings: Mapping[str, Any]
    ) -> PairedOutcome | None:
        """Return the outcomes of a check then and now, on the images that both measured.

        Args:
            id_: of the check.
            measured: now.
            keys: of the images now.
            model: its fingerprint now.
            settings: of the check now.
        """
        old = measured_in(self.audit.document, id_)
        pair = None if old is None or measured is None or measured.trouble else pair_of(old, self.keys, measured, keys)
        if (
            pair is None
            or model != self.audit.document["model"]["fingerprint"]
            or self.audit[id_]["settings"] != settings
        ):
            return pair
        return replace(pair, same=bool(np.array_equal(pair.before, pair.after)))

    def about(self, keys: Sequence[bytes]) -> dict[str, Any]:
        """Return what a later audit says of it."""
        document = self.audit.document
        shared = len(set(self.keys) & set(keys))
        return {"model": document["model"], "sha256": self.digest, "verdict": document["verdict"], "shared": shared}

    def changes(self, document: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the paired differences to it; None where no image or no check is shared."""
        if not set(self.keys) & set(keys_of(document)):
            return None
        shared = {check["id"] for check in self.audit.checks} & {check["id"] for check in document["checks"]}
        return compare(self.audit, Audit(document, {})).to_dict() if shared else None
