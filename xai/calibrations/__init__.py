"""How far probabilities can be taken at their word: calibration, and sets of classes with a guarantee."""

from xai.calibrations.calibrate import calibration
from xai.calibrations.conformal import fit_conformal
from xai.calibrations.predictor import ConformalPredictor
from xai.calibrations.result import Calibration
from xai.calibrations.sets import PredictionSets

__all__ = ["Calibration", "ConformalPredictor", "PredictionSets", "calibration", "fit_conformal"]
