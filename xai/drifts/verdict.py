"""What the tests of drift say, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from xai.drifts.result import DRIFT, NO_EVIDENCE, TOO_SMALL, ClassShare, DriftFinding, DriftTest


def findings_of(tests: Sequence[DriftTest], classes: Sequence[ClassShare], alpha: float) -> tuple[DriftFinding, ...]:
    """Return the differences that chance does not explain; single classes only where the answers differ as a whole."""
    found = [DriftFinding(t.name, _sentence(t), t.value, _span(t), t.adjusted) for t in tests if t.adjusted <= alpha]
    if any(one.id == "classes" for one in found):
        moved = [one for one in classes if one.adjusted <= alpha]
        moved.sort(key=lambda one: -abs(one.difference))
        found += [
            DriftFinding(f"class: {one.name}", _about_class(one), one.difference, (one.low, one.high), one.adjusted)
            for one in moved
        ]
    return tuple(found)


def judge(
    tests: Sequence[DriftTest], findings: Sequence[DriftFinding], shift: float, settings: Mapping[str, Any]
) -> tuple[str, tuple[str, ...]]:
    """Return the verdict and its reasons."""
    if findings:
        return DRIFT, tuple(one.sentence for one in findings)
    nothing = "; ".join(f"{test.name} p = {test.p_value:.2g}" for test in tests)
    if shift > settings["relevant"]:
        size = "no shift at all" if shift == float("inf") else f"only shifts above {shift:.2f} standard deviations"
        few = f"with so few pictures a linear classifier finds {size} 8 times of 10"
        return TOO_SMALL, (f"{few}; {settings['relevant']:g} would matter", nothing)
    seen = f"a shift of the features' mean by {shift:.2f} standard deviations would have been found 8 times of 10"
    return NO_EVIDENCE, (f"no test tells the data sets apart; {seen}", nothing)


def _span(test: DriftTest) -> tuple[float, float] | None:
    return None if test.low is None or test.high is None else (test.low, test.high)


def _sentence(test: DriftTest) -> str:
    p = f"(adjusted p = {test.adjusted:.2g})"
    if test.name == "classifier":
        return (
            f"a classifier that sees the features tells the data sets apart: AUROC {test.value:.3f} "
            f"({test.low:.3f} to {test.high:.3f}) on pictures that it was not fitted on {p}"
        )
    if test.name == "kernel":
        value = f"squared MMD {test.value:.2g}, by chance below {test.by_chance:.2g}"
        return f"the features are distributed differently: {value} {p}"
    if test.name == "classes":
        return f"classes are answered differently often: {test.value:.1%} of the answers moved {p}"
    return f"the confidences are distributed differently; their mean changed by {test.value:+.3f} {p}"


def _about_class(one: ClassShare) -> str:
    return (
        f"{one.name!r} is answered in {one.share_b:.1%} instead of {one.share_a:.1%} "
        f"(difference {one.low:+.1%} to {one.high:+.1%}, adjusted p = {one.adjusted:.2g})"
    )
