"""Devices: the one asked for, and a module moved to it."""

from textwrap import shorten

import torch
from torch import nn

from xai.core.runtime.batching import is_out_of_memory
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
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise InputError(f'Expected `device` as "auto", "cpu", "cuda" or "mps", but got {device!r}.') from None
    if not _is_here(chosen):
        raise InputError(f'There is no device {str(chosen)!r} on this machine. Use "auto" or "cpu".')
    return chosen


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


def move(module: nn.Module, device: str | torch.device | None) -> None:
    """Move a module to a device; None leaves it where it is.

    Raises:
        InputError: no such device here.
    """
    if device is None:
        return
    try:
        module.to(torch.device(device))
    except (RuntimeError, AssertionError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"Expected a `device` that the module can go to, such as 'cpu', but got {str(device)!r} "
            f'({shorten(str(error), 100)}). Leave it out, or let `xai.load(module, device="auto")` choose.'
        ) from error
