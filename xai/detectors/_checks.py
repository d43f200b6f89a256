"""Settings of detectors, checked where they are given."""

from collections.abc import Collection

from xai.errors import NameLookupError, RangeError


def check_whole(name: str, value: object, least: int = 1, *, optional: bool = False) -> None:
    """Raise unless a setting is a whole number of at least `least`, or None where that is allowed.

    Raises:
        RangeError: it is not.
    """
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise RangeError(f"Expected `{name}` as a whole number of at least {least}, but got {value!r}.")


def check_number(name: str, value: object, low: float, high: float, *, optional: bool = False) -> None:
    """Raise unless a setting is a number from `low` to `high`, or None where that is allowed.

    Raises:
        RangeError: it is not.
    """
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise RangeError(f"Expected `{name}` as a number from {low:g} to {high:g}, but got {value!r}.")


def check_word(name: str, value: object, known: Collection[str]) -> None:
    """Raise unless a setting is one of some words.

    Raises:
        NameLookupError: it is not.
    """
    if value not in known:
        raise NameLookupError(name, value, known)
