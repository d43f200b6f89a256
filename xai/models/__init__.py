"""Where classifiers come from: `load` takes a name, a hub's name or a file, `catalogue` lists the names."""

from xai.models import (  # noqa: F401  (each enters its models)
    efficientnet_lite,
    examples,
    huggingface_models,
    timm_models,
    torchvision_models,
)
from xai.models.architectures import imports_from
from xai.models.blank import known_networks, untrained
from xai.models.hubs import HUBS
from xai.models.loading import check_source, load
from xai.models.probes import Probe
from xai.models.sources import MODELS, ModelInfo, Source, catalogue

__all__ = [
    "HUBS",
    "MODELS",
    "ModelInfo",
    "Probe",
    "Source",
    "catalogue",
    "check_source",
    "imports_from",
    "known_networks",
    "load",
    "untrained",
]
