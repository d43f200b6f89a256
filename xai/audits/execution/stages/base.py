"""A stage: one kind of work, on a few images at a time or on a whole data set at once."""

import gc
import os
import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from xai.audits.context import DATA, Context
from xai.audits.execution.store import (
    StoredResult,
)
from xai.core.results.codec import plain
from xai.core.runtime.batching import is_out_of_memory, noting_shrinks


class StageCost(NamedTuple):
    """Rows through the network, per image.

    Attributes:
        forward: rows sent through it.
        backward: rows sent back.
    """

    forward: float
    backward: float = 0.0


@dataclass(frozen=True)
class Stage(ABC):
    """Work that checks share: equal stages are done once.

    Attributes:
        role: the data set it works on.
        most: images, the first ones in the order of work; None takes all.
    """

    name: ClassVar[str]
    whole: ClassVar[bool] = False  # needs all images at once

    role: str = DATA
    most: int | None = None

    @property
    @abstractmethod
    def cost(self) -> StageCost:
        """Rows per image."""

    @abstractmethod
    def run(self, context: Context, rows: np.ndarray) -> StoredResult:
        """Do the work on some images of the role; arrays have one line each, or one per image shown."""

    def rows(self, context: Context) -> np.ndarray:
        """Return the images to work on, in order."""
        return context.role(self.role).order[: self.most]

    def reads(self, context: Context) -> list[Any]:  # noqa: ARG002  (for stages that read more)
        """Return what else the work depends on, JSON-ready: the fingerprints of further data sets."""
        return []

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that changes the result, JSON-ready."""
        settings = {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.name != "most"}
        return {"stage": self.name, **settings}


def joined(parts: list[StoredResult], rows: list[np.ndarray], planned: int) -> StoredResult:
    """Put the pieces of a stage together."""
    names = parts[0].arrays if parts else {}
    arrays = {name: np.concatenate([part.arrays[name] for part in parts]) for name in names}
    together = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
    return StoredResult(arrays, {"parts": [facts for part in parts for facts in part.parts]}, together, planned)


Study = Callable[[Context, np.ndarray], StoredResult]


@dataclass(frozen=True)
class DataStage(Stage):
    """A function of all images.

    Attributes:
        title: name of the check.
        given: its settings, as pairs.
        rows_each: rows forward per image, about.
        beside: seconds per image of 28 x 28 beside the model, on one core, about.
        counted: images that cost something, of more a sample is drawn; None for all.
        others: further data sets that it reads.
        study: the function.
        steady: whether it gives the same again.
    """

    name: ClassVar[str] = "alone"
    whole: ClassVar[bool] = True

    title: str = ""
    given: tuple[tuple[str, Any], ...] = ()
    rows_each: float = 1.0
    beside: float = field(default=0.0, compare=False)
    counted: int | None = field(default=None, compare=False)
    others: tuple[str, ...] = ()
    study: Study | None = field(default=None, compare=False)
    steady: bool = True

    @property
    def cost(self) -> StageCost:
        """As the check says."""
        return StageCost(self.rows_each)

    @property
    def settings(self) -> dict[str, Any]:
        """The check's own."""
        return {"stage": self.name, "role": self.role, "check": self.title, "settings": [list(p) for p in self.given]}

    def reads(self, context: Context) -> list[Any]:
        """Return the fingerprints of the further data sets, and of a measurement of the machine the machine."""
        machine = [] if self.steady else [platform.machine(), platform.processor(), os.cpu_count()]
        return machine + [[name, context.role(name).fingerprint] for name in self.others]

    def run(self, context: Context, rows: np.ndarray) -> StoredResult:
        """Call the function."""
        assert self.study is not None
        return self.study(context, rows)


@dataclass(frozen=True, eq=False)
class WorkItem:
    """One work item.

    Attributes:
        key: stands for its result.
        stage: what to do.
        rows: on which images.
    """

    key: str
    stage: Stage
    rows: np.ndarray = field(repr=False)

    @property
    def cost(self) -> StageCost:
        """Rows through the network."""
        each = self.stage.cost
        return StageCost(each.forward * len(self.rows), each.backward * len(self.rows))

    @property
    def rows_through(self) -> float:
        """Rows forward, a row back counted as two."""
        return self.cost.forward + 2 * self.cost.backward

    @property
    def steady(self) -> bool:
        """Whether the work gives the same again; False for a measurement of the machine."""
        return bool(getattr(self.stage, "steady", True))


SHRUNK = "shrunk_to"


def perform(context: Context, task: WorkItem, micro_batch: int) -> StoredResult:
    """Do the work; its facts are those of each micro-batch, and the smallest number of rows that memory forced.

    Raises:
        XaiError, RuntimeError: what the work raises; out of memory only with a single image.
    """
    with settled(), noting_shrinks() as shrunk:
        if task.stage.whole:
            part = task.stage.run(context, task.rows)
            parts = [part]
        else:
            parts, least = _in_batches(context, task.stage, task.rows, micro_batch)
            shrunk += [] if least == micro_batch else [least]
    names = parts[0].arrays
    arrays = {name: np.concatenate([part.arrays[name] for part in parts]) for name in names}
    return StoredResult(arrays, {"parts": [dict(part.facts) for part in parts], SHRUNK: min(shrunk, default=None)})


def _in_batches(context: Context, stage: Stage, rows: np.ndarray, limit: int) -> tuple[list[StoredResult], int]:
    """Return the parts of all micro-batches, and the size that held."""
    parts: list[StoredResult] = []
    start = 0
    while start < len(rows):
        part = _tried(context, stage, rows[start : start + limit], last=limit == 1)
        if part is None:
            limit = max(1, limit // 2)
            continue
        parts.append(part)
        start += limit
    return parts, limit


def _tried(context: Context, stage: Stage, rows: np.ndarray, *, last: bool) -> StoredResult | None:
    """Return the part; None when memory ran out and fewer images may do."""
    try:
        return stage.run(context, rows)
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
