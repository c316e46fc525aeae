"""Driving executions over the slots of a pool, in the caller's own thread.

::

    caller's thread ── epoll ──┬── its ticket: a slot was granted, an execution cancelled
       (of drive_all)          ├── slot 0's epoll ──┬── interpreter: started, result
                               ├── slot 1's epoll   ├── its stdout and stderr, once in a while
                               └── ...              ├── slot server: forked, exited, or its end
                                                    └── closing: the pool ends

There is no thread but the callers', so nothing has to be handed over, and none can be left behind.
"""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from python_executor._pool import Pool
from python_executor._queue import NAMELESS, Ticket
from python_executor._run import START_GUARD, Run
from python_executor._slot import Slot
from python_executor.errors import (
    CheckpointNotFoundError,
    ForkServerError,
    PythonExecutorError,
    SessionCopyError,
    SessionNotFoundError,
)

# How often a program that never began is tried anew: its slot's server, or the root, was dead or
# stuck.
ATTEMPTS = 4
# How long a branch may take to be there, with copies of all files (seconds).
BRANCH_GUARD = 60.0
# Most milliseconds that a checkpoint waits for a crowd: what it would have saved is at stake.
_LONGEST_DELAY = 250
T = TypeVar("T")
# Called with what comes on stdout, and on stderr.
Echo = tuple[Callable[[bytes], object], Callable[[bytes], object]]


@dataclass(frozen=True, slots=True)
class Job:
    """A program.

    Args:
        frame: the program, encoded.
        timeout: seconds.
        keep: whether its interpreter goes on afterwards with the state that it has then.
        quiet: whether an interpreter that has served before doesn't say that it begins.
        name: for ``SlotQueue.cancel``; None if it can't be cancelled.
        echo: what gets the output as it comes.
        session: the session whose cell it is.
        grace: seconds that it may take to end when it is interrupted; None if it is ended at once.
        checkpoint: how many bytes of memory its session's process may have to leave a checkpoint
            behind; None if it leaves none, and goes back to none.
    """

    frame: bytes
    timeout: float
    keep: bool = False
    quiet: bool = False
    name: str | None = None
    echo: Echo | None = None
    session: str | None = None
    grace: float | None = None
    checkpoint: int | None = None


def drive(pool: Pool, job: Job) -> Run:
    """Execute one program without a name; returns its ended run. ``drive_all``, in fewer steps.

    Raises:
        PoolClosedError: the pool is closed, before or meanwhile.
        PoolSaturatedError: too many wait.
        ForkServerError: no interpreter is to be had.
    """
    ticket = Ticket(NAMELESS, {} if job.session is None else {0: job.session})
    try:
        # All loops are in there: CPython 3.12 and 3.13 check for signals where a `while` jumps
        # back, and don't take that as within the `try` around it.
        return _drive(pool, job, ticket)
    except BaseException:
        _withdraw(pool, ticket)
        raise


def _drive(pool: Pool, job: Job, ticket: Ticket) -> Run:
    queue = pool.queue
    queue.enter(ticket)
    grant = queue.take(ticket) or _wait_for(ticket, queue.take)
    run = begin(pool, grant[1], job)
    attempt = 1
    while True:
        while run.ending is None:
            run.step(run.until - time.monotonic())
        if run.ending.kind != "unstarted":
            break
        run = retry(pool, run, job, attempt)
        attempt += 1
    end(pool, run, job)
    queue.leave(ticket)
    return run


def _wait_for(ticket: Ticket, look: Callable[[Ticket], T | None]) -> T:
    """Wait until a look at the queue finds what the ticket is for; returns that."""
    told = select.poll()
    told.register(ticket.descriptor, select.POLLIN)
    while True:
        told.poll()
        os.eventfd_read(ticket.descriptor)
        if found := look(ticket):
            return found


def _withdraw(pool: Pool, ticket: Ticket) -> None:
    """Leave after an exception, KeyboardInterrupt included; what still runs is ended."""
    try:
        for session in pool.queue.sessions_of(ticket):
            pool.sessions.abandon(session)
        for slot in pool.queue.recover(ticket):
            slot.reset()
    finally:
        pool.queue.leave(ticket)


def in_turn(pool: Pool, sessions: Sequence[str], action: Callable[[], T]) -> T:
    """Wait for the turns in sessions, and do something that takes no slot.

    What it raises of our own errors, it raises when nothing is left to clear up.

    All lines are joined at one stroke, so nobody waits for one who waits for him.

    Raises:
        PoolClosedError: the pool is closed, before or meanwhile.
    """
    ticket = Ticket([None] * len(sessions), dict(enumerate(sessions)), slotless=True)
    try:
        return _in_turn(pool, ticket, action)  # the loop is in there, as above
    except BaseException:
        _withdraw(pool, ticket)
        raise


def _in_turn(pool: Pool, ticket: Ticket, action: Callable[[], T]) -> T:
    queue = pool.queue
    queue.enter(ticket)
    if not queue.has_turn(ticket):
        _wait_for(ticket, queue.has_turn)
    try:
        result = action()
    except PythonExecutorError:
        # It has left all in order. What comes now may be interrupted, as ever, and is withdrawn
        # then; a withdrawal may not.
        queue.leave(ticket)
        raise
    queue.leave(ticket)
    return result


def branch(pool: Pool, source: str, name: str, checkpoint: int | None) -> None:
    """Make a copy of a session, whose turn the caller has, and that of the copy.

    Args:
        pool: where both are.
        source: the session.
        name: the copy.
        checkpoint: as that of a ``Job``.

    Raises:
        SessionNotFoundError: it has no process.
        SessionExistsError: the copy has one.
        SessionCopyError: it can't be copied.
        ForkServerError: no descriptors are to be had.
    """
    slot, copy = pool.sessions.begin_branch(source, name)
    problem: str | None = ""
    try:
        _bring_back(slot, restorable=checkpoint is not None)
        if not slot.alive or not slot.cells or slot.returncode is not None:
            raise SessionNotFoundError(source, lost=True)
        try:
            copy.branch(slot)
        except (BrokenPipeError, BlockingIOError):
            problem = "its process died, or takes nothing more"
        except OSError as error:
            raise ForkServerError(f"{error}. A branch needs about seven descriptors.") from error
        else:
            problem = copy.settle_branch(BRANCH_GUARD)
    finally:
        pool.sessions.end_branch(source, name, done=problem is None)
    if problem is not None:
        raise SessionCopyError(source, problem)
    if checkpoint is not None:
        copy.keep(checkpoint, pool.history)


def roll_back(pool: Pool, session: str, cell: int) -> None:
    """Have a session, whose turn the caller has, go back to what it was after a cell.

    Raises:
        SessionNotFoundError: it has no process.
        CheckpointNotFoundError: there is no checkpoint of that cell.
    """
    slot = pool.sessions.begin(session, new=False)
    try:
        _bring_back(slot, restorable=True)
        if not slot.alive or not slot.cell:
            raise SessionNotFoundError(session, lost=True)
        if cell != slot.cell:
            tag = next((tag for tag, made in slot.points.items() if made == cell), None)
            refusal = "" if tag is None else slot.roll_back(tag, START_GUARD)
            if refusal is not None:
                slot.points.pop(tag or 0, None)
                raise CheckpointNotFoundError(session, cell, sorted(set(slot.points.values())))
            if not slot.restored:  # it died while it woke up, or did not
                raise SessionNotFoundError(session, lost=True)
    finally:
        pool.sessions.end(session, begun=False)


def drive_all(pool: Pool, jobs: Sequence[Job]) -> list[Run | None]:
    """Execute programs in parallel, as slots come.

    Returns:
        Their ended runs in order; None for one that was cancelled before it began.

    Raises:
        PoolClosedError: the pool is closed, before or meanwhile.
        PoolSaturatedError: too many wait; none was run.
        ExecutionExistsError: one of the names is that of a living execution; none was run.
        ForkServerError: no interpreter is to be had. The others of these programs are ended.
    """
    ticket = _ticket_for(jobs)
    try:
        return _drive_all(pool, jobs, ticket)  # all loops are in there, as above
    except BaseException:
        _withdraw(pool, ticket)
        raise


def _ticket_for(jobs: Sequence[Job]) -> Ticket:
    sessions = {i: job.session for i, job in enumerate(jobs) if job.session is not None}
    return Ticket([job.name for job in jobs], sessions)


def _drive_all(pool: Pool, jobs: Sequence[Job], ticket: Ticket) -> list[Run | None]:
    pool.queue.enter(ticket)
    with select.epoll() as epoll:
        if ticket.descriptor >= 0:
            epoll.register(ticket.descriptor, select.EPOLLIN | select.EPOLLET)
        batch = _Batch(pool, jobs, ticket, epoll)
        while batch.unfinished:
            batch.step()
        pool.queue.leave(ticket)
    return batch.runs


@dataclass(frozen=True, slots=True)
class _Running:
    """A program of a batch.

    Args:
        index: which one.
        slot: what it has from the queue; it runs there, or in its session.
        run: the program on a slot.
        attempt: how often it was started.
    """

    index: int
    slot: Slot
    run: Run
    attempt: int = 1


class _Batch:
    """The programs of one call of ``drive_all``."""

    def __init__(
        self, pool: Pool, jobs: Sequence[Job], ticket: Ticket, epoll: select.epoll
    ) -> None:
        self.runs: list[Run | None] = [None] * len(jobs)
        self._pool = pool
        self._jobs = jobs
        self._ticket = ticket
        self._epoll = epoll
        self._running: dict[int, _Running] = {}  # by the epoll of its slot
        self._soonest = math.inf  # no run must be stepped before, unless something happens
        self._ended = 0

    @property
    def unfinished(self) -> bool:
        return self._ended + len(self._ticket.rejected) < len(self._jobs)

    def step(self) -> None:
        """Begin what can begin, wait until something happens, and handle it."""
        while (grant := self._pool.queue.take(self._ticket)) is not None:
            index, slot = grant
            run = begin(self._pool, slot, self._jobs[index])
            self._epoll.register(run.slot.epoll.fileno(), select.EPOLLIN)
            self._note(_Running(index, slot, run))
        wait = max(0.0, self._soonest - time.monotonic()) if self._running else None
        for descriptor, _ in self._epoll.poll(wait):
            if descriptor in self._running:  # not the ticket's
                self._step(descriptor)
        now = time.monotonic()
        if now >= self._soonest:
            self._soonest = math.inf
            for descriptor, running in list(self._running.items()):
                if running.run.until <= now:
                    self._step(descriptor)
                else:
                    self._soonest = min(self._soonest, running.run.until)
        if self._ticket.stopped:
            self._stop()

    def _note(self, running: _Running) -> None:
        self._running[running.run.slot.epoll.fileno()] = running
        self._soonest = min(self._soonest, running.run.until)

    def _step(self, descriptor: int) -> None:
        running = self._running[descriptor]
        index, run = running.index, running.run
        run.step(0.0)
        if run.ending is None:
            self._soonest = min(self._soonest, run.until)
        elif run.ending.kind == "unstarted" and index not in self._ticket.stopped:
            attempt = running.attempt
            run = retry(self._pool, run, self._jobs[index], attempt)
            self._note(_Running(index, running.slot, run, attempt + 1))
        else:
            self._end(descriptor)

    def _stop(self) -> None:
        """End what was cancelled while it ran, or interrupt it."""
        for descriptor, running in list(self._running.items()):
            if running.index in self._ticket.stopped:
                running.run.cancel()
                if running.run.ending is not None:
                    self._end(descriptor)
                else:
                    self._soonest = min(self._soonest, running.run.until)

    def _end(self, descriptor: int) -> None:
        """Take the result of a run that has ended, and give its slot back."""
        running = self._running.pop(descriptor)
        index, run = running.index, running.run
        self._epoll.unregister(descriptor)
        end(self._pool, run, self._jobs[index])
        if self._pool.queue.give_back(self._ticket, running.slot):
            run.cancel()  # while it ended: who cancelled it was told that it is
        self.runs[index] = None if run.started_at is None else run
        self._ended += 1


def begin(pool: Pool, slot: Slot, job: Job) -> Run:
    """Start a program on a slot, or in its session; what died is brought back first."""
    if job.session is not None:
        slot = pool.sessions.begin(job.session)
    _bring_back(slot, restorable=job.checkpoint is not None)
    if not slot.alive:
        pool.revive(slot)
    return _start(pool, slot, job)


def _bring_back(slot: Slot, *, restorable: bool) -> None:
    """Bring a slot's interpreter back that was killed while it waited, unless its server was."""
    slot.check()
    if slot.returncode is not None and restorable and not slot.changing:
        slot.restore()
    elif slot.returncode is not None or slot.changing:
        slot.reset()
    if slot.restoring or slot.restored:
        slot.settle(START_GUARD)


def end(pool: Pool, run: Run, job: Job) -> None:
    """End what is left of a program, unless its interpreter goes on."""
    if job.keep and run.reusable:
        run.slot.cell += 1
        if job.checkpoint is not None:
            run.slot.keep(job.checkpoint, pool.history, _crowd(pool))
    elif job.checkpoint is not None and run.taken:
        run.slot.restore()
    else:
        run.slot.recycle()
    if job.session is not None:
        pool.sessions.end(job.session, begun=run.started_at is not None)


def _crowd(pool: Pool) -> int:
    """How long a checkpoint waits for other executions (ms), which it would slow down.

    About as long as those that wait or run may take on a machine of few processors.
    """
    queue = pool.queue
    others = queue.pending + pool.size - queue.idle - 1
    return min(2 * others, _LONGEST_DELAY)


def _start(pool: Pool, slot: Slot, job: Job) -> Run:
    run = Run(
        slot,
        job.frame,
        job.timeout,
        pool.limits,
        pool.closing,
        grace=job.grace,
        restorable=job.checkpoint is not None,
    )
    if job.session is not None:
        run.state = pool.sessions.state(job.session)
    if job.echo is not None:
        run.out.also, run.err.also = job.echo
    run.start(quiet=job.quiet)
    slot.restored = False
    return run


def retry(pool: Pool, unstarted: Run, job: Job, attempt: int) -> Run:
    """Start a program anew that never began: in its session, as it was, or on a new server.

    Raises:
        ForkServerError: that was the last attempt.
    """
    if attempt >= ATTEMPTS:
        raise ForkServerError(
            f"a program did not begin in {attempt} attempts. "
            f"Its interpreter printed: {unstarted.err.text() or 'nothing'}. "
            f"The servers printed: {pool.server.printed() if pool.server else 'nothing'}"
        )
    slot = unstarted.slot
    assert unstarted.ending is not None
    if job.checkpoint is not None and unstarted.ending.returncode is not None:
        slot.restore()  # it was killed while it was parked
        slot.settle(START_GUARD)
    else:
        pool.revive(slot, thoroughly=attempt > 1)
    if not slot.alive:
        pool.revive(slot)
    return _start(pool, slot, job)
