"""The audit that others are measured by, kept beside them."""

import json

import xai
from xai.dashboard.runs import audits_folder, finished

_FILE = "pinned.json"


def pinned() -> str | None:
    """Return the folder's name of the pinned audit, where it is still there."""
    try:
        name = json.loads((audits_folder() / _FILE).read_text(encoding="utf-8"))["baseline"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return name if name in [folder.name for folder in finished()] else None


def pin(name: str | None) -> None:
    """Pin an audit, or none.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        (audits_folder() / _FILE).write_text(json.dumps({"baseline": name}) + "\n", encoding="utf-8")
    except OSError as error:
        raise xai.InputError(
            f"{_FILE}: cannot be written ({error.strerror}). Start the dashboard where you may write, or with --audits."
        ) from error
