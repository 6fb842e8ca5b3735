"""Long calls: they can be interrupted, tell of their progress, and hand over what they log. Nothing here is public."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

from . import errors

T = TypeVar("T")


def interruptible(call: Callable[[], T], cancel: Callable[[], None], *uses: AbstractContextManager[None]) -> T:
    """Makes a call of the library in a thread of its own, while the main thread waits for it or for Ctrl-C.

    The interpreter runs signal handlers in the main thread alone, and not while that is inside a call. What a handler
    raises cancels the call, and is raised when the call has ended. Handlers raise anywhere, even while the thread is
    being started: so the thread itself holds the handles that it uses (`uses`), and asks first whether anybody waits.
    """
    if threading.current_thread() is not threading.main_thread():
        return _with(uses, call)
    ended, guard = threading.Event(), threading.Lock()
    results: list[T] = []
    failures: list[BaseException] = []
    interrupt: BaseException | None = None
    begun = given_up = started = False

    def work() -> None:
        nonlocal begun
        with guard:
            if given_up:
                return
            begun = True
        try:
            results.append(_with(uses, call))
        except BaseException as failure:
            failures.append(failure)
        finally:
            ended.set()

    thread = threading.Thread(target=work, name="halftone", daemon=True)
    while True:
        try:
            if not started:
                started = True
                thread.start()
            if interrupt is not None:
                with guard:
                    given_up = not begun
                if given_up:
                    break
                cancel()
            if ended.wait(0.2):  # a signal that another thread took wakes nobody
                break
        except BaseException as raised:
            interrupt = interrupt or raised
    if interrupt is not None:
        raise interrupt
    if failures:
        raise failures[0]
    return results[0]


def _with(uses: tuple[AbstractContextManager[None], ...], call: Callable[[], T]) -> T:
    with ExitStack() as stack:
        for use in uses:
            stack.enter_context(use)
        return call()


class Handle:
    """A handle of the library: which process opened it, and that one thread at a time uses it."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._process = os.getpid()
        self._users = 0
        self._exclusive = False
        self._closed = False
        self._guard = threading.Lock()

    def _check_open(self) -> None:
        if self._closed:
            raise errors.UsageError("it is closed", self._what)
        if self._process != os.getpid():
            raise errors.UsageError("it was opened before this process was forked: open it anew", self._what)

    @contextmanager
    def use(self, exclusive: bool = True) -> Iterator[None]:
        """For the time of a call; exclusive: no other such call may go on meanwhile."""
        with self._guard:
            self._check_open()
            if exclusive and self._exclusive:
                raise errors.UsageError("another thread is using it", self._what)
            self._users += 1
            self._exclusive = self._exclusive or exclusive
        try:
            yield
        finally:
            with self._guard:
                self._users -= 1
                self._exclusive = self._exclusive and not exclusive

    def close(self) -> bool:
        """Is it to be closed now? True once, and not where another process opened it."""
        with self._guard:
            if self._closed:
                return False
            if self._users and self._process == os.getpid():
                raise errors.UsageError("it cannot be closed while a thread is using it", self._what)
            self._closed = True
            return self._process == os.getpid()

    @property
    def closed(self) -> bool:
        return self._closed
