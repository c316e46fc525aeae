"""One slot as the host sees it: its server's socket, and its interpreter's descriptors."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import NamedTuple

from python_executor import _messages


class Ends(NamedTuple):
    """Raw descriptors of one interpreter, on one side."""

    control: int
    out: int
    err: int

    def close(self) -> None:
        """Close all three."""
        for descriptor in self:
            os.close(descriptor)


def _open_ends() -> tuple[Ends, Ends]:
    """Open socket pair and pipes; returns (the host's side, the interpreter's)."""
    opened: list[int] = []
    try:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        opened += [ours.detach(), theirs.detach()]
        opened += os.pipe()
        opened += os.pipe()
    except OSError:
        for descriptor in opened:
            os.close(descriptor)
        raise
    control, its_control, out, its_out, err, its_err = opened
    for descriptor in (control, out, err):
        os.set_blocking(descriptor, False)
    return Ends(control, out, err), Ends(its_control, its_out, its_err)


class Slot:
    """The host's side of one slot. Owned by one driver at a time; nothing here locks.

    A slot without a socket is dead: its server ended, and the pool must get it another.

    Args:
        number: which slot of the pool.
        closing: descriptor that becomes readable when the pool closes; part of every wait.

    Attributes:
        epoll: what to wait on; holds ``closing``, the server's socket and the interpreter's control
            socket.
        ends: the interpreter's descriptors.
        generation: counts the interpreters.
        server: pid of the slot server, as far as known.
        pid: pid of the interpreter, as far as known.
        cells: how many programs this interpreter has taken.
        returncode: how the interpreter ended, once it has.
    """

    def __init__(self, number: int, closing: int) -> None:
        self.number = number
        self.sock: socket.socket | None = None
        self.ends: Ends | None = None
        self.generation = 0
        self.server: int | None = None
        self.pid: int | None = None
        self.cells = 0
        self.returncode: int | None = None
        self._next: tuple[Ends, Ends] | None = None
        self._watched: set[int] = set()
        self.epoll = select.epoll()
        self.epoll.register(closing, select.EPOLLIN)

    @property
    def alive(self) -> bool:
        """Whether the server was there when last spoken to."""
        return self.sock is not None

    def attach(self, sock: socket.socket) -> None:
        """Take a new server, and have it fork."""
        self.detach()
        self.sock = sock
        self.epoll.register(sock.fileno(), select.EPOLLIN)
        self.recycle()

    def detach(self) -> None:
        """Let go of the server; without its socket it ends."""
        if self.sock is not None:
            self.epoll.unregister(self.sock.fileno())
            self.sock.close()
            self.sock = None
        self.server = self.pid = None

    def prepare(self) -> bool:
        """Open the next interpreter's descriptors ahead; False if none are to be had."""
        if self._next is None:
            try:
                self._next = _open_ends()
            except OSError:
                return False  # ``recycle`` tries again, and gives the slot up if need be
        return True

    def watch(self, descriptor: int, events: int) -> None:
        """Have the epoll report ``events`` of one of the interpreter's descriptors; 0 for none."""
        watched = descriptor in self._watched
        if events == 0:
            if watched:
                self.epoll.unregister(descriptor)
                self._watched.remove(descriptor)
        elif watched:
            self.epoll.modify(descriptor, events)
        else:
            self.epoll.register(descriptor, events)
            self._watched.add(descriptor)

    def recycle(self) -> None:
        """End what runs here and fork the next interpreter. One message; nothing is waited for."""
        self.pid = None
        self.cells = 0
        self.returncode = None
        self.generation += 1
        if self.sock is None or not self.prepare():
            self.detach()
            self._drop_ends()
            return
        assert self._next is not None
        ours, theirs = self._next
        self._next = None
        # Before the old ends close: at their end of the stream the old interpreter would wake up.
        if not _messages.send(self.sock, {"recycle": self.generation}, theirs):
            self.detach()
        theirs.close()
        self._drop_ends()
        self.ends = ours
        self.watch(ours.control, select.EPOLLIN)

    def check(self) -> None:
        """Read what the server said while the slot was idle; if it is gone, the slot is dead."""
        try:
            while self.sock is not None:
                self.note(_messages.receive(self.sock))
        except BlockingIOError:
            return
        except EOFError:
            self.detach()

    def note(self, message: _messages.Message | None) -> int | None:
        """Take a message of the server; returns the interpreter's status if that ended."""
        if isinstance(message, _messages.Forked):
            self.server = message.server
            if message.generation == self.generation:
                self.pid = message.pid
        elif isinstance(message, _messages.Exited) and message.generation == self.generation:
            self.returncode = message.returncode
            return message.returncode
        return None

    def forget(self) -> None:
        """Close a forked child's copies. The epoll is shared with the parent: don't change it."""
        if self.sock is not None:
            self.sock.close()
        for ends in (self.ends, *(self._next or ())):
            if ends is not None:
                with contextlib.suppress(OSError):  # another thread was closing them at the fork
                    ends.close()
        self.epoll.close()

    def close(self) -> None:
        """Close every descriptor. The server sees the end of its socket, and ends."""
        self.detach()
        self._drop_ends()
        if self._next is not None:
            for ends in self._next:
                ends.close()
            self._next = None
        self.epoll.close()

    def _drop_ends(self) -> None:
        # Closing alone doesn't end a registration while a fork of this process holds a copy
        # (epoll(7)).
        for descriptor in tuple(self._watched):
            self.watch(descriptor, 0)
        if self.ends is not None:
            self.ends.close()
            self.ends = None
