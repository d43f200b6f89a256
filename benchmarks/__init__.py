"""Ratios against the peers, measured in one process."""
