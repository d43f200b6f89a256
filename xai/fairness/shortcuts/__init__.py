"""Shortcuts: found in the data, inserted into images, and tested on the model."""
