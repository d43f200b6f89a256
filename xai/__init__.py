"""Why an image classifier answers as it does, and how far the answer can be trusted.

>>> import xai
>>> clf = xai.load("example:fashion")
>>> data = xai.load_data("example:fashion-test")
>>> explanation = xai.explain(clf, data.images[0])
>>> explanation.heatmap.shape
(28, 28)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xai.api import (
        Classifier,
        Explanation,
        MethodInfo,
        Prediction,
        catalogue,
        explain,
        layers,
        load,
        load_data,
        methods,
        sample_photos,
    )

__version__ = "0.1.0"
__all__ = [
    "Classifier",
    "Explanation",
    "MethodInfo",
    "Prediction",
    "catalogue",
    "explain",
    "layers",
    "load",
    "load_data",
    "methods",
    "sample_photos",
]


def __getattr__(name: str) -> Any:
    """Load the public names when they are first used, so that `import xai` costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'xai' has no attribute {name!r}")
    value = getattr(import_module("xai.api"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*__all__, "__version__"])
