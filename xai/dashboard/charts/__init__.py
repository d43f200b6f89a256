"""Charts made from results."""

from xai.dashboard.charts.accuracy import (
    accuracy_by_severity,
    dose_response,
    probability_by_severity,
    right_by_group,
    right_by_slice,
    robust_accuracy,
    spans,
)
from xai.dashboard.charts.scores import (
    climb,
    differences,
    histogram,
    reliability,
    risk_by_coverage,
    shares_of_classes,
    trend,
)

__all__ = [
    "accuracy_by_severity", "climb", "differences", "dose_response", "histogram", "probability_by_severity",
    "reliability", "right_by_group", "right_by_slice", "risk_by_coverage", "robust_accuracy", "shares_of_classes",
    "spans", "trend",
]  # fmt: skip
