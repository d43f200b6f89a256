"""Robust accuracy over radii, and whether the evaluation can be believed."""
