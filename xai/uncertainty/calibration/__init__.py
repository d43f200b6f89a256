"""Calibration: whether probabilities are frequencies."""
