"""Figures computed from tensors and callables; no method is known here."""
