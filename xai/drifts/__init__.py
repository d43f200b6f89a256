"""Do two data sets look alike to a model?"""

from xai.drifts.drift import drift
from xai.drifts.result import Drift, DriftFinding, DriftTest

__all__ = ["Drift", "DriftFinding", "DriftTest", "drift"]
