"""Registries: names, and what is behind them, imported when it is first used."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Generic, TypeVar

from xai.errors import ContractError, NameLookupError

T = TypeVar("T")


class Registry(Generic[T]):
    """A table from names to things; a second registration of a name is an error.

    Args:
        kind: what is registered, for messages: "explanation method".
        package: where the modules are.
        modules: from name to the module in `package` that registers it, which is imported when the name is first used.
    """

    def __init__(self, kind: str, package: str = "", modules: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self._modules = {name: f"{package}.{module}" for name, module in (modules or {}).items()}
        self._things: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that enters a thing under `name`.

        Raises:
            ContractError: the name is taken.
        """

        def enter(thing: T) -> T:
            if name in self._things:
                raise ContractError(f"The {self.kind} {name!r} is registered twice.")
            self._things[name] = thing
            return thing

        return enter

    def __getitem__(self, name: str) -> T:
        """Return the thing called `name`.

        Raises:
            NameLookupError: no such name; near ones are suggested.
        """
        if name not in self.names():  # a list, as what is asked for can be anything
            raise NameLookupError(self.kind, name, self.names())
        if name not in self._things:
            import_module(self._modules[name])
        return self._things[name]

    def __contains__(self, name: str) -> bool:
        """Whether the name is registered."""
        return name in self._things or name in self._modules

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, sorted."""
        return iter(self.names())

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted({*self._modules, *self._things})
