"""Models that take a fixed number of images at once: the number is found, and images run in pieces filled up to it."""

import re
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from xai.core.results.message import Message
from xai.core.runtime.batching import is_out_of_memory
from xai.core.runtime.nested import tensors_in, with_tensor

_USUAL = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64)
_SMALL = 3  # images that cost little
_LARGEST = 256
_NAMED = 8  # numbers taken from an error
Run = Callable[[Tensor], Any]
_ENOUGH = 2  # numbers of images that a model answered, from which on it takes any
_answered: "weakref.WeakKeyDictionary[nn.Module, set[int]]" = weakref.WeakKeyDictionary()
_sizes: "weakref.WeakKeyDictionary[nn.Module, int]" = weakref.WeakKeyDictionary()


def batch_size(module: nn.Module) -> int | None:
    """Return the number of images that a model, or the model that a layer is in, takes at once; None is any."""
    return _sizes.get(module) if _sizes else None


def note_answer(module: nn.Module, count: int) -> None:
    """Remember that a model answers so many images at once."""
    counts = _answered.setdefault(module, set())
    if len(counts) < _ENOUGH:
        counts.add(count)


def may_be_fixed(module: nn.Module, count: int) -> bool:
    """Return whether a failure may come of the number of images: no such number, and no two others, were answered."""
    counts = _answered.get(module, set())
    return module not in _sizes and count not in counts and len(counts) < _ENOUGH


def batch_notes(module: nn.Module) -> tuple[str, ...]:
    """Say that a model takes a fixed number of images at once."""
    size = batch_size(module)
    if size is None:
        return ()
    if size == 1:
        return ("the model takes one image at a time: images run one at a time",)
    template = "the model takes exactly {size} images at a time: pieces are filled up with copies of their last image"
    return (Message(template, size=size),)


def find_batch_size(parts: list[nn.Module], run: Run, rows: Tensor, error: object) -> int | None:
    """Return a number of images that a model takes where it does not take those given, and remember it.

    Args:
        parts: the model and everything in it.
        run: what failed.
        rows: (n, C, h, w), what it failed with.
        error: the failure, or the shape of what came; numbers in its text are tried first.

    Cost: forwards of up to three images; where the failure changes with their number, of up to 64, or of as many as the
        error names.
    """
    texts = {str(error)}
    for size in _candidates(error, rows):
        if size > _SMALL and len(texts) == 1 and isinstance(error, RuntimeError | TypeError):
            return None  # torch names the sizes that do not fit: what stays the same is another failure
        try:
            fits = _fits(run, _filled(rows[:size], size))
        except Exception as other:  # noqa: BLE001 (the user's own code)
            if is_out_of_memory(other):
                return None
            texts.add(str(other))
            continue
        if fits:
            _sizes.update(dict.fromkeys(parts, size))
            return size
    return None


def _fits(run: Run, rows: Tensor) -> bool:
    """Return whether there is an answer for each image, that of the first from the first image alone."""
    answers = run(rows)
    if not has_rows(answers, len(rows)):
        return False
    if len(rows) == 1:
        return True
    others = tensors_in(run(torch.cat([rows[:1], rows[1:].flip(2, 3)])))
    pairs = zip(tensors_in(answers), others, strict=True)
    return all(_same_first(one, other) for one, other in pairs if one.ndim and len(one) == len(rows))


def _same_first(one: Tensor, other: Tensor) -> bool:
    return bool(torch.allclose(one[:1].double(), other[:1].double(), rtol=1e-3, atol=1e-5))


def has_rows(output: Any, count: int) -> bool:
    """Return whether any of the tensors that a model returned has a row for each of some images."""
    return any(tensor.ndim and len(tensor) == count for tensor in tensors_in(output))


def _candidates(error: object, rows: Tensor) -> Iterator[int]:
    """Yield numbers of images to try, the small ones first."""
    named = [int(number) for number in re.findall(r"\b\d{1,3}\b", str(error))]
    other = [number for number in named if 0 < number <= _LARGEST and number not in rows.shape][:_NAMED]
    small = [size for size in _USUAL if size <= _SMALL]
    yield from (size for size in dict.fromkeys([*small, *other, *_USUAL]) if size != len(rows))


def in_pieces(run: Run, rows: Tensor, size: int) -> Any:
    """Return what a model returns for rows, run in pieces of a size; the last one is filled up with its last row."""
    pieces = torch.split(rows, size) if len(rows) else (rows,)
    return _joined([run(_filled(piece, size)) for piece in pieces], [len(piece) for piece in pieces], size)


def _filled(rows: Tensor, size: int) -> Tensor:
    return torch.cat([rows, rows[-1:].expand(size - len(rows), *rows.shape[1:])]) if len(rows) < size else rows


def _joined(outputs: list[Any], counts: list[int], size: int) -> Any:
    """Return the first output with the rows of all of them in each of its tensors that has rows."""
    found = outputs[0]
    if counts == [size]:
        return found
    every = [tensors_in(output) for output in outputs]
    for same in zip(*every, strict=True):
        if same[0].ndim and len(same[0]) == size:
            rows = torch.cat([tensor[:count] for tensor, count in zip(same, counts, strict=True)])
            found = with_tensor(found, same[0], rows)
    return found
