"""One execution on one slot, as a state machine on the slot's descriptors.

The caller's own thread drives it: ``start``, then ``step`` whenever the slot's epoll has something
or ``until`` has come, until there is an ``ending``. One thread can drive many (see ``_drive.py``).

Streams aren't watched from the start: for a program that ends within a tick, one wake-up brings
result and output together. A longer one's streams are read as data comes, but once a tick at most,
because a wake-up for each printed line would eat a core.
"""

from __future__ import annotations

import fcntl
import math
import os
import select
import socket
import time
from dataclasses import dataclass

from python_executor import _messages
from python_executor._capture import Capture
from python_executor._frames import (
    MAX_FILES,
    Display,
    Frame,
    FrameError,
    FrameReader,
    Outcome,
    Started,
    total_of,
)
from python_executor._products import Products
from python_executor._slot import EVENTS, Slot
from python_executor._watchdog import INTERVAL, Watchdog
from python_executor.errors import PoolClosedError
from python_executor.results import State

# How long output may wait to be read (seconds).
TICK = 0.005
# A full pipe of this size (bytes) is made larger, so that a flood is read in fewer, larger pieces.
PIPE_SIZE = 64 * 1024
LARGE_PIPE_SIZE = 1024 * 1024
# What reading in vain counts for (bytes), so that it isn't done for ever.
_VAIN = 4096
# How long an interpreter may take to begin (seconds). Beyond it the slot server is replaced. On a
# busy machine it may take a while.
START_GUARD = 15.0
# How often to look meanwhile whether a signal stopped it (seconds).
START_CHECK = 0.25


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may take. None is no limit.

    Args:
        max_output: bytes of each stream that are kept.
        max_total_output: bytes of both streams, past which the program is ended.
        memory: bytes beyond the warm parent's, with all processes of the program.
        disk: bytes in its directory.
        processes: how many it may have beside its own; if any, they have to be looked for.
        max_files: bytes of its files, and characters of its displays, that come back.
    """

    max_output: int
    max_total_output: int
    memory: int | None = None
    disk: int | None = None
    processes: int = 1024
    max_files: int = MAX_FILES

    @property
    def watched(self) -> bool:
        """Whether there is a limit that only a watchdog can keep."""
        return self.memory is not None or self.disk is not None


@dataclass(frozen=True, slots=True)
class Ending:
    """How an execution ended.

    Args:
        kind: ``result``; ``timeout``; ``crashed``; ``output``; ``memory``; ``disk``; ``tasks``;
            ``cancelled``; ``unstarted`` (it never began, and may be tried again elsewhere).
        outcome: the interpreter's frame, for ``result``, and for a cell that was interrupted: at
            its ``timeout``, or because it was ``cancelled``.
        returncode: for ``crashed`` and ``unstarted``; None if the process was still alive.
        detail: for ``crashed``, ``memory``, ``disk`` and ``tasks``: what it did.
    """

    kind: str
    outcome: Outcome | None = None
    returncode: int | None = None
    detail: str = ""


class Run:
    """One execution on one slot.

    Args:
        slot: a living slot, owned by the caller.
        frame: the encoded program.
        timeout: seconds from the program's start.
        limits: what it may take.
        closing: descriptor that becomes readable when the pool closes.
        grace: seconds that it may take to end when it is interrupted; None if it is ended at once.
        restorable: whether the slot can go on with a checkpoint if its process ends.

    Attributes:
        state: what it starts from.
        unprotected: why its session can't go back to that, if it is to.
        ending: how it ended, once it has.
        out: its stdout.
        err: its stderr.
        started_at: when the interpreter said that it begins (``time.monotonic``), once it has.
        ended_at: when it ended.
        products: its displays and files; None as long as there is none.
    """

    def __init__(
        self,
        slot: Slot,
        frame: bytes,
        timeout: float,
        limits: Limits,
        closing: int,
        *,
        grace: float | None = None,
        restorable: bool = False,
    ) -> None:
        assert slot.sock is not None
        assert slot.ends is not None
        self.slot = slot
        self.ending: Ending | None = None
        self.out = Capture(limits.max_output)
        self.err = Capture(limits.max_output)
        self.started_at: float | None = None
        self.ended_at = 0.0
        self.products: Products | None = None
        self.state: State = "fresh"
        self.unprotected: str | None = None
        self._limits = limits
        self._timeout = timeout
        self._grace = grace
        self._restorable = restorable
        self._interrupted = ""  # what for: the kind of its ending
        self._closing = closing
        self._ends = slot.ends
        self._server = slot.sock.fileno()
        self._sock = slot.sock
        self._unsent: memoryview | None = memoryview(frame)
        self._reader = FrameReader(total=total_of(limits.max_files))
        self._streams = {self._ends.out: self.out}
        if self._ends.err >= 0:
            self._streams[self._ends.err] = self.err
        self._sizes = dict.fromkeys(self._streams, PIPE_SIZE)
        self._readable = select.poll()
        for descriptor in self._streams:
            self._readable.register(descriptor, select.POLLIN)
        self._watching = False
        self._control_watch = select.EPOLLIN
        self._watchdog: Watchdog | None = None
        self._look = math.inf  # when the watchdog is due

    def start(self, *, quiet: bool = False) -> None:
        """Send the program. The interpreter need not be forked yet.

        Args:
            quiet: an interpreter that has served before won't say that it begins: take it that it
                does. If it is dead by now, the program counts as crashed, and runs nowhere else.
        """
        now = time.monotonic()
        if quiet and self.slot.cells:
            self._begin(now)
        else:
            self._guard = now + START_GUARD
            self._deadline = now + min(START_CHECK, START_GUARD)
        self._tick = now + TICK
        self.slot.cells += 1
        self._send()

    def _begin(self, now: float) -> None:
        self.started_at = now
        self._deadline = now + self._timeout
        if self._limits.watched:
            self._look = now + INTERVAL
        if self._interrupted:  # before it had begun
            self._interrupt(now)

    @property
    def reusable(self) -> bool:
        """Whether the interpreter can take another program: it sent a result and nothing else."""
        ended = self.ending is not None and self.ending.outcome is not None
        return ended and self._unsent is None and self._reader.empty

    @property
    def taken(self) -> bool:
        """Whether the interpreter has begun it, and nothing is on its way there any more."""
        return self.started_at is not None and self._unsent is None

    @property
    def until(self) -> float:
        """When ``step`` must be called at the latest (``time.monotonic``)."""
        until = min(self._deadline, self._look)
        return until if self._watching else min(until, self._tick)

    def step(self, wait: float) -> None:
        """Wait for at most ``wait`` seconds and handle what came.

        Raises:
            PoolClosedError: the pool is closing. The caller still owns the slot.
        """
        for descriptor, _ in self.slot.epoll.poll(max(0.0, wait), EVENTS):
            if descriptor == self._ends.control:
                self._on_control()
            elif descriptor == self._server:
                self._on_server()
            elif descriptor == self._closing:
                raise PoolClosedError
            else:
                self._read_streams()
                self._watching = False
                self._tick = time.monotonic() + TICK
            if self.ending is not None:
                return
        now = time.monotonic()
        if not self._watching and now >= self._tick:
            if self._read_streams():
                self._tick = now + TICK
            else:
                self._watch_streams()
        if self.ending is None and now >= self._look:
            self._watch()
        if self.ending is None and now >= self._deadline:
            if self.started_at is not None:
                self._give_up("timeout", now)
            elif now >= self._guard or self.slot.stopped:
                self._stop(None)
            else:
                self._deadline = min(now + START_CHECK, self._guard)

    def cancel(self) -> None:
        """End it as cancelled, even if it has ended otherwise just now.

        One that can be interrupted may take a while to end.
        """
        if self.ending is not None:
            self.ending = Ending("cancelled", outcome=self._kept_outcome())
        elif not self._interrupted:
            self._give_up("cancelled", time.monotonic())

    def _kept_outcome(self) -> Outcome | None:
        """What an interruptible cell has come to, although it counts as cancelled."""
        return self.ending.outcome if self.ending and self._grace is not None else None

    def _give_up(self, kind: str, now: float) -> None:
        """Interrupt it, if that is to be tried first, or end it."""
        if self._grace is None or self._interrupted:
            self._end(Ending(self._interrupted or kind))
            return
        self._interrupted = kind
        if self.started_at is not None:
            self._interrupt(now)

    def _interrupt(self, now: float) -> None:
        assert self._grace is not None
        if self.slot.interrupt():
            self._deadline = now + self._grace
        else:
            self._end(Ending(self._interrupted))

    def _send(self) -> None:
        """Send what the socket takes; watch it for the rest."""
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._ends.control, self._unsent) :]
        except BlockingIOError:
            self._watch_control(select.EPOLLIN | select.EPOLLOUT)
            return
        except (BrokenPipeError, ConnectionResetError):
            pass  # it is gone: its server will say how
        self._unsent = None
        self._watch_control(select.EPOLLIN)

    def _watch_control(self, events: int) -> None:
        if events != self._control_watch:
            self.slot.watch(self._ends.control, events)
            self._control_watch = events

    def _on_control(self) -> None:
        if self._unsent is not None:
            self._send()
        if not self._read_control() and self.ending is None:
            # The program closed its end, or its process did by ending: the server tells which.
            self.slot.watch(self._ends.control, 0)

    def _read_control(self) -> bool:
        """Read frames until none is there, or the result is; False at the stream's end."""
        while self.ending is None:
            try:
                data = os.read(self._ends.control, PIPE_SIZE)
            except BlockingIOError:
                return True
            except ConnectionResetError:
                return False
            if not data:
                return False
            self._reader.feed(data)
            try:
                while (frame := self._reader.next()) is not None:
                    if self._on_frame(frame):
                        return True
            except FrameError as error:
                self._end(Ending("crashed", detail=f"It broke the executor's protocol: {error}."))
        return True

    def _on_frame(self, frame: Frame) -> bool:
        """Take a frame; returns whether it was the result."""
        if isinstance(frame, Started):
            if self.started_at is not None:
                raise FrameError("started twice")
            self.unprotected = frame.unprotected
            self._begin(time.monotonic())
            self.slot.prepare()
            return False
        if self.started_at is None:
            raise FrameError("a result before the start")
        if not isinstance(frame, Outcome):
            if self.products is None:
                self.products = Products(self._limits.max_files)
            if isinstance(frame, Display):
                self.products.add_display(frame)
            else:
                self.products.add_file(frame)
            return False
        if self.products is not None:
            self.products.check()
        self._end(Ending(self._interrupted or "result", outcome=frame))
        return True

    def _on_server(self) -> None:
        try:
            returncode = self.slot.note(_messages.receive(self._sock))
        except BlockingIOError:
            return
        except EOFError:
            self._read_control()
            self.slot.detach()
            self._stop(None)
            return
        if returncode is not None:
            self._read_control()  # the result may have come just before
            self._stop(returncode)

    def _stop(self, returncode: int | None) -> None:
        """The interpreter is gone, or on its way, or doesn't begin."""
        if returncode is not None and self._restorable:
            self._read_control()
        elif self.ending is None and self.started_at is None:
            # It may be about to begin, and the program is to run elsewhere: from here on it can't,
            # because it can't say so. It may just have said it.
            with socket.socket(fileno=os.dup(self._ends.control)) as control:
                control.shutdown(socket.SHUT_RD)
            self._read_control()
        if self.ending is not None:
            return
        if self.started_at is None:
            self._end(Ending("unstarted", returncode=returncode))
        else:
            self._end(Ending("crashed", returncode=returncode))

    def _watch(self) -> None:
        """Have the watchdog look at the program."""
        slot, limits = self.slot, self._limits
        if self._watchdog is None:
            if slot.pid is None:  # its server will say soon
                self._look = time.monotonic() + INTERVAL
                return
            # Whose an orphan is, nobody can tell: with processes, branches have limits together.
            together = len(slot.family) if limits.processes else 1
            self._watchdog = Watchdog(
                slot.pid,
                family=slot.server if limits.processes else None,
                processes=limits.processes * together,
                warm=0 if slot.root is None else slot.root.resident,
                memory=None if limits.memory is None else limits.memory * together,
                disk=limits.disk,
                directory=slot.directory,
            )
        excess = self._watchdog.look()
        self._look = self._watchdog.due
        if excess is not None:
            self._end(Ending(excess.kind, detail=excess.message))

    def _end(self, ending: Ending) -> None:
        self.ending = ending
        self.ended_at = time.monotonic()
        if self.started_at is None and ending.kind in ("crashed", "output"):
            # For what a session's process has sent while it was parked, its next cell stands.
            self.started_at = self.ended_at
        if self._watchdog is not None:
            self._watchdog.close()
        # What is in the pipes now was written before the end; a process left behind may go on
        # writing.
        self._drain()

    def _watch_streams(self) -> None:
        """Wake up at the next output, once."""
        events = select.EPOLLIN | select.EPOLLONESHOT
        for descriptor in self._streams:
            self.slot.watch(descriptor, events)
        self._watching = True

    def _read_streams(self) -> bool:
        """Read what both streams hold; whether there was anything."""
        before = self.out.total + self.err.total
        self._drain()
        total = self.out.total + self.err.total
        if total > self._limits.max_total_output and self.ending is None:
            self._end(Ending("output"))
        return total > before

    def _drain(self) -> None:
        """Read the streams until they are empty, but no more than they can hold at once."""
        left = 2 * LARGE_PIPE_SIZE
        # To ask first is cheaper than to read in vain, which raises.
        while left > 0 and (readable := self._readable.poll(0)):
            for descriptor, _ in readable:
                left -= self._read_stream(descriptor)

    def _read_stream(self, descriptor: int) -> int:
        """Read a stream once; returns the bytes that it took, or what counts for none."""
        size = self._sizes[descriptor]
        try:
            data = os.read(descriptor, size)
        except BlockingIOError:
            return _VAIN  # somebody else has read it: the program, which opened the pipe again
        if not data:  # all writers have closed it
            self._readable.unregister(descriptor)
            del self._streams[descriptor]
            return 0
        self._streams[descriptor].add(data)
        if len(data) > PIPE_SIZE // 2 and size == PIPE_SIZE:
            self._enlarge(descriptor)
        return len(data)

    def _enlarge(self, descriptor: int) -> None:
        try:
            self._sizes[descriptor] = fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, LARGE_PIPE_SIZE)
        except OSError:
            return  # the user's share of pipe memory is used up (pipe(7)): the small one works too
