"""When calls end, for the router of replicas: one thread a process, which fetches nothing.

    when_done(reference, ...) -> the thread -> ray.wait(fetch_local=False) -> done(error)

A future or `await` would tell too, and bring the result here with it, which may be large and is
not ours. The thread looks every few milliseconds: a wait inside Ray could neither be told of
another call, nor be left in time when somebody shuts Ray down.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Callable
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from services_core import ServiceDiedError
from services_ray import states

Done = Callable[[BaseException | None], None]

# Seconds between two looks: the first while calls end, the last while none does.
_FIRST_PAUSE = 0.002
_LAST_PAUSE = 0.02


class _Thread:
    """Knows what is outstanding in this process."""

    def __init__(self) -> None:
        self._outstanding: dict[Any, tuple[ActorHandle[Any], str, Done]] = {}
        self._changed = threading.Condition()
        self._runs = False
        self._ends = False

    def add(self, reference: Any, actor: ActorHandle[Any], name: str, done: Done) -> None:
        with self._changed:
            self._outstanding[reference] = (actor, name, done)
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, name="services-ray-done", daemon=True).start()
            elif len(self._outstanding) == 1:
                self._changed.notify()

    def end(self) -> None:
        """Let go of all; before Ray's own exit handler."""
        with self._changed:
            self._ends = True
            self._outstanding.clear()
            self._changed.notify()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            with self._changed:
                if self._outstanding and not self._ends:
                    self._changed.wait_for(lambda: self._ends, pause)
                else:
                    self._changed.wait_for(lambda: self._outstanding or self._ends)
                if self._ends:
                    return
            pause = _FIRST_PAUSE if self._look() else min(2 * pause, _LAST_PAUSE)

    def _look(self) -> bool:
        """Tell of the calls that have ended; in a frame of its own, which keeps no reference."""
        with self._changed:
            waiting = list(self._outstanding)
        ready = waiting  # if Ray was shut down: nothing of it will come any more
        if ray.is_initialized():
            with contextlib.suppress(RayError, ValueError):
                ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0, fetch_local=False)
        for reference in ready:
            with self._changed:
                ended = self._outstanding.pop(reference, None)
            if ended is not None:
                actor, name, done = ended
                done(_death_of(actor, name))
        return bool(ready)


def when_done(reference: Any, actor: ActorHandle[Any], name: str, done: Done) -> None:
    """Call `done` when a call has ended, with `ServiceDiedError` if its actor is dead by then.

    Args:
        reference: What Ray's `.remote()` returned: a reference, a list of them, or a generator.
        actor: The actor that was called.
        name: The name of its service.
        done: Called once, from any thread.
    """
    if isinstance(reference, list) and reference:
        reference = reference[0]  # all of them are there at the same time
    if isinstance(reference, ray.ObjectRefGenerator):
        reference = reference.completed()
    if isinstance(reference, ray.ObjectRef):
        _thread.add(reference, actor, name, done)
    else:
        done(None)  # num_returns=0


def _death_of(actor: ActorHandle[Any], name: str) -> ServiceDiedError | None:
    if states.is_known_to_be_dead(actor):
        return ServiceDiedError(name)
    if states.is_known_to_restart(actor):
        return ServiceDiedError(name, restarting=True)
    return None


_thread = _Thread()


def _forget_after_fork() -> None:
    global _thread  # noqa: PLW0603 - the thread did not come along, and its lock may be held
    _thread = _Thread()


def _end_at_exit() -> None:
    _thread.end()


os.register_at_fork(after_in_child=_forget_after_fork)
atexit.register(_end_at_exit)
