"""Small records to and from JSON."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Self


class Plain:
    """A dataclass of plain values, tuples of them and such records."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Return what `to_dict` wrote."""
        known = {f.name: kept[f.name] for f in fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in known.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, Plain):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value
