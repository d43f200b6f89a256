"""What a network returns, read as logits (N, K)."""

from typing import Any

import torch
from torch import Tensor

from xai.core.containers import tensors_in
from xai.errors import NameLookupError, UnsupportedModelError

HEADS = ("softmax", "sigmoid")
OUTPUTS = ("logits", "probabilities")
_TINY = 1e-12


def check_head(head: str, output: str) -> None:
    """Raise unless both words are known.

    Raises:
        NameLookupError: an unknown word.
    """
    if head not in HEADS:
        raise NameLookupError("head", head, HEADS)
    if output not in OUTPUTS:
        raise NameLookupError("kind of output", output, OUTPUTS)


def output_tensor(output: Any) -> Tensor:
    """Return the class scores in what a model returned: a tensor, `.logits`, ["logits"] or the first item.

    Raises:
        UnsupportedModelError: nothing of the kind; the message lists what came.
    """
    found = getattr(output, "logits", None)
    if found is None and isinstance(output, dict):
        found = output.get("logits", next(iter(output.values())) if len(output) == 1 else None)
    if found is None and isinstance(output, tuple | list) and output:
        found = output[0]
    if found is None:
        found = output
    if isinstance(found, Tensor):
        return found
    names = list(output) if isinstance(output, dict) else [tuple(t.shape) for t in tensors_in(output)]
    raise UnsupportedModelError(
        f"Expected logits as a tensor, a tuple, a dict with 'logits' or an object with .logits, but the model returned "
        f"{type(output).__name__} with {names}. Wrap it in a module that returns (N, K)."
    )


def to_logits(scores: Tensor, rows: int, *, head: str, output: str) -> Tensor:
    """Return logits (N, K): one output becomes two classes, probabilities go back through their link function.

    Of one output s, softmax takes (-s/2, s/2) and sigmoid (-s, s): both give the second class the probability
    sigmoid(s) and the first one the rest, and both classes have a gradient.

    Raises:
        UnsupportedModelError: the shape is not (N, K) or (N,), or the scores are whole numbers.
    """
    if not scores.is_floating_point():
        raise UnsupportedModelError(
            f"Expected class scores as floating numbers, but the model returned {scores.dtype}. Return the logits, not "
            "the predicted class."
        )
    if scores.ndim > 2 and scores.shape[2:].numel() == 1:
        scores = scores.flatten(1)
    if scores.ndim == 1 and len(scores) == rows:
        scores = scores[:, None]
    if scores.ndim != 2 or len(scores) != rows:
        raise UnsupportedModelError(
            f"Expected one row of class scores per image, ({rows}, K), but the model returned {tuple(scores.shape)}. "
            "Only classifiers can be explained."
        )
    if scores.dtype in {torch.float16, torch.bfloat16}:
        scores = scores.float()
    single = scores.shape[1] == 1
    if output == "probabilities":
        safe = scores.clamp(_TINY, 1 - 1e-7)
        scores = torch.logit(safe) if single or head == "sigmoid" else safe.log()
    if not single:
        return scores
    half = scores / 2 if head == "softmax" else scores
    return torch.cat([-half, half], 1)


def to_probabilities(logits: Tensor, head: str) -> Tensor:
    """Return probabilities (N, K) of logits: over the classes together, or each class by itself."""
    return logits.softmax(1) if head == "softmax" else logits.sigmoid()


def look_like_probabilities(logits: Tensor) -> bool:
    """Return True when every row of what should be logits is non-negative and sums to one."""
    sums = logits.detach().sum(1)
    return bool((logits.detach() >= 0).all()) and bool((sums - 1).abs().max() < 1e-3)


def ask_for_probabilities(logits: Tensor, head: str, output: str) -> list[str]:
    """Return a note when what was taken for logits looks like probabilities."""
    doubtful = output == "logits" and head == "softmax" and logits.shape[1] > 1 and look_like_probabilities(logits)
    said = "the model's outputs look like probabilities, not logits: pass output='probabilities'"
    return [said] if doubtful else []
