"""What the figures say, in one word and a few sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import scipy

from xai.calibrations.measures import Measures
from xai.calibrations.result import Comparison
from xai.metrics.means import paired_mean, swapped_error_p
from xai.metrics.proportions import holm
from xai.metrics.scores import Scores
from xai.metrics.temperature import LIMITS, Temperature

NO_EVIDENCE, TOO_SMALL = "no evidence", "too small to tell"


def judge(found: Measures, settings: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return the verdict and its reasons."""
    error, alpha = found.ece, 1 - settings["level"]
    said = (
        f"ECE {error.value:.4f} on {found.count} pictures; a perfectly calibrated model would show {error.chance:.4f} "
        f"(p = {error.p_value:.2g}); true error {error.low:.4f} to {error.high:.4f}"
    )
    if error.p_value > alpha and error.detectable > settings["tolerance"]:
        limit = f"errors below {error.detectable:.4f} cannot be told from chance with {found.count} pictures"
        return TOO_SMALL, (said, f"{limit}, and {settings['tolerance']:.4g} would matter")
    if error.p_value > alpha:
        return NO_EVIDENCE, (said, f"an error above {error.detectable:.4f} would have been noticed")
    gap, p_value = _confidence_gap(found)
    if p_value > alpha:
        return "miscalibrated", (said, "sure and unsure answers are off in different directions: see the curve")
    word = "overconfident" if gap > 0 else "underconfident"
    return word, (said, f"mean confidence {found.confidence:.4f}, accuracy {found.accuracy:.4f}")


def _confidence_gap(found: Measures) -> tuple[float, float]:
    """Return mean confidence less accuracy, and its two-sided p-value were the confidences right."""
    gap = found.confidence - found.accuracy
    variance = sum(one.count * one.confidence * (1 - one.confidence) for one in found.ece.bins) / found.count**2
    return gap, float(2 * scipy.stats.norm.sf(abs(gap) / max(variance, 1e-300) ** 0.5))


def compare(
    plain: Scores,
    warm: Scores,
    measures: tuple[Measures, Measures],
    order: Sequence[int],
    settings: Mapping[str, Any],
    seed: int,
) -> tuple[Comparison, ...]:
    """Return ECE, Brier score and NLL without and with a temperature, tested on the same pictures.

    Args:
        plain: without.
        warm: with.
        measures: of both.
        order: of the pictures for the draws, which does not depend on the order they came in.
        settings: bins and level.
        seed: of the draws.
    """
    before, after = (one.ece.value for one in measures)
    columns = [values[list(order)] for values in (plain.confidence, warm.confidence, plain.correct)]
    swapped = swapped_error_p(*columns, bins=settings["bins"], seed=seed)
    rows: list[list[Any]] = [["ece", before, after, after - before, None, None, swapped]]
    for name in ("brier", "nll"):
        one, two = getattr(plain, name), getattr(warm, name)
        rows.append([name, float(one.mean()), float(two.mean()), *paired_mean(one, two, settings["level"])])
    names = [one.name for one in fields(Comparison)]
    adjusted = holm([row[-1] for row in rows]).tolist()
    return tuple(Comparison(**dict(zip(names, [*row, p], strict=True))) for row, p in zip(rows, adjusted, strict=True))


def about_temperature(found: Temperature, tests: Sequence[Comparison], settings: Mapping[str, Any]) -> str:
    """Say what the temperature is and whether it helps on pictures that it was not fitted on."""
    if found.at_limit:
        end = (
            "all answers it was fitted on are right"
            if found.value == LIMITS[0]
            else "the answers are no better than chance"
        )
        return f"no temperature fits: {end}"
    alpha = 1 - settings["level"]
    better = [one.measure for one in tests if one.difference < 0 and one.adjusted <= alpha]
    worse = [one.measure for one in tests if one.difference > 0 and one.adjusted <= alpha]
    value = f"temperature {found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
    words = [f"improves {', '.join(better)}"] * bool(better) + [f"worsens {', '.join(worse)}"] * bool(worse)
    said = " and ".join(words) or "changes nothing that could be told from chance"
    return f"{value}, fitted on {found.count} other pictures, {said}"
