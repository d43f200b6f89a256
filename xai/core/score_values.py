"""What the values of class scores tell of their scale: shares of another whole, costs, logarithms of another base."""

import math

import torch
from torch import Tensor

_SAME = 1e-3  # how far sums that are the same may differ, as a share of them
_LARGER = 50  # how many times more the scores must vary than their sums
_ROUNDING = 1e-6
_PERCENT = 100.0
_BASES = {2: "2", 10: "10"}
_SAID = 'if they are logits all the same, pass output="logits"'


def inside_unit(values: Tensor) -> bool:
    """Return whether all values lie in [0, 1], up to rounding."""
    return bool((values >= -_ROUNDING).all()) and bool((values <= 1 + _ROUNDING).all())


def varies(values: Tensor) -> bool:
    """Return whether not all values are the same, up to rounding."""
    return float(values.max() - values.min()) > _ROUNDING * float(values.abs().max())


def like_percentages(values: Tensor) -> bool:
    """Return whether all values lie in [0, 100], and not all in [0, 1]."""
    return bool((values >= 0).all()) and 1 < float(values.max()) <= _PERCENT


def other_scale(scores: Tensor) -> str:
    """Return what scores (N, K) are that are neither logits nor probabilities, and the cure; "" where nothing tells.

    Args:
        scores: of several images that differ.
    """
    values = scores.double()
    if bool((values >= 0).all()) and _sums_to_one(-values):
        return f"costs, the negative logarithms of probabilities. Return their negative; {_SAID}"
    for base, name in _BASES.items():
        if bool((values <= 0).all()) and _sums_to_one(values * math.log(base)):
            return (
                f"logarithms of probabilities to the base {name}. Multiply them by {math.log(base):.4f}, as logits are "
                f"natural logarithms; {_SAID}"
            )
    whole = _common_sum(values)
    if whole is None or abs(whole - 1) < _SAME:
        return ""
    if abs(whole - _PERCENT) < _SAME * _PERCENT:
        return f"percentages, which sum to 100 for every image. Divide them by 100; {_SAID}"
    return f"numbers that sum to {whole:.4g} for every image. Scale them to probabilities, which sum to 1; {_SAID}"


def may_have_other_scale(scores: Tensor) -> bool:
    """Return whether scores (N, K) may have another scale, so that further images should be looked at."""
    values = scores.double()
    if other_scale(values):
        return True
    total = values[0].sum()
    return bool((values[0] >= 0).all()) and abs(float(total) - _PERCENT) < _SAME * _PERCENT and not _rows_differ(values)


def _rows_differ(values: Tensor) -> bool:
    return len(values) > 1 and float((values - values[0]).abs().max()) > _ROUNDING * float(values.abs().max())


def _sums_to_one(logarithms: Tensor) -> bool:
    return bool(logarithms.logsumexp(1).abs().max() < _SAME)


def _common_sum(values: Tensor) -> float | None:
    """Return what shares, or probabilities with a minus, of every image sum to; None where the sums differ."""
    sums = values.sum(1)
    whole = float(sums.mean())
    shares = bool((values >= 0).all()) or (bool((values <= 0).all()) and abs(whole + 1) < _SAME)
    if not shares or whole == 0:
        return None
    spread, differ = float((sums - whole).abs().max()), float((values - values.mean(0)).abs().max())
    same = spread < _SAME * abs(whole) and differ > max(_LARGER * spread, _SAME * abs(whole) / 10)
    return whole if same else None


def side_of_zero(values: Tensor) -> str:
    """Return "below" or "above" where no value is on that side of 0, else ""."""
    if not torch.isfinite(values).all():
        return ""
    return "below" if bool((values >= 0).all()) else "above" if bool((values <= 0).all()) else ""
