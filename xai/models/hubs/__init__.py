"""Models by the name that another library knows them by: `torchvision:resnet50`, `timm:NAME`, `hf:ORG/NAME`."""

from collections.abc import Callable

from xai.core.registry import Registry
from xai.models.sources import Built

HUBS: Registry[Callable[[str], Built]] = Registry(
    "source of models", "xai.models.hubs", dict.fromkeys(("torchvision", "timm", "hf"), "libraries")
)


def open_hub(text: str) -> Built:
    """Return the network that "hub:name" stands for, and how to use it.

    Raises:
        NameLookupError: no such hub, or no such model there.
        MissingExtraError: its package is not installed.
        CheckpointError: its weights cannot be had, or are not the published ones.
    """
    hub, _, name = text.partition(":")
    return HUBS[hub](name)
