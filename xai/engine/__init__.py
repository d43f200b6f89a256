"""Prepared copies of a model that answer the same, faster."""
