"""Robust accuracy over radii: what attacks break, what proofs guarantee, and whether the evaluation can be believed."""

from xai.curves.result import RobustnessCurve as RobustnessCurve
from xai.curves.robustness import robustness as robustness
from xai.curves.trust import Check as Check
from xai.curves.trust import Trust as Trust
