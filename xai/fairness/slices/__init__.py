"""Slices: kinds of images on which a model is weak."""
