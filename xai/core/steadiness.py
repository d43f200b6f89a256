"""Whether a model answers an image the same way twice, and alone as among others."""

import weakref
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from xai.core.forward_state import Place, Snapshot, find_caches, leave_out, state_of, written_always
from xai.core.hooks import parts_of
from xai.errors import UnsupportedModelError

DEPENDS = "depends on the others in its batch"
RANDOM = "two answers to the same picture differ in evaluation mode: maps are as random as the network"
CLOSE = {torch.float16: 0.02, torch.bfloat16: 0.1}
_CLOSE = 1e-3  # of the largest score: more is no rounding
_NAMED = 3  # names in a note
_TIMES = 8  # what is random may answer the same twice, and is no fault of the batch

Answer = Callable[[Tensor], Tensor]
_known: "weakref.WeakKeyDictionary[nn.Module, dict[bool, tuple[object, tuple[str, ...]]]]" = weakref.WeakKeyDictionary()


def known_notes(module: nn.Module, *, one_by_one: bool = False) -> tuple[str, ...] | None:
    """Return what `unsteadiness` found of a module that has not changed since, else None."""
    known = _known.get(module, {}).get(one_by_one)
    return known[1] if known is not None and known[0] == state_of(module) else None


def unsteadiness(
    module: nn.Module,
    name: str,
    answer: Answer,
    rows: Tensor,
    together: Tensor | None,
    before: Snapshot | None,
    *,
    one_by_one: bool = False,
) -> tuple[str, ...]:
    """Return in words how the answer to the first image changes although the image does not, and what the model writes.

    Remembered per module until it changes: a bare module is given anew to every verb. What a forward writes without
    any effect on its answers is left out of the module's fingerprint from then on.

    Args:
        module: borrowed.
        name: of the model.
        answer: scores (n, K) of images (n, C, H, W), without gradients.
        rows: images (n, C, H, W) in [0, 1]; where it is one, its negative stands beside it.
        together: their scores in one batch, where there are several.
        before: the module before its first forward; None compares with what it is now.
        one_by_one: images run alone anyway, so that batches are not looked at.

    Raises:
        UnsupportedModelError: batch norms without running statistics, or answers change with what the module writes
            into its buffers.
    Cost: three forwards of one image and one of all (two with a single row), more where the answers differ, and twelve
        more where the module changes by a forward.
    """
    found = known_notes(module, one_by_one=one_by_one)
    if found is not None:
        return found
    before = before or Snapshot(parts_of(module))
    if len(rows) == 1:
        rows, together = torch.cat([rows[:1], 1 - rows[:1]]), None
    if one_by_one:
        answer(rows[:1])
        said = ""
    else:
        said = _unsteadiness(module, name, answer, rows, answer(rows) if together is None else together)
    written = _written_notes(module, name, answer, rows, before, by_batch=DEPENDS in said)
    notes = (*([said] if said else []), *written)
    _known.setdefault(module, {})[one_by_one] = state_of(module), notes
    return notes


def _unsteadiness(module: nn.Module, name: str, answer: Answer, images: Tensor, together: Tensor) -> str:
    alone = torch.cat([answer(images[k : k + 1]) for k in (0, -1 % len(images))])
    close = float(together.abs().max()) * CLOSE.get(together.dtype, _CLOSE) + 1e-6
    turned = answer(images.flip(0)).flip(0)
    gap = max(float((alone - some[[0, -1]]).abs().max()) for some in (together, turned))
    again = (answer(images[:1]) for _ in range(_TIMES if gap > close else 1))
    if any(float((alone[:1] - other).abs().max()) > close for other in again):
        return RANDOM
    if gap <= close:
        return ""
    refuse_batch_statistics(module, name, gap)
    return f"the answer to one image {DEPENDS} (by {gap:.2g}): images run one at a time"


def _written_notes(
    module: nn.Module, name: str, answer: Answer, images: Tensor, before: Snapshot, *, by_batch: bool
) -> tuple[str, ...]:
    """Say what the model writes while it answers, and leave it out of what the model is where no answer depends on it.

    Raises:
        UnsupportedModelError: answers change with what it writes into its buffers.
    """
    logs = [place for place in before.changes() if before.logged(place)]
    leave_out(logs)
    places = [place for place in before.changes() if place not in logs]
    if not places:
        return ()
    names = ", ".join(repr(each) for each in dict.fromkeys(attribute for _, attribute in places[:_NAMED]))
    parts = parts_of(module)
    buffers = [attribute for part, attribute in places if attribute in part._buffers]
    learns = buffers and (by_batch or any(_learns(part) for part, _ in places))
    always = (
        None
        if learns
        else written_always(lambda: answer(images[:1]), lambda: [answer(image[None]) for image in images], parts)
    )
    if always is not None:
        leave_out(always)
        return tuple(_harmless(places, [*always, *find_caches(before, places)]))
    if buffers:
        raise UnsupportedModelError(
            f"{name!r} changes its own buffers while it answers in evaluation mode, and its answers with them: "
            f"{buffers[0]!r}. Use running statistics, and keep what is counted or cached out of the answer."
        )
    return (f"the model writes {names} while it answers, and its predictions change with it",)


def _harmless(places: list[Place], always: list[Place]) -> Iterator[str]:
    """Say what is written at every answer, which the fingerprint leaves out, and what once, which it does not."""
    kinds = {"while it answers; no prediction was seen to depend on it: it is not in the fingerprint": always}
    once = [place for place in places if place not in always]
    kinds["when it first answers, as other first images may set otherwise: the fingerprint is of what it wrote"] = once
    for what, some in kinds.items():
        if some:
            names = ", ".join(repr(name) for name in dict.fromkeys(attribute for _, attribute in some[:_NAMED]))
            yield f"the model writes {names} {what}"


def refuse_batch_statistics(module: nn.Module, name: str, gap: float) -> None:
    """Raise UnsupportedModelError where a layer normalises by the statistics of whatever batch comes."""
    if any(_by_batch(part) for part in parts_of(module)):
        raise UnsupportedModelError(
            f"The answer of {name!r} to one image {DEPENDS} (by {gap:.2g}), as its batch norms keep no "
            "running statistics: alone it would be normalised otherwise than in training. Use running statistics."
        )


def _learns(part: nn.Module) -> bool:
    return isinstance(part, nn.modules.batchnorm._BatchNorm)


def _by_batch(part: nn.Module) -> bool:
    return isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None
