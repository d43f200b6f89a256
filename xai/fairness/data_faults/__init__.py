"""Data faults: duplicates, label errors, broken images, imbalance."""
