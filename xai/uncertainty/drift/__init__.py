"""Drift: whether two data sets look alike to a model."""
