"""Stages: work on images that several checks share, one kind a file."""
