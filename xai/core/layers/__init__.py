"""Layers: which one shows where, and how its output is laid out in space."""
