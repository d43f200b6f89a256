"""Work in rows: cut by memory, halved when it runs out, with progress and a stop."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from model_state import assert_same, snapshot
from small_models import GapCnn, InplaceFirst, pictures
from torch import nn
from tqdm import tqdm

from xai.core.model.classifier import Classifier
from xai.core.runtime import batching as rows
from xai.core.runtime.batching import (
    MAX_ROWS,
    SAFE_ROWS,
    free_memory,
    in_chunks,
    is_out_of_memory,
    reporting,
    row_limit,
)
from xai.errors import Stopped

OUT_OF_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.15 GiB"),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. See documentation for max_split_size_mb"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB, max allowed: 9.07 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError('NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/pytorch/c10/cuda/CUDACachingAllocator.cpp":1016'),
    RuntimeError('NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":995'),
]
OTHER = [
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x3 and 4x5)"),
    ValueError("too many values"),
    KeyError("memory"),
    OSError("disk full"),
]


@pytest.fixture(autouse=True)
def collections(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the garbage collections, which are slow inside pytest, without doing them."""
    found: list[int] = []
    monkeypatch.setattr(rows.gc, "collect", lambda: found.append(1))
    return found


def names(errors: list[BaseException]) -> list[str]:
    return [f"{type(error).__name__} {str(error)[:24]}" for error in errors]


def worker(error: BaseException | None = None, fits: int = 10**9) -> tuple[Callable[[int, int], None], list[Any]]:
    """Return work that fails beyond `fits` rows, and the list of what it was asked and did."""
    done: list[tuple[int, int]] = []

    def work(start: int, stop: int) -> None:
        if stop - start > fits and error is not None:
            raise error
        done.append((start, stop))

    return work, done


@pytest.mark.parametrize(("total", "limit"), [(10, 3), (10, 10), (10, 100), (1, 1), (7, 1), (0, 4)])
def test_every_row_once_and_in_order(total: int, limit: int) -> None:
    work, done = worker()
    assert in_chunks(work, total, limit=limit) == limit
    assert [row for start, stop in done for row in range(start, stop)] == list(range(total))
    assert all(stop - start <= limit for start, stop in done)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=names(OUT_OF_MEMORY))
@pytest.mark.parametrize("fits", [1, 2, 5, 16])
def test_halved_when_memory_runs_out(error: BaseException, fits: int, collections: list[int]) -> None:
    work, done = worker(error, fits)
    limit = in_chunks(work, 50, limit=40)
    assert 40 >> len(collections) == limit
    assert 1 <= limit <= fits
    assert [row for start, stop in done for row in range(start, stop)] == list(range(50))
    assert len({stop - start for start, stop in done[:-1]}) == 1  # the limit is not raised again


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=names(OUT_OF_MEMORY))
def test_a_single_row_that_does_not_fit_is_an_error(error: BaseException) -> None:
    work, done = worker(error, 0)
    with pytest.raises(type(error), match=r".*"):
        in_chunks(work, 5, limit=4)
    assert done == []


@pytest.mark.parametrize("error", OTHER, ids=names(OTHER))
def test_other_errors_come_through_at_once(error: BaseException) -> None:
    work, done = worker(error, 3)
    with pytest.raises(type(error), match=r".+"):
        in_chunks(work, 5, limit=4)
    assert done == []
    assert not is_out_of_memory(error)


def test_the_cause_of_an_error_counts() -> None:
    outer, middle = RuntimeError("the layer failed"), ValueError("the block failed")
    outer.__cause__, middle.__cause__ = middle, RuntimeError("CUDA out of memory.")
    assert is_out_of_memory(outer)
    assert not is_out_of_memory(None)


def test_progress() -> None:
    seen: list[tuple[int, int]] = []
    in_chunks(lambda *_: None, 10, limit=4, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 10), (8, 10), (10, 10)]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_stop(after: int) -> None:
    work, done = worker()
    with pytest.raises(Stopped, match=rf"Stopped after {after * 4} of 10 rows, as asked\."):
        in_chunks(work, 10, limit=4, should_stop=lambda: len(done) == after)
    assert len(done) == after


def test_a_stop_after_the_last_chunk_is_too_late() -> None:
    work, done = worker()
    in_chunks(work, 8, limit=4, should_stop=lambda: len(done) == 2)
    assert len(done) == 2


@pytest.mark.parametrize("progress", [None, False])
def test_no_progress(progress: bool | None, capfd: pytest.CaptureFixture[str]) -> None:
    with reporting(progress, "work") as report:
        assert report is None
    assert capfd.readouterr() == ("", "")


def test_a_bar(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    bars: list[tqdm] = []

    def watched(**settings: Any) -> tqdm:
        bars.append(tqdm(**settings))
        return bars[0]

    monkeypatch.setattr(rows, "tqdm", watched)
    with reporting(True, "explaining") as report:
        for done in (2, 4, 7):
            report(done, 8)
            assert (bars[0].n, bars[0].total) == (done, 8)
    assert bars[0].disable  # closed
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "explaining" in printed.err


def test_few_rows_are_not_measured() -> None:
    calls: list[int] = []
    net = GapCnn()
    net.conv1.register_forward_hook(lambda *_: calls.append(1))
    assert row_limit(net, pictures(SAFE_ROWS)) == SAFE_ROWS
    assert row_limit(net, pictures(3), most=2) == 2
    assert calls == []
    row_limit(net, pictures(SAFE_ROWS + 1))
    assert calls == [1]


def test_the_limit_follows_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wide(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.repeat(1, 9, 1, 1)

    images = torch.zeros(20, 1, 10, 10)  # 400 bytes in and 3,600 out per row
    for free, wanted in ((0, 1), (4000, 1), (100_000, 10), (10**9, MAX_ROWS)):
        monkeypatch.setattr(rows, "free_memory", lambda _device, free=free: free)
        assert row_limit(Wide(), images) == wanted


def test_measuring_leaves_model_and_picture_alone() -> None:
    net, images = InplaceFirst(), pictures(12)
    before, content = snapshot(net), images.clone()
    row_limit(net, images)
    Classifier(net).row_limit(images)
    assert_same(before, snapshot(net))
    assert torch.equal(images, content)

    def fail(_rows: torch.Tensor) -> None:
        raise ValueError("injected")

    with pytest.raises(ValueError, match="injected"):
        row_limit(net, images, run=fail)
    assert_same(before, snapshot(net))


def test_free_memory_is_plausible() -> None:
    assert 1 << 20 < free_memory(torch.device("cpu")) < 1 << 50


def test_free_memory_heeds_the_containers_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {"/sys/fs/cgroup/memory.max": 5000, "/sys/fs/cgroup/memory.current": 3000}
    monkeypatch.setattr(rows, "_read_number", numbers.get)
    assert free_memory(torch.device("cpu")) == 2000
    numbers["/sys/fs/cgroup/memory.current"] = 6000
    assert free_memory(torch.device("cpu")) == 0


class Forgetful(nn.Module):
    """Runs out of memory beyond some rows."""

    def __init__(self, fits: int, error: BaseException) -> None:
        super().__init__()
        self.net, self.fits, self.error = GapCnn(), fits, error

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.fits:
            raise self.error
        return self.net(images)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=names(OUT_OF_MEMORY))
def test_predicting_and_reading_outputs_go_on_with_less(error: BaseException) -> None:
    images, wanted = pictures(70), Classifier(GapCnn()).predict(pictures(70)).logits
    classifier = Classifier(Forgetful(5, error).eval())
    torch.testing.assert_close(classifier.predict(images).logits, wanted)
    torch.testing.assert_close(classifier.outputs(images).logits, wanted)
    with pytest.raises(type(error), match=r".*"):
        Classifier(Forgetful(0, error).eval()).predict(images)
