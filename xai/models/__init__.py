"""Where classifiers come from: `load` takes a name or a weight file, `catalogue` lists the names."""

from xai.models import efficientnet_lite, examples  # noqa: F401  (each enters its models)
from xai.models.loading import load
from xai.models.sources import MODELS, ModelInfo, Source, catalogue

__all__ = ["MODELS", "ModelInfo", "Source", "catalogue", "load"]
