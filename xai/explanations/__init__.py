"""Explanations: methods, rating, metrics, deep dream."""
