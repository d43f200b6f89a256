"""Whether a model answers an image the same way twice, and alone as among others."""

import weakref
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from xai.core.hooks import parts_of
from xai.errors import UnsupportedModelError

DEPENDS = "depends on the others in its batch"
RANDOM = "two answers to the same picture differ in evaluation mode: maps are as random as the network"
CLOSE = {torch.float16: 0.02, torch.bfloat16: 0.1}
_CLOSE = 1e-3  # of the largest score: more is no rounding
_SMALL = 10_000_000  # buffers of more numbers are not compared
_TIMES = 8  # what is random may answer the same twice, and is no fault of the batch

Answer = Callable[[Tensor], Tensor]
_known: "weakref.WeakKeyDictionary[nn.Module, dict[tuple[int, ...], str]]" = weakref.WeakKeyDictionary()


def unsteadiness(module: nn.Module, name: str, answer: Answer, rows: Tensor, together: Tensor | None) -> str:
    """Return in words how the answer to the first image changes although the image does not, or "".

    Remembered per module: a bare module is given anew to every verb.

    Args:
        module: borrowed.
        name: of the model.
        answer: scores (n, K) of images (n, C, H, W), without gradients.
        rows: images (n, C, H, W) in [0, 1]; where it is one, its negative stands beside it.
        together: their scores in one batch, where there are several.

    Raises:
        UnsupportedModelError: batch norms without running statistics, or answering changes the module.
    Cost: two forwards of one image (three with a single row), up to nine where the answers differ.
    """
    table, key = _known.setdefault(module, {}), tuple(map(id, parts_of(module)))
    if key not in table:
        if len(rows) == 1 or together is None:
            rows = torch.cat([rows[:1], 1 - rows[:1]])
            together = answer(rows)
        table[key] = _unsteadiness(module, name, answer, rows, together)
    return table[key]


def _unsteadiness(module: nn.Module, name: str, answer: Answer, images: Tensor, together: Tensor) -> str:
    before = [buffer.clone() for buffer in _buffers(module)]
    alone = answer(images[:1])
    close = float(together.abs().max()) * CLOSE.get(together.dtype, _CLOSE) + 1e-6
    gap = float((alone - together[:1]).abs().max())
    again = (answer(images[:1]) for _ in range(_TIMES if gap > close else 1))
    if any(float((alone - other).abs().max()) > close for other in again):
        return RANDOM
    if any(not torch.equal(old, new) for old, new in zip(before, _buffers(module), strict=True)):
        raise UnsupportedModelError(
            f"{name!r} changes its own buffers while it answers in evaluation mode. Use running statistics."
        )
    if gap <= close:
        return ""
    refuse_batch_statistics(module, name, gap)
    return f"the answer to one image {DEPENDS} (by {gap:.2g}): images run one at a time"


def refuse_batch_statistics(module: nn.Module, name: str, gap: float) -> None:
    """Raise UnsupportedModelError where a layer normalises by the statistics of whatever batch comes."""
    if any(_by_batch(part) for part in parts_of(module)):
        raise UnsupportedModelError(
            f"The answer of {name!r} to one image {DEPENDS} (by {gap:.2g}), as its batch norms keep no "
            "running statistics: alone it would be normalised otherwise than in training. Use running statistics."
        )


def _by_batch(part: nn.Module) -> bool:
    return isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None


def _buffers(module: nn.Module) -> Iterator[Tensor]:
    return (buffer for buffer in module.buffers() if buffer.numel() <= _SMALL)
