"""Work in batches that fit into memory.

Batches are halved when memory runs out, or have a fixed size; also finds the tensors in nested outputs.
"""

import copy
import gc
import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from xai.core.results.message import Message
from xai.core.validation import check_progress
from xai.errors import Stopped, UnsupportedModelError

_DEEPEST = 6  # objects in objects


def tensors_in(output: Any) -> list[Tensor]:
    """Return the tensors in a module's output: a tensor, tuple, list, dict or object with fields, in their order."""
    return list(_walk(output, 0))


def first_tensor(output: Any) -> Tensor | None:
    """Return the first tensor in a module's output, or None."""
    return next(_walk(output, 0), None)


def with_tensor(output: Any, old: Tensor, new: Tensor) -> Any:
    """Return `output` with a tensor replaced wherever it stands; containers on the way are copied, not changed.

    Raises:
        UnsupportedModelError: a container that cannot be copied.
    """
    return _replaced(output, old, new, 0)


def _walk(output: Any, depth: int) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif depth <= _DEEPEST:
        for _, item in _items(output):
            yield from _walk(item, depth + 1)


def _items(output: Any) -> list[tuple[Any, Any]]:
    """Return what a container holds as (key, value): fields of an object, values of a mapping, items of a sequence."""
    if isinstance(output, Mapping):
        return list(output.items())
    if isinstance(output, tuple | list):
        return list(enumerate(output))
    if isinstance(output, type | nn.Module) or callable(output):
        return []
    slots = [name for kind in type(output).__mro__ for name in getattr(kind, "__slots__", ()) if hasattr(output, name)]
    names = [*slots, *getattr(output, "__dict__", ())]
    return [(name, getattr(output, name)) for name in names]


def _replaced(output: Any, old: Tensor, new: Tensor, depth: int) -> Any:
    if output is old:
        return new
    if isinstance(output, Tensor) or depth > _DEEPEST:
        return output
    items = [(key, value, _replaced(value, old, new, depth + 1)) for key, value in _items(output)]
    changed = {key: after for key, before, after in items if after is not before}
    if not changed:
        return output
    if isinstance(output, tuple):
        values = [after for _, _, after in items]
        return type(output)(*values) if hasattr(output, "_fields") else type(output)(values)
    try:
        return _with(copy.copy(output), changed)
    except (TypeError, copy.Error) as error:
        raise UnsupportedModelError(
            f"What a layer returns, {type(output).__name__}, cannot be copied to replace a tensor in it. Name another "
            "`layer`."
        ) from error


def _with(container: Any, changed: dict[Any, Any]) -> Any:
    """Set the changed items of a container that is ours."""
    for key, value in changed.items():
        if isinstance(container, Mapping | list):
            container[key] = value  # type: ignore[index]
        else:
            object.__setattr__(container, key, value)  # frozen dataclasses too
    return container


Progress = Callable[[int, int], None]
ShouldStop = Callable[[], bool]
MAX_ROWS = 256
SAFE_ROWS = 8
_SHARE_OF_MEMORY = 0.4
_UNSEEN = 64  # times a row that layers which cannot be seen are taken to hold
_CACHE = 24 << 20  # bytes; also below the size from which the system hands out, and clears, new memory each time
_shrinks: ContextVar[list[int] | None] = ContextVar("shrinks", default=None)
_MEMORY_MESSAGES = (
    "out of memory",
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "c10/cuda/CUDACachingAllocator",
    "NVML_SUCCESS == r",
)


@contextmanager
def reporting(progress: bool | Progress | None, what: str) -> Iterator[Progress | None]:
    """Turn `progress` (None, True for a bar, or a callable) into a callable `(done, total)` or None.

    Raises:
        InputError: anything else.
    """
    check_progress(progress)
    if progress is not True:
        yield progress or None
        return
    with tqdm(desc=what, leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


def in_chunks(
    work: Callable[[int, int], None],
    total: int,
    *,
    limit: int,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> int:
    """Call `work(start, stop)` over 0..total in chunks of at most `limit`; halve the limit when memory runs out.

    Returns:
        The limit that held in the end.

    Raises:
        Stopped: `should_stop()` was true between two chunks.
    """
    start = 0
    while start < total:
        if should_stop is not None and should_stop():
            raise Stopped(f"Stopped after {start} of {total} rows, as asked.")
        stop = min(total, start + limit)
        if not _fits(work, start, stop, last_try=limit == 1):
            limit = max(1, limit // 2)
            note_shrink(limit)
            continue
        start = stop
        if progress is not None:
            progress(start, total)
    return limit


@contextmanager
def noting_shrinks() -> Iterator[list[int]]:
    """Collect the number of rows that work goes on with each time that memory runs out."""
    limits: list[int] = []
    token = _shrinks.set(limits)
    try:
        yield limits
    finally:
        _shrinks.reset(token)


def note_shrink(rows: int) -> None:
    """Tell `noting_shrinks` that work goes on with fewer rows at a time."""
    limits = _shrinks.get()
    if limits is not None:
        limits.append(rows)


def _fits(work: Callable[[int, int], None], start: int, stop: int, *, last_try: bool) -> bool:
    """Do the work; return False when memory ran out and a smaller chunk may do."""
    try:
        work(start, stop)
    except (MemoryError, RuntimeError) as error:
        if last_try or not is_out_of_memory(error):
            raise
    else:
        return True
    gc.collect()  # outside the handler: the exception kept the tensors of its frames alive
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return True when this error, or one that caused it, means that memory ran out."""
    while error is not None:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
            text in str(error) for text in _MEMORY_MESSAGES
        ):
            return True
        error = error.__cause__
    return False


def row_limit(
    module: nn.Module,
    images: Tensor,
    *,
    most: int = MAX_ROWS,
    run: Callable[[Tensor], Any] | None = None,
    cached: bool = True,
) -> int:
    """Return how many rows shaped like `images` (N, C, H, W) fit into the free memory at once, 1 to `most`.

    Few rows are never worth a measurement; otherwise one row is run (by `run`, or by the module itself) and the outputs
    of all modules are added up. On a CPU the largest output of all rows together also has to fit into the cache: with
    more rows at once each row takes longer. `cached=False` is for callers that run small pieces of the rows.
    """
    if len(images) <= SAFE_ROWS:
        return min(most, SAFE_ROWS)
    sizes = _output_sizes(module, images[:1], run or module)
    limit = int(_SHARE_OF_MEMORY * free_memory(images.device) / max(1, sum(sizes)))
    if cached and images.device.type == "cpu":
        limit = min(limit, _CACHE // max(1, *sizes))
    return max(1, min(most, limit))


def _output_sizes(module: nn.Module, row: Tensor, run: Callable[[Tensor], Any]) -> list[int]:
    """Return the bytes of one row and of each module's output for it."""
    sizes = [row.numel() * row.element_size()]

    def count(_module: nn.Module, _inputs: Any, output: Any) -> None:
        sizes.append(sum(t.numel() * t.element_size() for t in tensors_in(output)))

    parts = list(module.modules())
    seen = [part for part in parts if not isinstance(part, torch.jit.ScriptModule)]  # which takes no hooks
    if len(seen) < len(parts):
        sizes.append(_UNSEEN * sizes[0])
    handles = [part.register_forward_hook(count) for part in seen]
    try:
        with torch.no_grad():
            run(row.clone())  # a first layer that works in place must not write into the caller's image
    finally:
        for handle in handles:
            handle.remove()
    return sizes


def free_memory(device: torch.device) -> int:
    """Return the free bytes of a device; on the CPU within the limit of the container."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = _meminfo_available()
    limit, used = _read_number("/sys/fs/cgroup/memory.max"), _read_number("/sys/fs/cgroup/memory.current")
    if limit is not None and used is not None:
        free = min(free, max(0, limit - used))
    return free


def _meminfo_available() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 4 << 30  # unknown system: assume 4 GiB


def _read_number(path: str) -> int | None:
    try:
        text = Path(path).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


_USUAL = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64)
_SMALL = 3  # images that cost little
_LARGEST = 256
_NAMED = 8  # numbers taken from an error
Run = Callable[[Tensor], Any]
_ENOUGH = 2  # numbers of images that a model answered, from which on it takes any
_batches_run: "weakref.WeakKeyDictionary[nn.Module, set[int]]" = weakref.WeakKeyDictionary()
_sizes: "weakref.WeakKeyDictionary[nn.Module, int]" = weakref.WeakKeyDictionary()


def batch_size(module: nn.Module) -> int | None:
    """Return the number of images that a model, or the model that a layer is in, takes at once; None is any."""
    return _sizes.get(module) if _sizes else None


def note_batch(module: nn.Module, count: int) -> None:
    """Remember that a model answers so many images at once."""
    counts = _batches_run.setdefault(module, set())
    if len(counts) < _ENOUGH:
        counts.add(count)


def may_be_fixed(module: nn.Module, count: int) -> bool:
    """Return whether a failure may come of the number of images: no such number, and no two others, were answered."""
    counts = _batches_run.get(module, set())
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
            fits = _returns_each(run, _filled(rows[:size], size))
        except Exception as other:  # noqa: BLE001 (the user's own code)
            if is_out_of_memory(other):
                return None
            texts.add(str(other))
            continue
        if fits:
            _sizes.update(dict.fromkeys(parts, size))
            return size
    return None


def _returns_each(run: Run, rows: Tensor) -> bool:
    """Return whether there is an answer for each image, that of the first from the first image alone."""
    outputs = run(rows)
    if not has_rows(outputs, len(rows)):
        return False
    if len(rows) == 1:
        return True
    others = tensors_in(run(torch.cat([rows[:1], rows[1:].flip(2, 3)])))
    pairs = zip(tensors_in(outputs), others, strict=True)
    return all(_same_first(tensor, other) for tensor, other in pairs if tensor.ndim and len(tensor) == len(rows))


def _same_first(tensor: Tensor, other: Tensor) -> bool:
    return bool(torch.allclose(tensor[:1].double(), other[:1].double(), rtol=1e-3, atol=1e-5))


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
    joined = outputs[0]
    if counts == [size]:
        return joined
    every = [tensors_in(output) for output in outputs]
    for same in zip(*every, strict=True):
        if same[0].ndim and len(same[0]) == size:
            rows = torch.cat([tensor[:count] for tensor, count in zip(same, counts, strict=True)])
            joined = with_tensor(joined, same[0], rows)
    return joined
