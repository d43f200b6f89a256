"""Results draw nothing themselves: who draws what is said by `xai.api`, so that core knows no plots."""

from collections.abc import Callable
from typing import Any

from xai.errors import ContractError

_artists: dict[str, Callable[..., Any]] = {}


def draw_with(**artists: Callable[..., Any]) -> None:
    """Say who draws, by the name of what is drawn."""
    _artists.update(artists)


def draw(what: str, *arguments: Any, **settings: Any) -> Any:
    """Return what the artist of that name makes.

    Raises:
        ContractError: nobody was named.
    """
    if what not in _artists:
        raise ContractError("Nobody said who draws results: import xai before xai.core.")
    return _artists[what](*arguments, **settings)
