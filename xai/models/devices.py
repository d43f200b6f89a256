"""Which device a model goes to."""

import torch

from xai.errors import InputError


def pick_device(device: str | torch.device | None) -> torch.device | None:
    """Return the device asked for; "auto" is a GPU when there is one, None leaves the model where it is.

    Raises:
        InputError: no such device on this machine.
    """
    if device is None:
        return None
    if device == "auto":
        return _best_device()
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise InputError(f'Expected `device` as "auto", "cpu", "cuda" or "mps", but got {device!r}.') from None
    if not _is_here(found):
        raise InputError(f'There is no device {str(found)!r} on this machine. Use "auto" or "cpu".')
    return found


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _is_here(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    return device.type == "cpu"
