"""A network for each piece of work: a few copies, so that what is quick does not wait for what is long."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import xai

_MOST = 4  # one more than there are tasks at once


class Lender:
    """Copies of one network; whoever has one has it for himself.

    Args:
        first: the copy that is there already.
        another: gives a further one.
    """

    def __init__(self, first: xai.Classifier, another: Callable[[], xai.Classifier]) -> None:
        self._copies: list[tuple[xai.Classifier, Any]] = [(first, Lock())]
        self._another, self._guard = another, Lock()

    @contextmanager
    def borrowed(self) -> Iterator[xai.Classifier]:
        """Have a copy until the end of the block; a further one is loaded when all are lent."""
        classifier, lock = self._take()
        try:
            yield classifier
        finally:
            lock.release()

    def lent(self) -> int:
        """Return how many copies are lent."""
        return sum(lock.locked() for _, lock in self._copies)

    def _take(self) -> tuple[xai.Classifier, Any]:
        with self._guard:
            copy = next((copy for copy in self._copies if copy[1].acquire(blocking=False)), None) or self._load()
        if copy is None:
            copy = self._copies[0]
            copy[1].acquire()
        return copy

    def _load(self) -> tuple[xai.Classifier, Any] | None:
        """Return a new copy, lent already; None where there are enough, or a file is no longer what it was."""
        if len(self._copies) == _MOST:
            return None
        try:
            classifier = self._another()
        except xai.XaiError:
            return None
        if classifier.fingerprint != self._copies[0][0].fingerprint:
            return None
        lock = Lock()
        lock.acquire()
        self._copies.append((classifier, lock))
        return self._copies[-1]
