"""Why an image classifier answers as it does, and how far the answer can be trusted.

>>> import xai
>>> clf = xai.load("example:fashion")
>>> data = xai.load_data("example:fashion-test")
>>> explanation = xai.explain(clf, data.images[0])
>>> explanation.heatmap.shape
(28, 28)
"""

import random
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xai.api import Agreement as Agreement
    from xai.api import AttackResult as AttackResult
    from xai.api import Audit as Audit
    from xai.api import AuditComparison as AuditComparison
    from xai.api import AuditPlan as AuditPlan
    from xai.api import BiasResult as BiasResult
    from xai.api import Calibration as Calibration
    from xai.api import Certificate as Certificate
    from xai.api import Check as Check
    from xai.api import CheckInfo as CheckInfo
    from xai.api import Classifier as Classifier
    from xai.api import ConformalPredictor as ConformalPredictor
    from xai.api import CorruptionResult as CorruptionResult
    from xai.api import DataFaults as DataFaults
    from xai.api import Dataset as Dataset
    from xai.api import DeepDream as DeepDream
    from xai.api import Diagnosis as Diagnosis
    from xai.api import Drift as Drift
    from xai.api import Explanation as Explanation
    from xai.api import Finding as Finding
    from xai.api import Judgement as Judgement
    from xai.api import MethodInfo as MethodInfo
    from xai.api import ModelInfo as ModelInfo
    from xai.api import OODAttack as OODAttack
    from xai.api import OODComparison as OODComparison
    from xai.api import OODDetector as OODDetector
    from xai.api import OutputBounds as OutputBounds
    from xai.api import Photo as Photo
    from xai.api import Prediction as Prediction
    from xai.api import PredictionSets as PredictionSets
    from xai.api import Probe as Probe
    from xai.api import Rating as Rating
    from xai.api import ResizeComparison as ResizeComparison
    from xai.api import RobustnessCurve as RobustnessCurve
    from xai.api import ShortcutResult as ShortcutResult
    from xai.api import SliceResult as SliceResult
    from xai.api import Treatment as Treatment
    from xai.api import Trust as Trust
    from xai.api import agreement as agreement
    from xai.api import attack as attack
    from xai.api import audit as audit
    from xai.api import audit_checks as audit_checks
    from xai.api import bias as bias
    from xai.api import bias_of_predictions as bias_of_predictions
    from xai.api import broken_copy as broken_copy
    from xai.api import calibration as calibration
    from xai.api import catalogue as catalogue
    from xai.api import certify as certify
    from xai.api import compare as compare
    from xai.api import compare_baselines as compare_baselines
    from xai.api import compare_ood as compare_ood
    from xai.api import compare_resizing as compare_resizing
    from xai.api import corrupt as corrupt
    from xai.api import corruption_robustness as corruption_robustness
    from xai.api import data_faults as data_faults
    from xai.api import deep_dream as deep_dream
    from xai.api import diagnose as diagnose
    from xai.api import drift as drift
    from xai.api import explain as explain
    from xai.api import fit_conformal as fit_conformal
    from xai.api import fit_ood as fit_ood
    from xai.api import fit_probe as fit_probe
    from xai.api import init_audit as init_audit
    from xai.api import judge_again as judge_again
    from xai.api import known_networks as known_networks
    from xai.api import layers as layers
    from xai.api import load as load
    from xai.api import load_data as load_data
    from xai.api import mce as mce
    from xai.api import methods as methods
    from xai.api import output_bounds as output_bounds
    from xai.api import plan_audit as plan_audit
    from xai.api import positive_control as positive_control
    from xai.api import rate_explanation as rate_explanation
    from xai.api import report as report
    from xai.api import robustness as robustness
    from xai.api import sample_photos as sample_photos
    from xai.api import share_audit as share_audit
    from xai.api import shortcuts as shortcuts
    from xai.api import slices as slices
    from xai.api import to_rgb as to_rgb
    from xai.api import translate as translate
    from xai.api import treatment as treatment
    from xai.api import untrained as untrained
    from xai.api import write_tests as write_tests
    from xai.errors import ContractError as ContractError
    from xai.errors import InputError as InputError
    from xai.errors import Stopped as Stopped
    from xai.errors import XaiError as XaiError

__version__ = "0.1.0"
_ERRORS = ("ContractError", "InputError", "Stopped", "XaiError")
__all__ = [
    "Agreement",
    "AttackResult",
    "Audit",
    "AuditComparison",
    "AuditPlan",
    "BiasResult",
    "Calibration",
    "Certificate",
    "Check",
    "CheckInfo",
    "Classifier",
    "ConformalPredictor",
    "ContractError",
    "CorruptionResult",
    "DataFaults",
    "Dataset",
    "DeepDream",
    "Diagnosis",
    "Drift",
    "Explanation",
    "Finding",
    "InputError",
    "Judgement",
    "MethodInfo",
    "ModelInfo",
    "OODAttack",
    "OODComparison",
    "OODDetector",
    "OutputBounds",
    "Photo",
    "Prediction",
    "PredictionSets",
    "Probe",
    "Rating",
    "ResizeComparison",
    "RobustnessCurve",
    "ShortcutResult",
    "SliceResult",
    "Stopped",
    "Treatment",
    "Trust",
    "XaiError",
    "agreement",
    "attack",
    "audit",
    "audit_checks",
    "bias",
    "bias_of_predictions",
    "broken_copy",
    "calibration",
    "catalogue",
    "certify",
    "compare",
    "compare_baselines",
    "compare_ood",
    "compare_resizing",
    "corrupt",
    "corruption_robustness",
    "data_faults",
    "deep_dream",
    "diagnose",
    "drift",
    "explain",
    "fit_conformal",
    "fit_ood",
    "fit_probe",
    "init_audit",
    "judge_again",
    "known_networks",
    "layers",
    "load",
    "load_data",
    "mce",
    "methods",
    "output_bounds",
    "plan_audit",
    "positive_control",
    "rate_explanation",
    "report",
    "robustness",
    "sample_photos",
    "share_audit",
    "shortcuts",
    "slices",
    "to_rgb",
    "translate",
    "treatment",
    "untrained",
    "write_tests",
]


def __getattr__(name: str) -> Any:
    """Load the public names when they are first used, so that `import xai` costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'xai' has no attribute {name!r}")
    state = random.getstate()
    try:
        value = getattr(import_module("xai.errors" if name in _ERRORS else "xai.api"), name)
    finally:
        random.setstate(state)  # packages behind it draw numbers while they are imported (rich, for scikit-learn)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*__all__, "__version__"])
