"""Conformal prediction: sets of classes with a guarantee."""
