"""Ending what nobody uses, while nobody calls the pool either.

::

    Sessions.begin ──starts it, once──> thread ──> Sessions.expire: closes what is due,
    Pool.close     ──ends it──────────>   ^  │     says when to look again
                                          └──┘ sleeps until then

A pool that was given an ``idle_timeout`` has this one thread, from its first session on. It runs no
programs: the callers' threads do. A fork of this process has no such thread, and needs none,
because the pool isn't the fork's.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable


class IdleThread:
    """Looks, sleeps as long as it is told, and looks again.

    Args:
        look: a method that returns in how many seconds it is to be called again, and raises
            nothing. Its object is not kept alive.
    """

    def __init__(self, look: Callable[[], float]) -> None:
        self._look = weakref.WeakMethod(look)
        # Released at the end. No event: a pool that is garbage may be closed while this very thread
        # is in the middle of waiting, and what waits for an event holds a lock that setting it
        # takes.
        self._over = threading.Lock()
        self._over.acquire()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start, if it has not; to be called by one thread at a time.

        Raises:
            RuntimeError: the system gives no thread.
        """
        # One that has no number was interrupted before it began. Should it begin all the same,
        # there are two, which does no harm.
        if self._thread is None or self._thread.ident is None:
            self._thread = threading.Thread(
                target=self._run, name="python-executor-idle", daemon=True
            )
            self._thread.start()

    def _run(self) -> None:
        while True:
            look = self._look()
            if look is None:
                return
            seconds = look()
            del look
            if self._over.acquire(timeout=min(seconds, threading.TIMEOUT_MAX)):
                self._over.release()
                return

    def stop(self) -> None:
        """End, and wait for that. Nothing may start it afterwards."""
        if self._over.locked():
            self._over.release()
        thread = self._thread
        # A garbage collection may have called from the thread itself. When the interpreter ends,
        # daemon threads stand still, and can't be waited for.
        if thread in (None, threading.current_thread()) or sys.is_finalizing():
            return
        assert thread is not None
        if thread.ident is not None:
            thread.join()
