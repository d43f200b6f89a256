"""Robustness: attacks, corruptions, certification, curves."""
