"""From `arch` to an untrained model: the user's own code, or a name from a list; a file never names it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from xai.core.model.hooks import random_states_kept
from xai.core.validation import check_choice
from xai.errors import InputError, MissingExtraError, NameLookupError, UnsupportedModelError
from xai.models.hubs.libraries import timm_package, torchvision_models
from xai.models.sources import MODELS

Architecture = str | Callable[[], nn.Module] | nn.Module


@contextmanager
def imports_from(folder: Path, arch: Architecture | None) -> Iterator[None]:
    """Within it, the module of `arch` is looked for in a folder first, then where Python looks, last in this one.

    A module of the same name that was imported from elsewhere is not mistaken for the folder's own, and is back after.
    """
    if not isinstance(arch, str):
        yield
        return
    place, first = folder.resolve(), arch.partition(":")[0].partition(".")[0]
    own = (place / f"{first}.py").is_file() or (place / first / "__init__.py").is_file()
    hidden = {name: module for name, module in sys.modules.items() if own and _comes_from_elsewhere(name, first, place)}
    for name in hidden:
        del sys.modules[name]
    invalidate_caches()  # of folders that were looked into before a file came
    here = str(Path.cwd())
    sys.path[:] = [str(place), *sys.path, here]
    try:
        yield
    finally:
        sys.path.remove(str(place))
        del sys.path[len(sys.path) - 1 - sys.path[::-1].index(here)]
        sys.modules.update(hidden)


def _comes_from_elsewhere(name: str, first: str, folder: Path) -> bool:
    file = getattr(sys.modules[name], "__file__", None)
    return name.partition(".")[0] == first and file is not None and not Path(file).resolve().is_relative_to(folder)


def build_network(arch: Architecture) -> nn.Module:
    """Return the network that `arch` stands for.

    Args:
        arch: "package.module:factory", a callable, or a module, which is returned itself.

    Raises:
        InputError: not of the form "package.module:factory", or the code named raised an exception.
        NameLookupError: no such Python module, or no such name in it; near ones are suggested.
        UnsupportedModelError: not callable, or what it returns is no `nn.Module`.
    """
    if isinstance(arch, nn.Module):
        return arch
    name = repr(arch) if isinstance(arch, str) else getattr(arch, "__qualname__", type(arch).__name__)
    factory = _find_factory(arch) if isinstance(arch, str) else arch
    if not callable(factory):
        raise UnsupportedModelError(
            f"Expected `arch` to name a class or function, but {name} is of type {type(factory).__name__}."
        )
    network = _call(factory, name)
    if not isinstance(network, nn.Module):
        raise UnsupportedModelError(
            f"Expected `arch` to return a torch.nn.Module, but {name} returned {type(network).__name__}."
        )
    return network.eval()


def _find_factory(arch: str) -> object:
    place, colon, name = arch.partition(":")
    if not (colon and place and name):
        raise InputError(f'Expected `arch` as "package.module:factory", but got {arch!r}.')
    module = _import(place)
    if not hasattr(module, name):
        public = [known for known in dir(module) if not known.startswith("_")]
        raise NameLookupError(f"network in {place!r} called", name, public)
    factory: object = getattr(module, name)
    return factory


def _import(place: str) -> ModuleType:
    try:
        return import_module(place)
    except ModuleNotFoundError as error:
        if error.name and f"{place}.".startswith(f"{error.name}."):
            raise InputError(
                f"There is no Python module {place!r} for `arch`. Install it, or put its folder on PYTHONPATH."
            ) from None
        raise InputError(f"The module {place!r} of `arch` needs {error.name!r}, which is not installed.") from error
    except Exception as error:  # the user's own module, which may raise anything
        raise InputError(f"The module {place!r} of `arch` cannot be imported: {_first_line(error)}") from error


def _call(factory: Callable[[], object], name: str) -> object:
    try:
        return factory()
    except Exception as error:  # the user's own code, which may raise anything
        raise InputError(f"{name}, called without arguments for `arch`, raised {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


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
        classes: outputs; None: as the network has them. Named models have as many as they have.
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
    check_choice("network", name, known)
    with random_states_kept():  # building a network draws weights
        return _built(name, classes, channels)


def _built(name: str, classes: int | None, channels: int) -> nn.Module:
    hub, _, inner = name.partition(":")
    if name in MODELS:
        return MODELS[name].build()[0]
    sized: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if hub == _HUBS[0]:
        network: nn.Module = torchvision_models().get_model(inner, weights=None, **sized)
        return network
    made: nn.Module = timm_package().create_model(inner, pretrained=False, in_chans=channels, **sized)
    return made


def _of_torchvision() -> list[str]:
    try:
        models = torchvision_models()
    except MissingExtraError:
        return []
    return [f"{_HUBS[0]}:{name}" for name in models.list_models(module=models)]


def _of_timm() -> list[str]:
    try:
        return [f"{_HUBS[1]}:{name}" for name in timm_package().list_models()]
    except MissingExtraError:
        return []
