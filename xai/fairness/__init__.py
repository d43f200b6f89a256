"""Bias: groups, slices, data faults, shortcuts."""
