"""Findings about groups in words that need no statistics."""

from collections.abc import Sequence

from xai.fairness.cube import Class

UNFAIR, NO_EVIDENCE, TOO_SMALL = "unfair", "no evidence", "too small to tell"
_TITLES = {
    "accuracy": "share of pictures answered right",
    "recall": "share of {0} that is recognised",
    "false_negative_rate": "share of {0} that is missed",
    "precision": "share of answers {0} that are right",
    "false_positive_rate": "share of other pictures taken for {0}",
    "selection_rate": "share of pictures answered {0}",
    "confusion": "share of {0} taken for {1}",
    "calibration": "calibration error",
    "confidence": "mean confidence",
}


def label_name(label: Class, classes: Sequence[str]) -> str:
    """Return a class, or a pair of true and answered class, as one name; "" for none."""
    if label is None:
        return ""
    return classes[label] if isinstance(label, int) else f"{classes[label[0]]} -> {classes[label[1]]}"


def title(metric: str, label: str) -> str:
    """Return what is measured, in words."""
    return _TITLES.get(metric, metric).format(*(f"'{part}'" for part in label.split(" -> ")))


def share(value: float | None, *, rate: bool) -> str:
    """Return a share in percent, another number as it is."""
    if value is None:
        return "unknown"
    return f"{100 * value:.1f} %" if rate else f"{value:.4g}"


def distance(value: float | None, *, rate: bool) -> str:
    """Return how far two shares are apart in points, other numbers as they are."""
    if value is None:
        return "unknown"
    return f"{100 * value:.1f} points" if rate else f"{value:.4g}"


def probability(value: float) -> str:
    """Return a p-value as people write it."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1g}"
