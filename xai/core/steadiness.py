"""Whether a model answers an image the same way twice, and alone as among others."""

import weakref
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from xai.core.hooks import parts_of, state_of
from xai.errors import UnsupportedModelError

DEPENDS = "depends on the others in its batch"
RANDOM = "two answers to the same picture differ in evaluation mode: maps are as random as the network"
CLOSE = {torch.float16: 0.02, torch.bfloat16: 0.1}
_CLOSE = 1e-3  # of the largest score: more is no rounding
_SMALL = 10_000_000  # buffers of more numbers are not compared
_TIMES = 8  # what is random may answer the same twice, and is no fault of the batch

Answer = Callable[[Tensor], Tensor]
_known: "weakref.WeakKeyDictionary[nn.Module, tuple[object, str]]" = weakref.WeakKeyDictionary()


def unsteadiness(module: nn.Module, name: str, answer: Answer, rows: Tensor, together: Tensor | None) -> str:
    """Return in words how the answer to the first image changes although the image does not, or "".

    Remembered per module until it changes: a bare module is given anew to every verb.

    Args:
        module: borrowed.
        name: of the model.
        answer: scores (n, K) of images (n, C, H, W), without gradients.
        rows: images (n, C, H, W) in [0, 1]; where it is one, its negative stands beside it.
        together: their scores in one batch, where there are several.

    Raises:
        UnsupportedModelError: batch norms without running statistics, or answering changes the module.
    Cost: three forwards of one image and one of all (two with a single row), more where the answers differ.
    """
    state, known = state_of(module), _known.get(module)
    if known is None or known[0] != state:
        if len(rows) == 1 or together is None:
            rows = torch.cat([rows[:1], 1 - rows[:1]])
            together = answer(rows)
        known = state, _unsteadiness(module, name, answer, rows, together)
        _known[module] = known
    return known[1]


def _unsteadiness(module: nn.Module, name: str, answer: Answer, images: Tensor, together: Tensor) -> str:
    before = {key: buffer.clone() for key, buffer in _buffers(module)}
    alone = torch.cat([answer(images[k : k + 1]) for k in (0, -1 % len(images))])
    close = float(together.abs().max()) * CLOSE.get(together.dtype, _CLOSE) + 1e-6
    turned = answer(images.flip(0)).flip(0)
    gap = max(float((alone - some[[0, -1]]).abs().max()) for some in (together, turned))
    again = (answer(images[:1]) for _ in range(_TIMES if gap > close else 1))
    if any(float((alone[:1] - other).abs().max()) > close for other in again):
        return RANDOM
    changed = [key for key, new in _buffers(module) if not _same(before.get(key), new)]
    if changed:
        raise UnsupportedModelError(
            f"{name!r} changes its own buffers while it answers in evaluation mode: {changed[0]!r}. Use running "
            "statistics, and keep what is counted or cached out of the buffers."
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


def _buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return ((name, buffer) for name, buffer in module.named_buffers() if buffer.numel() <= _SMALL)


def _same(old: Tensor | None, new: Tensor) -> bool:
    return old is not None and old.shape == new.shape and bool(torch.equal(old.nan_to_num(), new.nan_to_num()))
