"""Keras archives on the torch backend."""
