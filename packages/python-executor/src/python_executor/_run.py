"""One execution on one slot, as a state machine on the slot's descriptors.

The caller's own thread drives it: ``start``, then ``step`` whenever the slot's epoll has something
or ``until`` has come, until there is an ``ending``. One thread can drive many (see ``_drive.py``).

Streams aren't watched from the start: for a program that ends within a tick, one wake-up brings
result and output together. A longer one's streams are read as data comes, but once a tick at most,
because a wake-up for each printed line would eat a core.
"""

from __future__ import annotations

import fcntl
import os
import select
import time
from dataclasses import dataclass

from python_executor import _messages
from python_executor._capture import Capture
from python_executor._frames import FrameError, FrameReader, Outcome, Started
from python_executor._slot import Slot
from python_executor.errors import PoolClosedError

# How long output may wait to be read (seconds).
TICK = 0.005
# A full pipe of this size (bytes) is made larger, so that a flood is read in fewer, larger pieces.
PIPE_SIZE = 64 * 1024
LARGE_PIPE_SIZE = 1024 * 1024
# How long an interpreter may take to begin (seconds). Beyond it the slot server is replaced: it was
# stopped, or worse.
START_GUARD = 15.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may write.

    Args:
        max_output: bytes of each stream that are kept.
        max_total_output: bytes of both streams, past which the program is ended.
    """

    max_output: int
    max_total_output: int


@dataclass(frozen=True, slots=True)
class Ending:
    """How an execution ended.

    Args:
        kind: ``result``; ``timeout``; ``crashed``; ``output``; ``unstarted`` (it never began, and
            may be tried again elsewhere).
        outcome: the interpreter's frame, for ``result``.
        returncode: for ``crashed``; None if the process was still alive.
        detail: for ``crashed``: what it did.
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
        limits: what it may write.
        closing: descriptor that becomes readable when the pool closes.

    Attributes:
        ending: how it ended, once it has.
        out: its stdout.
        err: its stderr.
        started_at: when the interpreter said that it begins (``time.monotonic``), once it has.
        ended_at: when it ended.
        cell: which program of its interpreter it is, from 1.
    """

    def __init__(
        self, slot: Slot, frame: bytes, timeout: float, limits: Limits, closing: int
    ) -> None:
        assert slot.sock is not None
        assert slot.ends is not None
        self.slot = slot
        self.ending: Ending | None = None
        self.out = Capture(limits.max_output)
        self.err = Capture(limits.max_output)
        self.started_at: float | None = None
        self.ended_at = 0.0
        self.cell = 0
        self._limits = limits
        self._timeout = timeout
        self._closing = closing
        self._ends = slot.ends
        self._server = slot.sock.fileno()
        self._sock = slot.sock
        self._unsent: memoryview | None = memoryview(frame)
        self._reader = FrameReader()
        self._streams = {self._ends.out: self.out, self._ends.err: self.err}
        self._sizes = dict.fromkeys(self._streams, PIPE_SIZE)
        self._watching = False
        self._control_watch = select.EPOLLIN

    def start(self) -> None:
        """Send the program. The interpreter need not be forked yet."""
        now = time.monotonic()
        self._deadline = now + START_GUARD
        self._tick = now + TICK
        self.slot.cells += 1
        self.cell = self.slot.cells
        self._send()

    @property
    def reusable(self) -> bool:
        """Whether the interpreter can take another program: it sent a result and nothing else."""
        result = self.ending is not None and self.ending.kind == "result"
        return result and self._unsent is None and self._reader.empty

    @property
    def until(self) -> float:
        """When ``step`` must be called at the latest (``time.monotonic``)."""
        return self._deadline if self._watching else min(self._deadline, self._tick)

    def step(self, wait: float) -> None:
        """Wait for at most ``wait`` seconds and handle what came.

        Raises:
            PoolClosedError: the pool is closing. The caller still owns the slot.
        """
        for descriptor, _ in self.slot.epoll.poll(max(0.0, wait)):
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
        if self.ending is None and now >= self._deadline:
            self._end(Ending("unstarted" if self.started_at is None else "timeout"))

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

    def _on_frame(self, frame: Started | Outcome) -> bool:
        """Take a frame; returns whether it was the result."""
        if isinstance(frame, Started):
            if self.started_at is not None:
                raise FrameError("started twice")
            self.started_at = time.monotonic()
            self._deadline = self.started_at + self._timeout
            self.slot.prepare()
            return False
        if self.started_at is None:
            raise FrameError("a result before the start")
        self._end(Ending("result", outcome=frame))
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
        """The interpreter is gone."""
        if self.ending is not None:
            return
        if self.started_at is None:
            self._end(Ending("unstarted"))
        else:
            self._end(Ending("crashed", returncode=returncode))

    def _end(self, ending: Ending) -> None:
        self.ending = ending
        self.ended_at = time.monotonic()
        for descriptor in tuple(self._streams):
            # What is in the pipe now was written before the end; a process left behind may go on
            # writing.
            self._read_stream(descriptor, LARGE_PIPE_SIZE)

    def _watch_streams(self) -> None:
        """Wake up at the next output, once."""
        events = select.EPOLLIN | select.EPOLLONESHOT
        for descriptor in self._streams:
            self.slot.watch(descriptor, events)
        self._watching = True

    def _read_streams(self) -> bool:
        """Read what both streams hold; whether there was anything."""
        before = self.out.total + self.err.total
        for descriptor in tuple(self._streams):
            self._read_stream(descriptor, LARGE_PIPE_SIZE)
        total = self.out.total + self.err.total
        if total > self._limits.max_total_output and self.ending is None:
            self._end(Ending("output"))
        return total > before

    def _read_stream(self, descriptor: int, most: int) -> None:
        """Read a stream until it is empty, or ``most`` bytes."""
        capture = self._streams[descriptor]
        while most > 0:
            try:
                data = os.read(descriptor, self._sizes[descriptor])
            except BlockingIOError:
                return
            if not data:
                del self._streams[descriptor]  # all writers have closed it
                return
            capture.add(data)
            most -= len(data)
            if len(data) > PIPE_SIZE // 2 and self._sizes[descriptor] == PIPE_SIZE:
                self._enlarge(descriptor)

    def _enlarge(self, descriptor: int) -> None:
        try:
            self._sizes[descriptor] = fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, LARGE_PIPE_SIZE)
        except OSError:
            return  # the user's share of pipe memory is used up (pipe(7)): the small one works too
