"""Settings of a method, told from those of the call."""

from collections.abc import Collection
from dataclasses import fields
from typing import Any

from xai.errors import NameLookupError


def split_settings(
    method: type, name: str, settings: dict[str, Any], call: Collection[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of the call and those of the method.

    Raises:
        NameLookupError: neither has a setting of that name.
    """
    own = [f.name for f in fields(method)]
    for given in settings:
        if given not in call and given not in own:
            raise NameLookupError(f"setting of {name}", given, [*call, *own])
    return (
        {key: value for key, value in settings.items() if key in call},
        {key: value for key, value in settings.items() if key not in call},
    )
