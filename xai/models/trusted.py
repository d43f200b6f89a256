"""Whole models in forms that can carry code: read only where the caller said trust=True, and that is said again."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xai.errors import CheckpointError
from xai.models.sources import Built


def open_trusted(path: Path, kind: str) -> Built:
    """Return the network of a TorchScript or torch.export archive or of a pickle; whatever code is in it runs.

    Args:
        path: the file.
        kind: "torchscript", "export", "pickle" or "state dict" (a zip of torch.save), as found from its structure.

    Raises:
        CheckpointError: the file is damaged, needs code that is not here, or holds no network.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that two of these forms are old
            network = _read(path, kind)
    except Exception as error:  # the file's own code runs here, and may raise anything
        first = next(iter(str(error).splitlines()), "")
        raise CheckpointError(f"{path}: reading it failed ({type(error).__name__}: {first[:200]}).") from error
    if not isinstance(network, nn.Module):
        raise CheckpointError(
            f"{path}: expected a torch.nn.Module, but it holds a {type(network).__name__}. Of weights alone, name the "
            '`arch`: "package.module:factory".'
        )
    return network, {"name": path.stem, "notes": ["loaded with trust=True: whatever code the file holds has run"]}


def _read(path: Path, kind: str) -> Any:
    if kind == "torchscript":
        return torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    if kind == "export":
        network = torch.export.load(path).module()
        for part in network.modules():
            part.training = False  # its `eval()` is not supported; the mode was fixed at the export
        return network
    return torch.load(path, map_location="cpu", weights_only=False)
