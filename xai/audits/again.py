"""`judge_again`: other thresholds on figures that are there already."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from xai.audits.audit import AuditSource, configured
from xai.audits.conditions import Pair, judge
from xai.audits.config import Asked
from xai.audits.document import AFTER, judged, measured_in
from xai.audits.measurement import Measurement
from xai.audits.opening import with_defaults
from xai.audits.pairing import keys_of
from xai.audits.record import Audit
from xai.audits.yardstick import Yardstick
from xai.errors import InputError


def judge_again(found: Audit, config: AuditSource, *, baseline: str | os.PathLike[str] | Audit | None = None) -> Audit:
    """Judge a saved audit by the conditions of a file, without computing anything again.

    The figures stay; the record says that thresholds were set after they were known.

    Args:
        found: the audit.
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
        >>> xai.judge_again(found, strict).verdict
        'fail'
    """
    asked = with_defaults(configured(config), baseline=baseline)
    yardstick, by_id = Yardstick.of(asked), {check["id"]: check for check in found.checks}
    checks, keys, model = [], keys_of(found.document), str(found.document["model"]["fingerprint"])
    for one in asked.checks:
        kept = by_id.get(one.id)
        if kept is None or kept["metric"] != one.check.name or kept["settings"] != one.check.settings:
            what = "was not measured" if kept is None else "was measured with other settings"
            raise InputError(f"{one.id!r} {what} in this audit. Run `xai audit` again, or take it out.")
        measured = measured_in(found.document, one.id)
        pair = None if yardstick is None else yardstick.pair(one.id, measured, keys, model, kept["settings"])
        checks.append(_judged_check(kept, one, measured, pair))
    return replace(found, document=judged({**found.document, "checks": checks}, declared=AFTER))


def _judged_check(
    kept: Mapping[str, Any], one: Asked, measured: Measurement | None, pair: Pair | None
) -> dict[str, Any]:
    asked = [{"condition": c.name, "threshold": c.threshold, "level": one.level} for c in one.conditions]
    if measured is None:
        return {**kept, "asked": asked}
    verdict, outcomes = judge(measured, one.conditions, one.level, pair)
    why = " ".join(outcome.why for outcome in outcomes if outcome.verdict == verdict) or measured.claim
    return {
        **kept,
        "asked": asked,
        "level": one.level,
        "verdict": verdict,
        "why": why,
        "conditions": [o.to_dict() for o in outcomes],
    }
