"""What an attack raises: functions of logits (N, K) and classes (N,), one value per row."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

_TINY = 1e-12
Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of the true class."""
    return F.cross_entropy(logits, labels, reduction="none")


def divergence(logits: Tensor, answers: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of the probabilities from those of `answers`: KL(answers || logits)."""
    log, reference = logits.log_softmax(1), answers.log_softmax(1)
    return (reference.exp() * (reference - log)).sum(1)


def best_other(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the largest logit of another class."""
    hidden = torch.zeros_like(logits).scatter_(1, labels[:, None], torch.inf)
    return (logits - hidden).amax(1)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the best other logit less the true one."""
    return best_other(logits, labels) - logits.gather(1, labels[:, None])[:, 0]


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the difference of logits ratio: the margin over the first less the third largest logit.

    Blind to the scale of the logits. With two classes the margin over itself says nothing: cross-entropy stands in.
    Source: Croce & Hein 2020, eq. (6).
    """
    if logits.shape[1] < 3:
        return cross_entropy(logits, labels)
    top = logits.topk(3, 1).values
    return margin(logits, labels) / (top[:, 0] - top[:, 2] + _TINY)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the target's logit less the true one, over the first less the mean of third and fourth largest logit.

    With fewer than four classes the plain difference stands in. Source: Croce & Hein 2020, eq. (7).
    """
    gap = logits.gather(1, targets[:, None])[:, 0] - logits.gather(1, labels[:, None])[:, 0]
    if logits.shape[1] < 4:
        return gap
    top = logits.topk(4, 1).values
    return gap / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + _TINY)


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "margin": margin, "dlr": dlr}
