"""Certification: bounds on what a model can answer when its input moves."""
