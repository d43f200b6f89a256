"""Where images come from: `load_data` takes a folder, a table, an array file or an example's name."""

from xai.datasets.base import Dataset, ImageSequence
from xai.datasets.loading import load_data
from xai.datasets.photos import Photo, sample_photos

__all__ = ["Dataset", "ImageSequence", "Photo", "load_data", "sample_photos"]
