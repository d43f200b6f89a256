"""Registries and tables of public names: what is behind a name is imported when it is first used."""

import random
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar

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


def lazy_names(module: str, table: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a module (PEP 562).

    Args:
        module: its name.
        table: public name: the module that defines it, or that it is.
    """

    def load(name: str) -> Any:
        if name not in table:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        state = random.getstate()
        try:
            loaded = import_module(table[name])
        finally:
            random.setstate(state)  # packages behind it draw numbers while they are imported (rich, for scikit-learn)
        value = loaded if table[name] == f"{module}.{name}" else getattr(loaded, name)
        setattr(sys.modules[module], name, value)
        return value

    def names() -> list[str]:
        return sorted([*table, *(["__version__"] if module == "xai" else [])])

    return load, names
