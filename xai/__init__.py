"""Explain, stress-test and audit an image classifier.

>>> import xai
>>> clf = xai.load("example:fashion")
>>> data = xai.load_data("example:fashion-test")
>>> explanation = xai.explain(clf, data.images[0])
>>> explanation.heatmap.shape
(28, 28)
"""

from typing import TYPE_CHECKING

from xai.lazy import lazy_names

if TYPE_CHECKING:  # for type checkers, which cannot read the table; a test holds both equal
    from xai import results as results
    from xai.audits.audit import audit as audit
    from xai.audits.baseline import compare as compare
    from xai.audits.record import Audit as Audit
    from xai.core.images.samples import to_rgb as to_rgb
    from xai.core.model.classifier import Classifier as Classifier
    from xai.core.model.resizing import compare_resizing as compare_resizing
    from xai.datasets.dataset import Dataset as Dataset
    from xai.datasets.loading import load_data as load_data
    from xai.datasets.loading import sample_photos as sample_photos
    from xai.diagnosis import diagnose as diagnose
    from xai.errors import ContractError as ContractError
    from xai.errors import InputError as InputError
    from xai.errors import Stopped as Stopped
    from xai.errors import XaiError as XaiError
    from xai.explanations.dream.dream import deep_dream as deep_dream
    from xai.explanations.explain import explain as explain
    from xai.explanations.explain import layers as layers
    from xai.explanations.explanation import Explanation as Explanation
    from xai.explanations.rating.rate import rate_explanation as rate_explanation
    from xai.explanations.rating.rating import agreement as agreement
    from xai.explanations.rating.rating import compare_baselines as compare_baselines
    from xai.fairness.data_faults import data_faults as data_faults
    from xai.fairness.groups.bias import bias as bias
    from xai.fairness.groups.bias import bias_of_predictions as bias_of_predictions
    from xai.fairness.per_image_outcomes import treatment as treatment
    from xai.fairness.shortcuts.study import shortcuts as shortcuts
    from xai.fairness.slices import slices as slices
    from xai.feature_probe import fit_probe as fit_probe
    from xai.method_catalogue import methods as methods
    from xai.models.architectures import known_networks as known_networks
    from xai.models.architectures import untrained as untrained
    from xai.models.loading import load as load
    from xai.models.sources import catalogue as catalogue
    from xai.ood.compare import compare_ood as compare_ood
    from xai.ood.detector import OODDetector as OODDetector
    from xai.ood.fit import fit_ood as fit_ood
    from xai.reports.explanations import report as report
    from xai.reports.messages import translate as translate
    from xai.robust.attacks.base import attack as attack
    from xai.robust.certification.certify import certify as certify
    from xai.robust.certification.certify import output_bounds as output_bounds
    from xai.robust.corruptions.base import corrupt as corrupt
    from xai.robust.corruptions.result import mce as mce
    from xai.robust.corruptions.robustness import corruption_robustness as corruption_robustness
    from xai.robust.curves.robustness import robustness as robustness
    from xai.uncertainty.calibration import calibration as calibration
    from xai.uncertainty.conformal import fit_conformal as fit_conformal
    from xai.uncertainty.drift import drift as drift

__version__ = "0.1.0"

_MODULES = {  # public name: the module that defines it
    "Audit": "xai.audits.record",
    "Classifier": "xai.core.model.classifier",
    "ContractError": "xai.errors",
    "Dataset": "xai.datasets.dataset",
    "Explanation": "xai.explanations.explanation",
    "InputError": "xai.errors",
    "OODDetector": "xai.ood.detector",
    "Stopped": "xai.errors",
    "XaiError": "xai.errors",
    "agreement": "xai.explanations.rating.rating",
    "attack": "xai.robust.attacks.base",
    "audit": "xai.audits.audit",
    "bias": "xai.fairness.groups.bias",
    "bias_of_predictions": "xai.fairness.groups.bias",
    "calibration": "xai.uncertainty.calibration",
    "catalogue": "xai.models.sources",
    "certify": "xai.robust.certification.certify",
    "compare": "xai.audits.baseline",
    "compare_baselines": "xai.explanations.rating.rating",
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
    "known_networks": "xai.models.architectures",
    "layers": "xai.explanations.explain",
    "load": "xai.models.loading",
    "load_data": "xai.datasets.loading",
    "mce": "xai.robust.corruptions.result",
    "methods": "xai.method_catalogue",
    "output_bounds": "xai.robust.certification.certify",
    "rate_explanation": "xai.explanations.rating.rate",
    "report": "xai.reports.explanations",
    "robustness": "xai.robust.curves.robustness",
    "sample_photos": "xai.datasets.loading",
    "shortcuts": "xai.fairness.shortcuts.study",
    "slices": "xai.fairness.slices",
    "to_rgb": "xai.core.images.samples",
    "translate": "xai.reports.messages",
    "treatment": "xai.fairness.per_image_outcomes",
    "untrained": "xai.models.architectures",
}
__all__ = sorted([*_MODULES, "results"])
__getattr__, __dir__ = lazy_names(__name__, _MODULES | {"results": "xai.results"})
