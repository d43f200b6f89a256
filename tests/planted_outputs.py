"""Answers that are calibrated by construction, as stored outputs."""

import torch

from xai.core.model.features import Outputs


def planted(count, temperature=1.0, classes=10, seed=0):
    """Return outputs whose logits, divided by `temperature`, are calibrated."""
    source = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, generator=source)
    labels = torch.multinomial(logits.softmax(1), 1, generator=source)[:, 0]
    return Outputs(logits * temperature, None, labels, None)
