"""Checks: one question to a model each, one file each; importing this registers them."""

from xai.audits.checks import accuracy as accuracy
from xai.audits.checks import calibration as calibration
from xai.audits.checks import certified_accuracy as certified_accuracy
from xai.audits.checks import corruption_accuracy as corruption_accuracy
from xai.audits.checks import data_faults as data_faults
from xai.audits.checks import explanation_drift as explanation_drift
from xai.audits.checks import faithfulness as faithfulness
from xai.audits.checks import generalisation_gap as generalisation_gap
from xai.audits.checks import group_gap as group_gap
from xai.audits.checks import ood_detection as ood_detection
from xai.audits.checks import robust_accuracy as robust_accuracy
from xai.audits.checks import shortcuts as shortcuts
from xai.audits.checks import slices as slices
from xai.audits.checks import speed as speed
from xai.audits.checks import stability as stability
from xai.audits.checks._base import CHECKS as CHECKS
from xai.audits.checks._base import Check as Check
from xai.audits.checks._base import View as View
