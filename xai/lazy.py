"""Public names that are loaded at first use. `import xai` stays fast."""

import random
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(module: str, table: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a module (PEP 562).

    Args:
        module: its name.
        table: public name: the module that defines it, or that it is.

    Raises:
        AttributeError: by the first function, for a name that the table has not.

    Example:
        >>> load, names = lazy_names("xai", {"Stopped": "xai.errors"})
        >>> load("Stopped").__name__, names()
        ('Stopped', ['Stopped', '__version__'])
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
