"""The models that have a name: everything that lists models reads this registry."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from xai.core.registry import Registry

Built = tuple[nn.Module, dict[str, Any]]


@dataclass(frozen=True)
class Source:
    """A model that `xai.load` knows by name.

    Attributes:
        title: as people call it.
        origin: where its weights come from.
        input_size: height and width of its input.
        channels: 3 for colour, 1 for grey.
        classes: number of classes.
        licence: of code, weights and data.
        install: what to do when it is not available.
        build: makes the network with its weights, and the arguments of its `Classifier`.
        available: whether its parts are installed; looks, and loads nothing.
    """

    title: str
    origin: str
    input_size: tuple[int, int]
    channels: int
    classes: int
    licence: str
    install: str
    build: Callable[[], Built]
    available: Callable[[], bool]


MODELS: Registry[Source] = Registry("model")


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a named model.

    Attributes:
        name: as in `xai.load(name)`.
        title: as people call it.
        source: where its weights come from.
        input_size: height and width of its input.
        channels: 3 for colour, 1 for grey.
        classes: number of classes.
        licence: of code, weights and data.
        install: what to do when it is not available.
        available: whether its parts are installed.

    Example:
        >>> import xai
        >>> next(info for info in xai.catalogue() if info.name == "example:fashion").input_size
        (28, 28)
    """

    name: str
    title: str
    source: str
    input_size: tuple[int, int]
    channels: int
    classes: int
    licence: str
    install: str
    available: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        return asdict(self) | {"input_size": list(self.input_size)}


def catalogue() -> list[ModelInfo]:
    """Return what is known of each named model, sorted by name; no weights are read.

    Example:
        >>> import xai
        >>> [info.name for info in xai.catalogue() if info.name.startswith("example:")]
        ['example:fashion', 'example:fashion-robust', 'example:fashion-shortcut']
    """
    return [_describe(name, MODELS[name]) for name in MODELS]


def _describe(name: str, source: Source) -> ModelInfo:
    return ModelInfo(
        name=name,
        title=source.title,
        source=source.origin,
        input_size=source.input_size,
        channels=source.channels,
        classes=source.classes,
        licence=source.licence,
        install=source.install,
        available=source.available(),
    )
