"""Time and memory of a refusal, as the machine gives them."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import xai

SECONDS, MEGABYTES = 2, 64


def refused(kind: type[xai.XaiError], call: Callable[[], object]) -> tuple[xai.XaiError, float]:
    """Expect an error, and this process not to grow; return the error and the seconds."""
    try:
        forget()
        before = peak()
    except OSError:  # not Linux
        before = None
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        call()
    took = time.monotonic() - began
    if before is not None:
        assert peak() - before <= MEGABYTES
    return caught.value, took


def soon(call: Callable[[], float]) -> None:
    """Fail when a call takes longer than it may; once more when the machine may have been busy with something else."""
    took = [call()]
    if took[0] > SECONDS:
        took.append(call() / crowded())
    assert min(took) <= SECONDS


def peak() -> float:
    """Return the most memory this process has held since `forget`, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def forget() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def crowded() -> float:
    """Return how many times longer work takes here and now than it would alone."""
    wall, cpu = time.monotonic(), time.process_time()
    while time.process_time() - cpu < 0.3:
        sum(range(1000))
    return max(1.0, (time.monotonic() - wall) / (time.process_time() - cpu))
