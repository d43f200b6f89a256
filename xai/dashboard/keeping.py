"""Results that are kept, those used longest ago going first when they take too much memory."""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from threading import RLock
from typing import Any

import xai

Key = tuple[Hashable, ...]
_MOST_BYTES = 512 * 2**20
_FEWEST = 12  # results that are kept however large they are, so that those on a page fit


@dataclass(eq=False)
class Kept:
    """Results by key."""

    _found: OrderedDict[Key, Any] = field(default_factory=OrderedDict)
    _guard: Any = field(default_factory=RLock)

    def __contains__(self, key: Key) -> bool:
        """Say whether there is a result."""
        return key in self._found

    def find(self, key: Key) -> Any | None:
        """Return a result, or the error that came instead; None when there is neither."""
        with self._guard:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def keep(self, key: Key, value: Any) -> Any:
        """Keep a result and return it."""
        with self._guard:
            self._found[key] = value
            self._found.move_to_end(key)
            while len(self._found) > _FEWEST and sum(map(size_of, self._found.values())) > _MOST_BYTES:
                self._found.popitem(last=False)
        return value

    def drop(self, key: Key) -> None:
        """Forget a result, if there is one."""
        with self._guard:
            self._found.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        with self._guard:
            self._found.clear()


def size_of(value: Any) -> int:
    """Return about how much memory a result takes: arrays, tensors, texts, and the maps that an explanation makes."""
    if isinstance(value, xai.Explanation):
        maps = sum(4 * picture.shape[0] * picture.shape[1] for picture in value.pictures)
        return int(maps + value.pictures[0].nbytes + value.attribution.nbytes)
    if is_dataclass(value):
        return sum(size_of(getattr(value, f.name)) for f in fields(value))
    if isinstance(value, Mapping):
        return sum(map(size_of, value.values()))
    if isinstance(value, tuple | list):
        return sum(map(size_of, value))
    return len(value) if isinstance(value, str) else int(getattr(value, "nbytes", 0))
