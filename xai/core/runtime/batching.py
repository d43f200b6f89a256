"""Work in rows: cut by memory, halved when it runs out, with progress and a stop."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from xai.core.runtime.nested import tensors_in
from xai.core.validation import check_progress
from xai.errors import Stopped

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
    found: list[int] = []
    token = _shrinks.set(found)
    try:
        yield found
    finally:
        _shrinks.reset(token)


def note_shrink(rows: int) -> None:
    """Tell `noting_shrinks` that work goes on with fewer rows at a time."""
    found = _shrinks.get()
    if found is not None:
        found.append(rows)


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
