"""Background work of the process: one queue of tasks, and the cache of their results.

A page only looks at it: a click on the page does not end it, a reload or a second browser finds it by its key, which
names all that the result depends on. It ends where it reports its progress; what was borrowed from the model is given
back on the way out.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass, field, fields, is_dataclass
from threading import BoundedSemaphore, Event, RLock, Thread
from typing import Any, NamedTuple, Self

import streamlit as st
from streamlit.runtime import Runtime

import xai

Key = tuple[Hashable, ...]
_MOST_BYTES = 512 * 2**20
_FEWEST = 12  # results that are kept however large they are, so that those on a page fit


@dataclass(eq=False)
class ResultCache:
    """Results by key."""

    _values: OrderedDict[Key, Any] = field(default_factory=OrderedDict)
    _guard: Any = field(default_factory=RLock)

    def __contains__(self, key: Key) -> bool:
        """Say whether there is a result."""
        return key in self._values

    def keys(self) -> list[Key]:
        """Return what there are results of."""
        with self._guard:
            return list(self._values)

    def find(self, key: Key) -> Any | None:
        """Return a result, or the error that came instead; None when there is neither."""
        with self._guard:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def keep(self, key: Key, value: Any) -> Any:
        """Keep a result and return it."""
        with self._guard:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > _FEWEST and sum(map(size_of, self._values.values())) > _MOST_BYTES:
                self._values.popitem(last=False)
        return value

    def drop(self, key: Key) -> None:
        """Forget a result, if there is one."""
        with self._guard:
            self._values.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        with self._guard:
            self._values.clear()


def size_of(value: Any) -> int:
    """Return about how much memory a result takes: arrays, tensors, texts, and the maps that an explanation makes."""
    if isinstance(value, xai.Explanation):
        maps = sum(4 * image.shape[0] * image.shape[1] for image in value.images)
        return int(maps + value.images[0].nbytes + value.attribution.nbytes)
    if is_dataclass(value):
        return sum(size_of(getattr(value, f.name)) for f in fields(value))
    if isinstance(value, Mapping):
        return sum(map(size_of, value.values()))
    if isinstance(value, tuple | list):
        return sum(map(size_of, value))
    return len(value) if isinstance(value, str) else int(getattr(value, "nbytes", 0))


Report = Callable[[int, int], None]
_LOG = logging.getLogger(__name__)
_AT_ONCE = 3  # more would only share the same cores
_PATIENCE = 120.0  # seconds that work goes on while no browser waits for it: a reload takes a few
_PACE_FROM, _PACE_AFTER = 0.03, 3.0  # share and seconds from which on the time left is told
_LOOK = 1.0  # seconds between two looks at whether a browser waits
_LONGEST = 60.0  # seconds that the end of a stopped task is waited for: it gives the model back


class TaskCancelled(BaseException):
    """What ends a task from inside; no part of the library may catch it."""


class PageLink(NamedTuple):
    """A page with its choices.

    Attributes:
        page: file of the page.
        query: its parameters.
    """

    page: str
    query: Mapping[str, Any]


@dataclass(eq=False)
class BackgroundTask:
    """A piece of work.

    Attributes:
        key: all that the result depends on.
        title: what is done, in words.
        link: the page that shows it.
        sessions: those that wait for it.
        lasting: whether it goes on without a browser, asks `should_stop` itself, and leaves its result in files.
        share: how much is done, 0 to 1.
        working: whether it has its turn.
        began: when it got its turn, on the clock of `time.monotonic`.
        cancelled: whether it ended before it was done, because it was told to.
        failure: what went wrong: what should not, or of lasting work anything.
    """

    key: Key
    title: str
    link: PageLink | None
    sessions: set[str]
    lasting: bool = False
    share: float = 0.0
    working: bool = False
    began: float = 0.0
    cancelled: bool = False
    failure: BaseException | None = None
    _stop: Event = field(default_factory=Event)
    _over: Event = field(default_factory=Event)
    _seen: float = field(default_factory=time.monotonic)
    _looked: float = 0.0

    @property
    def over(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._over.is_set()

    @property
    def open(self) -> bool:
        """Whether it waits or works, and was not told to stop."""
        return not self.over and not self._stop.is_set()

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop and has not yet."""
        return not self.over and self._stop.is_set()

    @property
    def seconds_left(self) -> float | None:
        """About how long it still takes, at the pace so far; None before that can be told."""
        passed = time.monotonic() - self.began
        if not self.working or self.over or self.share < _PACE_FROM or passed < _PACE_AFTER:
            return None
        return passed * (1 - self.share) / self.share

    def wait(self, seconds: float) -> None:
        """Wait until it is over, but no longer than this."""
        self._over.wait(seconds)

    def stop(self) -> None:
        """Tell it to stop."""
        self._stop.set()

    def should_stop(self) -> bool:
        """Say whether lasting work is to stop; it does so between two batches, and what is finished is kept."""
        return self._stop.is_set()

    def report(self, done: int, total: int) -> None:
        """Take a report of progress; this is where work ends that was told to stop or that nobody waits for.

        Raises:
            TaskCancelled: it ends here.
        """
        self.share = min(1.0, done / max(total, 1))
        if not self.lasting and (self._stop.is_set() or self._forsaken()):
            self._stop.set()
            raise TaskCancelled

    def run(self, ask: Callable[[Self], Any], turn: AbstractContextManager[Any], done: ResultCache) -> None:
        """Do the work when it is its turn; what becomes of it is told by the task, not by the thread."""
        try:
            with turn:
                self._work(ask, done)
        except TaskCancelled:
            self.cancelled = True
        except xai.XaiError as error:
            self._take(error, done)
        except BaseException as error:  # noqa: BLE001  (a thread has nobody above it; the page raises or tells it)
            _LOG.exception("%s", self.title)
            self.failure = error
        finally:
            self._over.set()

    def _work(self, ask: Callable[[Self], Any], done: ResultCache) -> None:
        if self._stop.is_set():
            raise TaskCancelled
        self.working, self.began = True, time.monotonic()
        self.report(0, 1)
        result = ask(self)
        if not self.lasting:
            done.keep(self.key, result)

    def _take(self, error: xai.XaiError, done: ResultCache) -> None:
        """Take what the library refused or stopped: of lasting work it can be tried again."""
        if not self.lasting:
            done.keep(self.key, error)  # asking again would give it again
        elif isinstance(error, xai.Stopped):
            self.cancelled = True
        else:
            self.failure = error

    def _forsaken(self) -> bool:
        """Say whether no browser has waited for some time."""
        now = time.monotonic()
        if now - self._looked > _LOOK:
            self._looked = now
            if any(map(_is_there, tuple(self.sessions))):
                self._seen = now
        return now - self._seen > _PATIENCE


@dataclass(eq=False)
class TaskQueue:
    """All tasks and results of this process."""

    done: ResultCache = field(default_factory=ResultCache)
    _tasks: dict[Key, BackgroundTask] = field(default_factory=dict)
    _turn: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(_AT_ONCE))
    _lasting_turn: BoundedSemaphore = field(default_factory=BoundedSemaphore)
    _guard: Any = field(default_factory=RLock)

    def knows(self, key: Key) -> bool:
        """Say whether there is a result, or somebody at work on it."""
        return key in self.done or self.task(key) is not None

    def task(self, key: Key) -> BackgroundTask | None:
        """Return the task that is at work on a result."""
        result = self._tasks.get(key)
        return result if result is not None and result.open else None

    def lasting(self, key: Key | None = None) -> list[BackgroundTask]:
        """Return lasting work: that of a key even when it is over, or all that waits or works."""
        tasks = [task for task in list(self._tasks.values()) if task.lasting]
        return [task for task in tasks if (not task.over if key is None else task.key == key)]

    def start(
        self, key: Key, title: str, ask: Callable[[Report], Any], session: str, link: PageLink | None
    ) -> BackgroundTask:
        """Begin, or wait together with those who have begun."""
        with self._guard:
            result = self.task(key)
            if result is not None:
                result.sessions.add(session)
                return result
            return self._begin(BackgroundTask(key, title, link, {session}), lambda task: ask(task.report), self._turn)

    def start_lasting(self, key: Key, title: str, ask: Callable[[BackgroundTask], Any]) -> BackgroundTask:
        """Begin work that goes on without a browser, one at a time, or return what is at it."""
        with self._guard:
            result = self._tasks.get(key)
            if result is not None and not result.over:
                return result
            return self._begin(BackgroundTask(key, title, None, set(), lasting=True), ask, self._lasting_turn)

    def _begin(
        self, task: BackgroundTask, ask: Callable[[BackgroundTask], Any], turn: AbstractContextManager[Any]
    ) -> BackgroundTask:
        self._tasks = {key: other for key, other in self._tasks.items() if other.lasting or not other.over}
        self._tasks[task.key] = task
        about = copy_context()
        Thread(target=about.run, args=(task.run, ask, turn, self.done), daemon=True, name=task.title).start()
        return task

    def leave(self, key: Key, session: str) -> None:
        """Wait no longer; work that nobody else waits for stops."""
        with self._guard:
            task = self.task(key)
            if task is not None:
                task.sessions.discard(session)
                if not task.sessions:
                    task.stop()

    def leave_all_but(self, keys: Collection[Key], session: str) -> None:
        """Wait only for these."""
        for task in self.open_tasks(session):
            if task.key not in keys:
                self.leave(task.key, session)

    def open_tasks(self, session: str) -> list[BackgroundTask]:
        """Return what a session waits for."""
        return [task for task in list(self._tasks.values()) if task.open and session in task.sessions]

    def clear(self) -> None:
        """Stop and forget everything."""
        for task in list(self._tasks.values()):
            task.stop()
        for task in list(self._tasks.values()):
            task.wait(_LONGEST)
        self._tasks.clear()
        self.done.clear()


@st.cache_resource(show_spinner=False)
def task_queue() -> TaskQueue:
    """Return the queue of this process."""
    return TaskQueue()


def _is_there(session: str) -> bool:
    return not Runtime.exists() or Runtime.instance().is_active_session(session)
