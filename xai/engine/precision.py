"""Low precision, used only when a method's own answers stay the same in it."""

from collections.abc import Callable

import torch
from torch import Tensor

from xai.core.hooks import copied
from xai.engine.prepare import Prepared, around

SAMPLE = 24  # pictures that a method tries
ALIKE = 0.98  # least correlation with the exact answers
OFF = (
    2 * (1 - ALIKE**2)
) ** 0.5  # root mean square of differences, as a share of the answers': what such a correlation
# leaves, once for each picture and once for the clean one, whose rounding is in every fall
_NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16"}


def in_low_precision(full: Prepared, answers: Callable[[Prepared], Tensor]) -> tuple[Prepared, str]:
    """Return a low-precision copy when its answers are as good as exact on a sample, or the full one; and a note.

    What is compared is what the method uses, such as the fall of a score for some of its own pictures: logits of a
    thousand other classes may move, and a shift that all pictures share is none. An untrained network, whose answers
    are smaller than the rounding, fails.

    Args:
        full: of `xai.engine.prepare`, in float32 or float64.
        answers: (S, n) what the method finds for S pictures, as a fall from the clean one, with a prepared model; more
            than S from the low-precision copy tell better how far answers spread.

    Cost: a copy of the weights, and the sample twice.
    """
    kind = quick_type(full.classifier.device)
    if kind is None:
        return full, "fast: this processor is no quicker in low precision, which is not used"
    name = _NAMES[kind]
    module = copied(full.classifier.module).to(kind)
    low = Prepared(around(full.classifier, module), name, full.notes)
    try:
        close, figure = compared(answers(low), answers(full))
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0][:80]
        return full, f"fast: {name} not used, the model cannot compute in it ({first})"
    return (low, f"fast: {name} used, {figure}") if close else (full, f"fast: {name} not used, {figure}")


def quick_type(device: torch.device) -> torch.dtype | None:
    """Return the low precision in which a device is quicker than in float32, or None."""
    if device.type == "cpu":
        quick = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if quick else None
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16


def compared(found: Tensor, wanted: Tensor) -> tuple[bool, str]:
    """Say whether answers are as good as the exact ones for each of the n classes, and by how much.

    Args:
        found: (S or more, n); the first S are those asked for, more of them only tell how far answers spread.
        wanted: (S, n) the exact ones.
    """
    found, wanted = found.double(), wanted.double()
    error = found[: len(wanted)] - wanted
    left = error.var(0, correction=0) / found.var(0, correction=0).clamp_min(1e-30)
    alike = float((1 - left).clamp_min(0).sqrt().min())
    off = float((error.square().mean(0) / found.square().mean(0).clamp_min(1e-30)).sqrt().max())
    figure = f"by a sample it correlates {alike:.3f} with the exact answers, differences are {off:.1%} of them"
    return alike >= ALIKE and off <= OFF, figure
