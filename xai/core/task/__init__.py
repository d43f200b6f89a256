"""The task of a model: what its outputs mean, found, checked and reported."""
