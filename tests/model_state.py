"""All that a call may not change: the model, the random states and the switches of torch."""

import decimal
import locale
import logging
import os
import random
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image, ImageFile
from torch import nn
from torch.nn.modules import module as globally

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)
_GLOBAL_HOOKS = ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks")


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def snapshot(module: nn.Module) -> dict[str, Any]:
    """Return everything that must be the same afterwards, each part under the name shown in a failure."""
    tensors = _tensors(module)
    parts = list(module.named_modules())
    return {
        "weights": {name: tensor.detach().cpu().clone().numpy().tobytes() for name, tensor in tensors.items()},
        "dtype and device": {name: (tensor.dtype, tensor.device) for name, tensor in tensors.items()},
        "requires_grad": {name: tensor.requires_grad for name, tensor in tensors.items()},
        "identity of .grad": {name: id(tensor.grad) for name, tensor in tensors.items()},
        "values of .grad": {n: t.grad.clone().numpy().tobytes() for n, t in tensors.items() if t.grad is not None},
        "tensor hooks": {name: len(tensor._backward_hooks or ()) for name, tensor in tensors.items()},
        "modes": {name: part.training for name, part in parts},
        "hooks": {f"{name}.{kind}": len(getattr(part, kind)) for name, part in parts for kind in _HOOKS},
        "global hooks": {kind: len(getattr(globally, kind)) for kind in _GLOBAL_HOOKS},
        "modules": {name: id(part) for name, part in parts},
        "attributes": {name: sorted(vars(part)) for name, part in parts},
        **switches(),
    }


def switches() -> dict[str, Any]:
    """Return random states and switches of torch, numpy and Python."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "torch random state": torch.get_rng_state().numpy().tobytes(),
        "numpy random state": (kind, keys.tobytes(), *rest),
        "python random state": random.getstate(),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "default dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
    }


def surroundings() -> dict[str, Any]:
    """Return `switches` and everything else of this process that a call may not leave changed."""
    return {
        **switches(),
        "precision of products": torch.get_float32_matmul_precision(),
        "TF32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "cudnn": (torch.backends.cudnn.enabled, torch.backends.cudnn.deterministic),
        "oneDNN": torch.backends.mkldnn.enabled,
        "anomaly detection": torch.is_anomaly_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "fast path of attention": torch.backends.mha.get_fastpath_enabled(),
        "default device": torch.get_default_device(),
        "environment": dict(os.environ),
        "working folder": str(Path.cwd()),
        "warnings": list(warnings.filters),
        "signal handlers": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "matplotlib": (matplotlib.get_backend(), dict(matplotlib.rcParams)),
        "open figures": plt.get_fignums(),
        "numpy errors": np.geterr(),
        "how numpy prints": str(np.get_printoptions()),
        "depth of recursion": sys.getrecursionlimit(),
        "digits of numbers": sys.get_int_max_str_digits(),
        "path of imports": list(sys.path),
        "excepthook": sys.excepthook,
        "standard streams": (id(sys.stdin), id(sys.stdout), id(sys.stderr)),
        "locale": locale.setlocale(locale.LC_ALL),
        "log": (logging.root.level, logging.root.manager.disable, logging.lastResort),
        "traces": (sys.gettrace(), sys.getprofile(), threading.gettrace()),
        "file mode": _umask(),
        "decimals": str(decimal.getcontext()),
        "hook of images": (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS),
        "default types": torch.get_default_dtype(),
    }


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Fail with the names of what changed."""
    changed = [name for name, value in before.items() if after[name] != value]
    assert not changed, f"changed: {', '.join(changed)}"


def lived_in(module: nn.Module) -> nn.Module:
    """Give a module what a user may have left on it: mixed modes, a frozen layer, gradients, a hook."""
    parts = list(module.modules())
    for k, part in enumerate(parts):
        part.training = k % 2 == 0
    parameters = list(module.parameters())
    for k, parameter in enumerate(parameters):
        parameter.requires_grad_(k % 3 != 1)
        parameter.grad = torch.full_like(parameter, 0.5) if k % 2 == 0 else None
    parts[-1].register_forward_hook(lambda *_: None)
    return module
