"""Settings as people write them, and read back."""

from typing import Any


def as_text(value: Any) -> str:
    """Return a setting as people write it: names and numbers, several with commas between them, empty for None."""
    if isinstance(value, tuple | list):
        return ", ".join(map(as_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def from_text(text: str, default: Any) -> Any:
    """Return a text as the kind of value that the default is; what it cannot be is left for xai to refuse."""
    if isinstance(default, tuple):
        return tuple(_number_or_text(part.strip()) for part in text.split(",") if part.strip())
    if isinstance(default, bool):
        return text.lower() in {"true", "yes", "1"}
    if isinstance(default, str):
        return text
    try:
        return float(text) if isinstance(default, float) else int(text)
    except ValueError:
        return text


def length(text: str) -> Any:
    """Return "24" as pixels, "0.15" as a share of the side, "24, 12" as height and width; the rest is left to xai."""
    parts = [_number_or_text(part.strip()) for part in text.split(",")]
    return parts[0] if len(parts) == 1 else tuple(parts)


def _number_or_text(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
