"""Doing one piece of work: in fixed micro-batches, smaller ones when memory runs out, which is recorded."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from xai.audits.plan import Task
from xai.audits.scene import Scene
from xai.audits.stages import Stage
from xai.audits.store import Part
from xai.core.rows import is_out_of_memory, noting_shrinks

SHRUNK = "shrunk_to"


def perform(scene: Scene, task: Task, micro_batch: int) -> Part:
    """Do the work; its facts are those of each micro-batch, and the smallest number of rows that memory forced.

    Raises:
        XaiError, RuntimeError: what the work raises; out of memory only with a single picture.
    """
    with settled(), noting_shrinks() as shrunk:
        if task.stage.whole:
            part = task.stage.run(scene, task.rows)
            parts = [part]
        else:
            parts, least = _in_batches(scene, task.stage, task.rows, micro_batch)
            shrunk += [] if least == micro_batch else [least]
    names = parts[0].arrays
    arrays = {name: np.concatenate([part.arrays[name] for part in parts]) for name in names}
    return Part(arrays, {"parts": [dict(part.facts) for part in parts], SHRUNK: min(shrunk, default=None)})


def _in_batches(scene: Scene, stage: Stage, rows: np.ndarray, limit: int) -> tuple[list[Part], int]:
    """Return the parts of all micro-batches, and the size that held."""
    parts: list[Part] = []
    start = 0
    while start < len(rows):
        found = _tried(scene, stage, rows[start : start + limit], last=limit == 1)
        if found is None:
            limit = max(1, limit // 2)
            continue
        parts.append(found)
        start += limit
    return parts, limit


def _tried(scene: Scene, stage: Stage, rows: np.ndarray, *, last: bool) -> Part | None:
    """Return the part; None when memory ran out and fewer pictures may do."""
    try:
        return stage.run(scene, rows)
    except (MemoryError, RuntimeError) as error:
        if last or not is_out_of_memory(error):
            raise
    gc.collect()  # outside the handler: the exception kept the tensors of its frames alive
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


@contextmanager
def settled() -> Iterator[None]:
    """Choose algorithms on a GPU that give the same again; a CPU needs nothing."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32)
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = True, False, False, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
