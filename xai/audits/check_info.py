"""`audit_checks`: what can be asked of a model, described as data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from xai.audits.checks.base import CHECKS
from xai.audits.config import as_in_file
from xai.core.results.serialization import plain


@dataclass(frozen=True)
class CheckInfo:
    """What is known of a check.

    Attributes:
        name: as in `metric` of a [[check]].
        title: as people call it.
        family: checks that go together.
        question: what it asks, in plain words.
        better: "more" or "less".
        needs: "data", "train", "calibration", "ood", "groups", "baseline".
        conditions: names of those that can judge it.
        usual: those that judge it when none is named, with their thresholds.
        pictures: how many are asked about; None for all.
        settings: names and defaults of its own settings.

    Example:
        >>> import xai
        >>> xai.audit_checks()[0].better
        'more'
    """

    name: str
    title: str
    family: str
    question: str
    better: str
    needs: tuple[str, ...]
    conditions: tuple[str, ...]
    usual: Mapping[str, float] = field(hash=False)
    pictures: int | None
    settings: Mapping[str, Any] = field(hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        found: dict[str, Any] = plain(asdict(self))
        return found


def audit_checks() -> list[CheckInfo]:
    """Return every check that an audit can ask, in the order of their names.

    Returns:
        A description of each.

    Example:
        >>> import xai
        >>> [check.name for check in xai.audit_checks() if check.family == "robustness"]
        ['certified_accuracy', 'corruption_accuracy', 'robust_accuracy']
    """
    return [_described(name) for name in CHECKS]


def _described(name: str) -> CheckInfo:
    kind = CHECKS[name]
    made = kind()
    own = as_in_file({f.name: getattr(made, f.name) for f in fields(kind) if f.name != "pictures"})
    usual = {condition.name: condition.threshold for condition in kind.usual}
    return CheckInfo(
        name,
        kind.title,
        kind.family,
        kind.question,
        kind.better,
        kind.needs,
        kind.conditions,
        usual,
        kind.first_pictures,
        own,
    )
