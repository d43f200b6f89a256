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

if TYPE_CHECKING:  # for type checkers, which cannot read the table; a test holds both equal
    from xai.audits.audit import CheckInfo as CheckInfo
    from xai.audits.audit import audit as audit
    from xai.audits.audit import audit_checks as audit_checks
    from xai.audits.audit import judge_again as judge_again
    from xai.audits.audit import share_audit as share_audit
    from xai.audits.baseline import AuditComparison as AuditComparison
    from xai.audits.baseline import compare as compare
    from xai.audits.control import positive_control as positive_control
    from xai.audits.execution.estimate import AuditPlan as AuditPlan
    from xai.audits.execution.estimate import plan_audit as plan_audit
    from xai.audits.fault_injection import broken_copy as broken_copy
    from xai.audits.record import Audit as Audit
    from xai.audits.record import Finding as Finding
    from xai.audits.starter import init_audit as init_audit
    from xai.core.images.samples import to_rgb as to_rgb
    from xai.core.model.classifier import Classifier as Classifier
    from xai.core.model.predictions import Prediction as Prediction
    from xai.core.model.resizing import ResizeComparison as ResizeComparison
    from xai.core.model.resizing import compare_resizing as compare_resizing
    from xai.datasets.dataset import Dataset as Dataset
    from xai.datasets.loading import Photo as Photo
    from xai.datasets.loading import load_data as load_data
    from xai.datasets.loading import sample_photos as sample_photos
    from xai.diagnosis import Diagnosis as Diagnosis
    from xai.diagnosis import diagnose as diagnose
    from xai.errors import ContractError as ContractError
    from xai.errors import InputError as InputError
    from xai.errors import Stopped as Stopped
    from xai.errors import XaiError as XaiError
    from xai.explanations.dream.deep_dream import DeepDream as DeepDream
    from xai.explanations.dream.dream import deep_dream as deep_dream
    from xai.explanations.explain import explain as explain
    from xai.explanations.explain import layers as layers
    from xai.explanations.explanation import Explanation as Explanation
    from xai.explanations.rating.agreement import Agreement as Agreement
    from xai.explanations.rating.agreement import agreement as agreement
    from xai.explanations.rating.agreement import compare_baselines as compare_baselines
    from xai.explanations.rating.rate import rate_explanation as rate_explanation
    from xai.explanations.rating.rating import MapCheck as MapCheck
    from xai.explanations.rating.rating import Rating as Rating
    from xai.fairness.data_fault_result import DataFaults as DataFaults
    from xai.fairness.data_faults import data_faults as data_faults
    from xai.fairness.groups.bias import bias as bias
    from xai.fairness.groups.bias import bias_of_predictions as bias_of_predictions
    from xai.fairness.groups.result import BiasResult as BiasResult
    from xai.fairness.per_image_outcomes import Treatment as Treatment
    from xai.fairness.per_image_outcomes import treatment as treatment
    from xai.fairness.shortcuts.result import ShortcutResult as ShortcutResult
    from xai.fairness.shortcuts.study import shortcuts as shortcuts
    from xai.fairness.slice_inference import SliceResult as SliceResult
    from xai.fairness.slices import slices as slices
    from xai.feature_probe import fit_probe as fit_probe
    from xai.method_catalogue import MethodInfo as MethodInfo
    from xai.method_catalogue import methods as methods
    from xai.models.architectures import known_networks as known_networks
    from xai.models.architectures import untrained as untrained
    from xai.models.loading import load as load
    from xai.models.probes import Probe as Probe
    from xai.models.sources import ModelInfo as ModelInfo
    from xai.models.sources import catalogue as catalogue
    from xai.ood.attack import OODAttack as OODAttack
    from xai.ood.compare import OODComparison as OODComparison
    from xai.ood.compare import compare_ood as compare_ood
    from xai.ood.detector import OODDetector as OODDetector
    from xai.ood.fit import fit_ood as fit_ood
    from xai.ood.judgement import Judgement as Judgement
    from xai.reports.explanations import report as report
    from xai.reports.messages import translate as translate
    from xai.reports.regression_tests import write_tests as write_tests
    from xai.robust.attacks.base import attack as attack
    from xai.robust.attacks.result import AttackResult as AttackResult
    from xai.robust.certification.certify import Certificate as Certificate
    from xai.robust.certification.certify import OutputBounds as OutputBounds
    from xai.robust.certification.certify import certify as certify
    from xai.robust.certification.certify import output_bounds as output_bounds
    from xai.robust.corruptions.base import corrupt as corrupt
    from xai.robust.corruptions.result import CorruptionResult as CorruptionResult
    from xai.robust.corruptions.result import mce as mce
    from xai.robust.corruptions.robustness import corruption_robustness as corruption_robustness
    from xai.robust.curves.result import RobustnessCurve as RobustnessCurve
    from xai.robust.curves.robustness import robustness as robustness
    from xai.robust.curves.trust import Trust as Trust
    from xai.uncertainty.calibration import calibration as calibration
    from xai.uncertainty.calibration_result import Calibration as Calibration
    from xai.uncertainty.conformal import ConformalPredictor as ConformalPredictor
    from xai.uncertainty.conformal import fit_conformal as fit_conformal
    from xai.uncertainty.drift import drift as drift
    from xai.uncertainty.drift_tests import Drift as Drift
    from xai.uncertainty.prediction_sets import PredictionSets as PredictionSets

__version__ = "0.1.0"

_MODULES = {  # public name: the module that defines it
    "Agreement": "xai.explanations.rating.agreement",
    "AttackResult": "xai.robust.attacks.result",
    "Audit": "xai.audits.record",
    "AuditComparison": "xai.audits.baseline",
    "AuditPlan": "xai.audits.execution.estimate",
    "BiasResult": "xai.fairness.groups.result",
    "Calibration": "xai.uncertainty.calibration_result",
    "Certificate": "xai.robust.certification.certify",
    "CheckInfo": "xai.audits.audit",
    "Classifier": "xai.core.model.classifier",
    "ConformalPredictor": "xai.uncertainty.conformal",
    "ContractError": "xai.errors",
    "CorruptionResult": "xai.robust.corruptions.result",
    "DataFaults": "xai.fairness.data_fault_result",
    "Dataset": "xai.datasets.dataset",
    "DeepDream": "xai.explanations.dream.deep_dream",
    "Diagnosis": "xai.diagnosis",
    "Drift": "xai.uncertainty.drift_tests",
    "Explanation": "xai.explanations.explanation",
    "Finding": "xai.audits.record",
    "InputError": "xai.errors",
    "Judgement": "xai.ood.judgement",
    "MapCheck": "xai.explanations.rating.rating",
    "MethodInfo": "xai.method_catalogue",
    "ModelInfo": "xai.models.sources",
    "OODAttack": "xai.ood.attack",
    "OODComparison": "xai.ood.compare",
    "OODDetector": "xai.ood.detector",
    "OutputBounds": "xai.robust.certification.certify",
    "Photo": "xai.datasets.loading",
    "Prediction": "xai.core.model.predictions",
    "PredictionSets": "xai.uncertainty.prediction_sets",
    "Probe": "xai.models.probes",
    "Rating": "xai.explanations.rating.rating",
    "ResizeComparison": "xai.core.model.resizing",
    "RobustnessCurve": "xai.robust.curves.result",
    "ShortcutResult": "xai.fairness.shortcuts.result",
    "SliceResult": "xai.fairness.slice_inference",
    "Stopped": "xai.errors",
    "Treatment": "xai.fairness.per_image_outcomes",
    "Trust": "xai.robust.curves.trust",
    "XaiError": "xai.errors",
    "agreement": "xai.explanations.rating.agreement",
    "attack": "xai.robust.attacks.base",
    "audit": "xai.audits.audit",
    "audit_checks": "xai.audits.audit",
    "bias": "xai.fairness.groups.bias",
    "bias_of_predictions": "xai.fairness.groups.bias",
    "broken_copy": "xai.audits.fault_injection",
    "calibration": "xai.uncertainty.calibration",
    "catalogue": "xai.models.sources",
    "certify": "xai.robust.certification.certify",
    "compare": "xai.audits.baseline",
    "compare_baselines": "xai.explanations.rating.agreement",
    "compare_ood": "xai.ood.compare",
    "compare_resizing": "xai.core.model.resizing",
    "corrupt": "xai.robust.corruptions.base",
    "corruption_robustness": "xai.robust.corruptions.robustness",
    "data_faults": "xai.fairness.data_faults",
    "deep_dream": "xai.explanations.dream.dream",
    "diagnose": "xai.diagnosis",
    "drift": "xai.uncertainty.drift",
    "explain": "xai.explanations.explain",
    "fit_conformal": "xai.uncertainty.conformal",
    "fit_ood": "xai.ood.fit",
    "fit_probe": "xai.feature_probe",
    "init_audit": "xai.audits.starter",
    "judge_again": "xai.audits.audit",
    "known_networks": "xai.models.architectures",
    "layers": "xai.explanations.explain",
    "load": "xai.models.loading",
    "load_data": "xai.datasets.loading",
    "mce": "xai.robust.corruptions.result",
    "methods": "xai.method_catalogue",
    "output_bounds": "xai.robust.certification.certify",
    "plan_audit": "xai.audits.execution.estimate",
    "positive_control": "xai.audits.control",
    "rate_explanation": "xai.explanations.rating.rate",
    "report": "xai.reports.explanations",
    "robustness": "xai.robust.curves.robustness",
    "sample_photos": "xai.datasets.loading",
    "share_audit": "xai.audits.audit",
    "shortcuts": "xai.fairness.shortcuts.study",
    "slices": "xai.fairness.slices",
    "to_rgb": "xai.core.images.samples",
    "translate": "xai.reports.messages",
    "treatment": "xai.fairness.per_image_outcomes",
    "untrained": "xai.models.architectures",
    "write_tests": "xai.reports.regression_tests",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that `import xai` costs nothing."""
    if name not in _MODULES:
        raise AttributeError(f"module 'xai' has no attribute {name!r}")
    state = random.getstate()
    try:
        value = getattr(import_module(_MODULES[name]), name)
    finally:
        random.setstate(state)  # packages behind it draw numbers while they are imported (rich, for scikit-learn)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*__all__, "__version__"])
