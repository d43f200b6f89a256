"""Model files: their format, weights, and whole models that can carry code."""
