"""Slow work, each piece once for the whole process: in a thread, until it is done or nobody waits for it.

A page only looks at it: a click on the page does not end it, a reload or a second browser finds it by its key, which
names all that the result depends on. It ends where it reports its progress; what was borrowed from the network is given
back on the way out.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Event, RLock, Thread
from typing import Any, NamedTuple

import streamlit as st
from streamlit.runtime import Runtime

import xai
from xai.dashboard.keeping import Kept, Key

Report = Callable[[int, int], None]
_LOG = logging.getLogger(__name__)
_AT_ONCE = 3  # more would only share the same cores
_PATIENCE = 120.0  # seconds that work goes on while no browser waits for it: a reload takes a few
_LOOK = 1.0  # seconds between two looks at whether a browser waits
_LONGEST = 60.0  # seconds that the end of a stopped task is waited for: it gives the network back


class Left(BaseException):
    """What ends a task from inside; no part of the library may catch it."""


class Link(NamedTuple):
    """A page with its choices.

    Attributes:
        page: file of the page.
        query: its parameters.
    """

    page: str
    query: Mapping[str, Any]


@dataclass(eq=False)
class Task:
    """A piece of work.

    Attributes:
        key: all that the result depends on.
        title: what is done, in words.
        link: the page that shows it.
        sessions: those that wait for it.
        share: how much is done, 0 to 1.
        working: whether it has its turn.
        failure: what went wrong that should not.
    """

    key: Key
    title: str
    link: Link | None
    sessions: set[str]
    share: float = 0.0
    working: bool = False
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

    def wait(self, seconds: float) -> None:
        """Wait until it is over, but no longer than this."""
        self._over.wait(seconds)

    def stop(self) -> None:
        """Tell it to stop."""
        self._stop.set()

    def report(self, done: int, total: int) -> None:
        """Take a report of progress; this is where work ends that was told to stop or that nobody waits for.

        Raises:
            Left: it ends here.
        """
        self.share = min(1.0, done / max(total, 1))
        if self._stop.is_set() or self._forsaken():
            self._stop.set()
            raise Left

    def run(self, ask: Callable[[Report], Any], turn: BoundedSemaphore, done: Kept) -> None:
        """Do the work when it is its turn; whatever becomes of it is told by the task, not by the thread."""
        try:
            with turn:
                self.working = True
                self.report(0, 1)
                done.keep(self.key, ask(self.report))
        except Left:
            pass
        except xai.XaiError as error:
            done.keep(self.key, error)  # asking again would give it again
        except BaseException as error:  # noqa: BLE001  (a thread has nobody above it; the page raises it)
            _LOG.exception("%s", self.title)
            self.failure = error
        finally:
            self._over.set()

    def _forsaken(self) -> bool:
        """Say whether no browser has waited for some time."""
        now = time.monotonic()
        if now - self._looked > _LOOK:
            self._looked = now
            if any(map(_is_there, tuple(self.sessions))):
                self._seen = now
        return now - self._seen > _PATIENCE


@dataclass(eq=False)
class Office:
    """All tasks and results of this process."""

    done: Kept = field(default_factory=Kept)
    _tasks: dict[Key, Task] = field(default_factory=dict)
    _turn: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(_AT_ONCE))
    _guard: Any = field(default_factory=RLock)

    def knows(self, key: Key) -> bool:
        """Say whether there is a result, or somebody at work on it."""
        return key in self.done or self.task(key) is not None

    def task(self, key: Key) -> Task | None:
        """Return the task that is at work on a result."""
        found = self._tasks.get(key)
        return found if found is not None and found.open else None

    def start(self, key: Key, title: str, ask: Callable[[Report], Any], session: str, link: Link | None) -> Task:
        """Begin, or wait together with those who have begun."""
        with self._guard:
            found = self.task(key)
            if found is not None:
                found.sessions.add(session)
                return found
            self._tasks = {other: task for other, task in self._tasks.items() if not task.over}
            task = self._tasks[key] = Task(key, title, link, {session})
            about = copy_context()
            Thread(target=about.run, args=(task.run, ask, self._turn, self.done), daemon=True, name=title).start()
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

    def open_tasks(self, session: str) -> list[Task]:
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
def office() -> Office:
    """Return the office of this process."""
    return Office()


def _is_there(session: str) -> bool:
    return not Runtime.exists() or Runtime.instance().is_active_session(session)
