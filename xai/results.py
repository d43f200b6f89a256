"""The types that verbs return; each is loaded when it is first used.

>>> import xai
>>> xai.results.Rating.__name__
'Rating'
"""

from typing import TYPE_CHECKING

from xai.lazy import lazy_names

if TYPE_CHECKING:  # for type checkers, which cannot read the table; a test holds both equal
    from xai.audits.audit import CheckInfo as CheckInfo
    from xai.audits.baseline import AuditComparison as AuditComparison
    from xai.audits.execution.estimate import AuditPlan as AuditPlan
    from xai.audits.record import Finding as Finding
    from xai.core.model.predictions import Prediction as Prediction
    from xai.core.model.resizing import ResizeComparison as ResizeComparison
    from xai.datasets.loading import Photo as Photo
    from xai.diagnosis import Diagnosis as Diagnosis
    from xai.explanations.dream.deep_dream import DeepDream as DeepDream
    from xai.explanations.rating.rating import Agreement as Agreement
    from xai.explanations.rating.rating import MapCheck as MapCheck
    from xai.explanations.rating.rating import Rating as Rating
    from xai.fairness.data_fault_result import DataFaults as DataFaults
    from xai.fairness.groups.result import BiasResult as BiasResult
    from xai.fairness.per_image_outcomes import Treatment as Treatment
    from xai.fairness.shortcuts.result import ShortcutResult as ShortcutResult
    from xai.fairness.slice_inference import SliceResult as SliceResult
    from xai.method_catalogue import MethodInfo as MethodInfo
    from xai.models.probes import Probe as Probe
    from xai.models.sources import ModelInfo as ModelInfo
    from xai.ood.attack import OODAttack as OODAttack
    from xai.ood.compare import OODComparison as OODComparison
    from xai.ood.judgement import Judgement as Judgement
    from xai.robust.attacks.result import AttackResult as AttackResult
    from xai.robust.certification.certify import Certificate as Certificate
    from xai.robust.certification.certify import OutputBounds as OutputBounds
    from xai.robust.corruptions.result import CorruptionError as CorruptionError
    from xai.robust.corruptions.result import CorruptionResult as CorruptionResult
    from xai.robust.curves.result import RobustnessCurve as RobustnessCurve
    from xai.robust.curves.trust import Trust as Trust
    from xai.uncertainty.calibration_result import Calibration as Calibration
    from xai.uncertainty.conformal import ConformalPredictor as ConformalPredictor
    from xai.uncertainty.drift_tests import Drift as Drift
    from xai.uncertainty.prediction_sets import PredictionSets as PredictionSets

_MODULES = {  # public name: the module that defines it
    "Agreement": "xai.explanations.rating.rating",
    "AttackResult": "xai.robust.attacks.result",
    "AuditComparison": "xai.audits.baseline",
    "AuditPlan": "xai.audits.execution.estimate",
    "BiasResult": "xai.fairness.groups.result",
    "Calibration": "xai.uncertainty.calibration_result",
    "Certificate": "xai.robust.certification.certify",
    "CheckInfo": "xai.audits.audit",
    "ConformalPredictor": "xai.uncertainty.conformal",
    "CorruptionError": "xai.robust.corruptions.result",
    "CorruptionResult": "xai.robust.corruptions.result",
    "DataFaults": "xai.fairness.data_fault_result",
    "DeepDream": "xai.explanations.dream.deep_dream",
    "Diagnosis": "xai.diagnosis",
    "Drift": "xai.uncertainty.drift_tests",
    "Finding": "xai.audits.record",
    "Judgement": "xai.ood.judgement",
    "MapCheck": "xai.explanations.rating.rating",
    "MethodInfo": "xai.method_catalogue",
    "ModelInfo": "xai.models.sources",
    "OODAttack": "xai.ood.attack",
    "OODComparison": "xai.ood.compare",
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
    "Treatment": "xai.fairness.per_image_outcomes",
    "Trust": "xai.robust.curves.trust",
}
__all__ = sorted(_MODULES)
__getattr__, __dir__ = lazy_names(__name__, _MODULES)
