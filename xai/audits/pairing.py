"""Two audits of the same pictures, matched by their content."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xai.audits.conditions import Pair
from xai.audits.document import measured_in
from xai.audits.measurement import Measurement, decode


def keys_of(document: Mapping[str, Any]) -> list[bytes]:
    """Return the digests of the pictures of an audit."""
    size = int(document["pictures"]["key_bytes"])
    held = decode(document["pictures"]["keys"], "u1").tobytes()
    return [held[start : start + size] for start in range(0, len(held), size)]


def pair_of(
    before: Measurement, before_keys: Sequence[bytes], after: Measurement, after_keys: Sequence[bytes]
) -> Pair | None:
    """Return the outcomes of the pictures that both measured, in the order of the second; None without outcomes."""
    if any(one.rows is None or one.outcomes is None for one in (before, after)):
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
    return Pair(before.outcomes[theirs], after.outcomes[mine])


def pairs_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Pair]:
    """Return the pairs of all checks that two documents share."""
    names = [check["id"] for check in after["checks"]]
    one_keys, two_keys = keys_of(before), keys_of(after)
    found = {}
    for name in names:
        one, two = measured_in(before, name), measured_in(after, name)
        pair = None if one is None or two is None else pair_of(one, one_keys, two, two_keys)
        if pair is not None and len(pair.before):
            found[name] = pair
    return found
