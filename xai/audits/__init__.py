"""Audits: checks of a model on data, judged by conditions, kept and compared."""
