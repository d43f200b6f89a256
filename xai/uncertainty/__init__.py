"""Uncertainty: calibration, conformal prediction, drift."""
