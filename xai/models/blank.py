"""Networks by a name from a list: what a weight file may be loaded into where nobody may name code of their own."""

from typing import Any

from torch import nn

from xai.core.hooks import random_states_kept
from xai.errors import MissingExtraError, NameLookupError
from xai.models.sources import MODELS
from xai.models.timm_models import _timm
from xai.models.torchvision_models import _models

_HUBS = ("torchvision", "timm")


def known_networks() -> list[str]:
    """Return the names that `untrained` knows here: named models, and those of torchvision and timm if installed.

    Returns:
        Names such as "efficientnet_lite0", "torchvision:resnet18" or "timm:vit_tiny_patch16_224".

    Example:
        >>> import xai
        >>> "example:fashion" in xai.known_networks()
        True
    """
    return [*(name for name in MODELS if MODELS[name].available()), *_of_torchvision(), *_of_timm()]


def untrained(name: str, classes: int | None = None, channels: int = 3) -> nn.Module:
    """Return a network with random or its own weights, for `xai.load(FILE, arch=...)` to put a file's weights in.

    Args:
        name: one of `known_networks()`; no other code is ever imported.
        classes: outputs; None takes what the network has. Named models have as many as they have.
        channels: of the input, of a network of timm; the others have their own.

    Returns:
        The module, in training mode or not as its maker leaves it.

    Raises:
        NameLookupError: no such network here; near names are suggested.

    Example:
        >>> import xai
        >>> type(xai.untrained("example:fashion")).__name__
        'SmallNet'
    """
    known = known_networks()
    if name not in known:
        raise NameLookupError("network", name, known)
    with random_states_kept():  # building a network draws weights
        return _built(name, classes, channels)


def _built(name: str, classes: int | None, channels: int) -> nn.Module:
    hub, _, inner = name.partition(":")
    if name in MODELS:
        return MODELS[name].build()[0]
    sized: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if hub == _HUBS[0]:
        found: nn.Module = _models().get_model(inner, weights=None, **sized)
        return found
    made: nn.Module = _timm().create_model(inner, pretrained=False, in_chans=channels, **sized)
    return made


def _of_torchvision() -> list[str]:
    try:
        models = _models()
    except MissingExtraError:
        return []
    return [f"{_HUBS[0]}:{name}" for name in models.list_models(module=models)]


def _of_timm() -> list[str]:
    try:
        return [f"{_HUBS[1]}:{name}" for name in _timm().list_models()]
    except MissingExtraError:
        return []
