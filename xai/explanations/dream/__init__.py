"""Deep dream and class images."""
