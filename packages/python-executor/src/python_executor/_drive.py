"""Driving executions over the slots of a pool, in the caller's own thread.

::

    caller's thread ── epoll ──┬── its ticket: a slot was granted
       (of drive_all)          ├── slot 0's epoll ──┬── interpreter: started, result
                               ├── slot 1's epoll   ├── its stdout and stderr, once in a while
                               └── ...              ├── slot server: forked, exited, or its end
                                                    └── closing: the pool ends

There is no thread but the callers', so nothing has to be handed over, and none can be left behind.
"""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from dataclasses import dataclass

from python_executor._pool import Pool
from python_executor._run import Run
from python_executor._slot import Slot
from python_executor.errors import ForkServerError

# How often a program that never began is tried anew: its slot's server, or the root, was dead or
# stuck.
ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Job:
    """A program.

    Args:
        frame: the program, encoded.
        timeout: seconds.
        keep: whether its interpreter goes on afterwards with the state that it has then.
    """

    frame: bytes
    timeout: float
    keep: bool = False


def drive(pool: Pool, job: Job) -> Run:
    """Execute one program; returns its ended run. ``drive_all`` for one, in fewer steps.

    Raises:
        PoolClosedError: the pool is closed, before or meanwhile.
        PoolSaturatedError: too many wait.
        ForkServerError: no interpreter is to be had.
    """
    ticket = pool.queue.enter(1)
    try:
        slot = pool.queue.take(ticket)
        if slot is None:
            granted = select.poll()
            granted.register(ticket.descriptor, select.POLLIN)
            granted.poll()
            slot = pool.queue.take(ticket)
            assert slot is not None  # it is readable for a grant, or a close, which has raised
        return _drive_on(pool, slot, job)
    finally:
        pool.queue.leave(ticket)


def _drive_on(pool: Pool, slot: Slot, job: Job) -> Run:
    keep = False
    try:
        run = begin(pool, slot, job)
        attempt = 1
        while True:
            while run.ending is None:
                run.step(run.until - time.monotonic())
            if run.ending.kind != "unstarted":
                keep = job.keep and run.reusable
                return run
            run = retry(pool, run, job, attempt)
            attempt += 1
    finally:
        give_back(pool, slot, keep=keep)


def give_back(pool: Pool, slot: Slot, *, keep: bool = False) -> None:
    """Give a slot back, with its interpreter or with the next one."""
    if not keep:
        slot.recycle()
    pool.queue.release(slot)


def drive_all(pool: Pool, jobs: Sequence[Job]) -> list[Run]:
    """Execute programs in parallel, as slots come; returns their ended runs in order.

    Raises:
        PoolClosedError: the pool is closed, before or meanwhile.
        PoolSaturatedError: too many wait; none was run.
        ForkServerError: no interpreter is to be had. The others of these programs are ended.
    """
    runs: list[Run | None] = [None] * len(jobs)
    running: dict[int, tuple[int, int, Run]] = {}  # the slot's epoll -> (index, attempt, run)
    queue = pool.queue
    ticket = queue.enter(len(jobs))
    begun = ended = 0
    try:
        with select.epoll() as epoll:
            if ticket.descriptor >= 0:
                epoll.register(ticket.descriptor, select.EPOLLIN | select.EPOLLET)
            while ended < len(jobs):
                while begun < len(jobs) and (slot := queue.take(ticket)) is not None:
                    descriptor = slot.epoll.fileno()
                    try:
                        run = begin(pool, slot, jobs[begun])
                    except BaseException:
                        give_back(pool, slot)
                        raise
                    running[descriptor] = begun, 1, run
                    begun += 1
                    epoll.register(descriptor, select.EPOLLIN)
                now = time.monotonic()
                until = min((run.until for _, _, run in running.values()), default=None)
                ready = {
                    fd for fd, _ in epoll.poll(None if until is None else max(0.0, until - now))
                }
                now = time.monotonic()
                for descriptor, (index, attempt, run) in list(running.items()):
                    if descriptor in ready or run.until <= now:
                        run.step(0.0)
                    if run.ending is None:
                        continue
                    if run.ending.kind == "unstarted":
                        running[descriptor] = (
                            index,
                            attempt + 1,
                            retry(pool, run, jobs[index], attempt),
                        )
                        continue
                    runs[index] = run
                    ended += 1
                    del running[descriptor]
                    epoll.unregister(descriptor)
                    give_back(pool, run.slot, keep=jobs[index].keep and run.reusable)
    finally:
        for _, _, run in running.values():
            give_back(pool, run.slot)
        queue.leave(ticket)
    return [run for run in runs if run is not None]


def begin(pool: Pool, slot: Slot, job: Job) -> Run:
    """Start a program on a slot, which is brought back first if it died."""
    slot.check()
    if slot.returncode is not None:
        slot.recycle()  # its interpreter was killed while it waited
    if not slot.alive:
        pool.revive(slot)
    return _start(pool, slot, job)


def _start(pool: Pool, slot: Slot, job: Job) -> Run:
    run = Run(slot, job.frame, job.timeout, pool.limits, pool.closing)
    run.start()
    return run


def retry(pool: Pool, unstarted: Run, job: Job, attempt: int) -> Run:
    """Start a program anew that never began, on a new server.

    Raises:
        ForkServerError: that was the last attempt.
    """
    if attempt >= ATTEMPTS:
        raise ForkServerError(
            f"a program did not begin in {attempt} attempts. "
            f"Its interpreter printed: {unstarted.err.text() or 'nothing'}. "
            f"The servers printed: {pool.server.printed() if pool.server else 'nothing'}"
        )
    pool.revive(unstarted.slot, thoroughly=attempt > 1)
    return _start(pool, unstarted.slot, job)
