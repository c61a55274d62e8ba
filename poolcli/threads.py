"""Threads, as many as the system gives; with none, the caller does the work.

Two properties make a refused thread harmless. Work waits in a queue of its own, and a thread that
starts takes work from it: a start that fails, or dies on its way, takes none. And a caller that
waits for a piece that no thread has begun does it itself, as long as no thread is there.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from threading import Condition, Lock
from typing import Any, Final, Generic, ParamSpec, Protocol, TypeVar
from weakref import WeakSet

from poolcli.blocks import processors

Given = ParamSpec("Given")
Made = TypeVar("Made")
Made_co = TypeVar("Made_co", covariant=True)
Work = TypeVar("Work")

_PATIENCE: Final = 1.0
"""Seconds after which a thread that the system gave, and that did not come, is given up."""


class Future(Protocol[Made_co]):
    """A piece of work that was submitted, with the methods of ``concurrent.futures.Future``."""

    def done(self) -> bool:
        """Return whether it has ended, by a result, an error or a withdrawal."""

    def cancel(self) -> bool:
        """Withdraw it, if nothing has begun it, and return whether that was so."""

    def result(self) -> Made_co:
        """Return what the work returned, or raise what it raised, once it has ended."""


def begin(do: Callable[[], object]) -> bool:
    """Start a thread that does something and then ends; return whether the system gave one.

    The process does not wait for it at its end. ``threading.Thread`` is not used: its ``start``
    waits for ever for a thread that runs out of memory before it has said that it started.
    """
    try:
        start_new_thread(_do, (do, threading.gettrace()))
    except (RuntimeError, MemoryError):
        return False
    return True


def _do(do: Callable[[], object], trace: Callable[..., object] | None) -> None:
    if trace is not None:
        # Debuggers and coverage watch threads by it.
        sys.settrace(trace)  # type: ignore[arg-type] # as threading.Thread does
    # Errors of the work are kept with it; what is left is a thread without memory for itself.
    with suppress(MemoryError, RuntimeError):
        do()


class _Piece(Generic[Made]):
    """A piece of work, its pool, and what came of it."""

    __slots__ = ("_do", "_ended", "_error", "_pool", "_value")

    def __init__(self, pool: Pool, do: Callable[[], Made]) -> None:
        self._pool = pool
        self._do: Callable[[], Made] | None = do
        self._ended = False
        self._error: BaseException | None = None
        self._value: Made | None = None

    def done(self) -> bool:
        return self._ended

    def cancel(self) -> bool:
        return self._pool.withdraw(self)

    def result(self) -> Made:
        self._pool.wait_for(self)
        if self._error is not None:
            try:
                raise self._error
            finally:
                # Error, frame and piece in a circle would keep the maps that frames hold.
                del self
        return self._value  # type: ignore[return-value] # without an error there is one

    def run(self) -> None:
        """Do the work, and keep what comes of it."""
        do, self._do = self._do, None
        assert do is not None, "a piece is done once"  # noqa: S101 - the pool sees to it
        try:
            self._value = do()
        except BaseException as error:  # noqa: BLE001 - raised again where the result is wanted
            self._error = error
        finally:
            # The error has this frame: see result.
            del self

    def end(self) -> None:
        """Say that nothing more comes of it; of one that was not begun there is no result."""
        if self._do is not None:
            self._error = RuntimeError("the work was withdrawn")
        self._ended, self._do = True, None


class Pool:
    """Some threads that do what is submitted to them, in its order, so many pieces at once.

    Threads are started as work comes, and tried again with the next piece where the system gave
    none. As long as there is none, :meth:`Future.result` does the pieces up to its own in the
    caller. Never more than ``threads`` pieces are begun and not ended, so that with one thread each
    piece ends before the next begins.

    >>> with Pool(2) as pool:
    ...     pieces = [pool.submit(pow, 2, exponent) for exponent in range(4)]
    ...     [piece.result() for piece in pieces]
    [1, 2, 4, 8]
    """

    def __init__(self, threads: int) -> None:
        self._most = threads
        self._lock = Lock()
        self._work_came, self._work_ended = Condition(self._lock), Condition(self._lock)
        self._waiting: deque[_Piece[Any]] = deque()
        self._running = 0
        """Pieces that are begun and not ended."""
        self._here = 0
        """Threads that take work."""
        self._coming = 0
        """Threads that the system gave, and that have taken no work yet."""
        self._closed = False
        _pools.add(self)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Do what was submitted; after an error, wait only for what is begun."""
        try:
            while kind is None and self._waiting:
                self.wait_for(self._waiting[-1])
        finally:
            self.close()
            self.wait_until_idle()

    def submit(
        self, do: Callable[Given, Made], /, *given: Given.args, **named: Given.kwargs
    ) -> Future[Made]:
        """Have a call done, and return its future."""
        piece = _Piece(self, partial(do, *given, **named))
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool is closed")
            self._waiting.append(piece)
            threads = self._here + self._coming
            lacking = threads < min(self._most, self._running + len(self._waiting))
            self._coming += lacking
            self._work_came.notify()
        if lacking and not begin(self._work):
            with self._lock:
                self._coming = max(0, self._coming - 1)
        return piece

    def close(self) -> None:
        """Withdraw what nothing has begun, and let the threads go when they are done."""
        with self._lock:
            self._closed = True
            for piece in self._waiting:
                piece.end()
            self._waiting.clear()
            self._work_came.notify_all()
            self._work_ended.notify_all()

    def withdraw(self, piece: _Piece[Any]) -> bool:
        """Take back a piece that nothing has begun, and return whether it could be."""
        with self._lock:
            if piece not in self._waiting:
                return False
            self._waiting.remove(piece)
            piece.end()
            return True

    def wait_for(self, piece: _Piece[Any]) -> None:
        """Wait until a piece has ended; where there is no thread, do the pieces up to it."""
        while not piece.done():
            mine = None
            with self._lock:
                awaited = bool(self._coming) and not self._here
                if not self._here and not awaited and not piece.done():
                    mine = self._taken()
                if mine is None and not piece.done():
                    came = self._work_ended.wait(_PATIENCE if awaited else None)
                    if awaited and not came:
                        # Given up; the next piece asks for others.
                        self._coming = 0
            if mine is not None:
                self._do(mine)
                del mine
        # An error that it ended in has this frame, if it was done here.
        del piece

    def wait_until_idle(self) -> None:
        """Wait until nothing runs."""
        with self._lock:
            self._work_ended.wait_for(lambda: not self._running)

    def _taken(self) -> _Piece[Any] | None:
        """Take the next piece, if there is one and it may begin. The lock is held."""
        if not self._waiting or self._running >= self._most:
            return None
        self._running += 1
        return self._waiting.popleft()

    def _do(self, piece: _Piece[Any]) -> None:
        """Do a piece that was taken."""
        try:
            piece.run()
        finally:
            with self._lock:
                self._running -= 1
                piece.end()
                self._work_ended.notify_all()
                if self._waiting:
                    self._work_came.notify()
            # An error that it ended in has this frame.
            del piece

    def _work(self) -> None:
        """Do pieces until the pool is closed: what each of its threads does."""
        with self._lock:
            # It may come late, and not be counted any more.
            self._coming = max(0, self._coming - 1)
            self._here += 1
            self._work_ended.notify_all()
        try:
            while (piece := self._next()) is not None:
                self._do(piece)
                # What came of it belongs to its owner.
                del piece
        finally:
            with self._lock:
                self._here -= 1
                self._work_ended.notify_all()

    def _next(self) -> _Piece[Any] | None:
        """Wait for a piece to do; None once the pool is closed."""
        with self._lock:
            while (piece := self._taken()) is None and not self._closed:
                self._work_came.wait()
            return piece


_pools: WeakSet[Pool] = WeakSet()


def _wait_for_pools() -> None:
    """Let pieces that are begun come to their end before the process does."""
    for pool in list(_pools):
        pool.wait_until_idle()


atexit.register(_wait_for_pools)


@cache
def _helpers() -> Pool:
    """Return the pool, kept for all calls, of threads beside the caller's."""
    return Pool(max(1, processors() - 1))


def _forget_pools() -> None:
    _pools.clear()
    _helpers.cache_clear()


if hasattr(os, "register_at_fork"):
    # A forked process has the pools, but not their threads.
    os.register_at_fork(after_in_child=_forget_pools)


def on_threads(do: Callable[[Work], None], work: Sequence[Work], threads: int | None) -> None:
    """Do all work, each piece on whichever thread is free; the first error is raised.

    The caller's thread is one of them, and does what no other begins.
    """
    count = min(len(work), threads or processors())
    if count <= 1:
        for piece in work:
            do(piece)
        return
    left = deque(work)
    failed: list[BaseException] = []

    def help_out() -> None:
        try:
            while True:
                try:
                    piece = left.popleft()
                except IndexError:
                    return
                do(piece)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller
            left.clear()
            failed.append(error)

    pool = _helpers()
    helpers = [pool.submit(help_out) for _ in range(count - 1)]
    try:
        help_out()
    finally:
        for helper in helpers:
            if not helper.cancel():
                helper.result()
    if failed:
        error = failed[0]
        # Error, frame and list in a circle would keep the maps that frames hold.
        failed.clear()
        try:
            raise error
        finally:
            del error
