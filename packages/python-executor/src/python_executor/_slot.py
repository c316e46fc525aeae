"""One slot as the host sees it: its server's socket, and its interpreter's descriptors."""

from __future__ import annotations

import _socket
import contextlib
import os
import select
import socket
import stat
import time
from collections.abc import Iterable
from itertools import chain, starmap
from typing import NamedTuple, Protocol

from python_executor import _messages
from python_executor._frames import branch_frame, keep_frame
from python_executor._processes import interrupt, is_stopped


class Root(Protocol):
    """What a slot needs to know of the fork server that its own server comes from."""

    @property
    def pid(self) -> int:
        """The root's pid."""

    @property
    def directory(self) -> str:
        """The pool's temporary directory."""

    @property
    def hidden(self) -> bool:
        """Whether programs have their files elsewhere, where this process can't see them."""

    @property
    def resident(self) -> int:
        """Bytes of memory that the root had when it was ready."""


_DRAINED = 65536  # bytes at a time
_MOST_DRAINED = 64  # times: more than a pipe or a socket holds
# The working directory of a session that is no branch (see ``SlotServer``).
_FIRST_HOME = "home"
# How many events to take at once from a slot's epoll: all that it holds.
EVENTS = 8


class Ends(NamedTuple):
    """Raw descriptors of one interpreter, on one side.

    With one pipe for both streams, ``err`` is -1 on the host's side, and ``out`` on the other.
    """

    control: int
    out: int
    err: int

    def close(self) -> None:
        """Close all."""
        _close_all({*self} - {-1})


# KeyboardInterrupt comes between two calls of Python code (of which ``socket.socketpair`` is some).
# So descriptors are made, kept and closed within one call each, by iterators.
_STREAM = (socket.AF_UNIX, socket.SOCK_STREAM)


def _close_all(descriptors: Iterable[int]) -> None:
    list(map(os.close, descriptors))


def _open_ends(*, merge: bool) -> tuple[Ends, Ends]:
    """Open socket pair and pipes; returns (the host's side, the interpreter's).

    Args:
        merge: whether both streams go into one pipe.
    """
    opened: list[int] = []
    try:
        sockets = chain.from_iterable(starmap(_socket.socketpair, [_STREAM]))
        opened.extend(map(_socket.socket.detach, sockets))
        pipes = [()] if merge else [(), ()]
        opened.extend(chain.from_iterable(starmap(os.pipe, pipes)))
        control, its_control, out, its_out, *errs = opened
        err, its_err = errs or (-1, its_out)
        for descriptor in (control, out, *errs[:1]):
            os.set_blocking(descriptor, False)
        for pipe in (out, *errs[:1]):
            os.fchmod(pipe, stat.S_IWUSR)  # a program can't open it again to read what it wrote
        return Ends(control, out, err), Ends(its_control, its_out, its_err)
    except BaseException:
        _close_all(opened)
        raise


class Slot:
    """The host's side of one slot. Owned by one driver at a time; nothing here locks.

    A slot without a socket is dead: its server ended, and the pool must get it another.

    Args:
        number: which slot of the pool.
        closing: descriptor that becomes readable when the pool closes; part of every wait.
        merge: whether programs have one pipe for stdout and stderr.
        ahead: whether descriptors of the next interpreter may be opened before it is needed.

    Attributes:
        epoll: what to wait on; holds ``closing``, the server's socket and the interpreter's control
            socket.
        ends: the interpreter's descriptors.
        generation: counts the interpreters.
        server: pid of the slot server, as far as known.
        pid: pid of the interpreter, as far as known.
        root: the fork server that forked the slot server.
        family: the slots that have the same server, this one included: branches of a session.
        home: of a session with branches, its working directory below that of the slot server.
        refusal: why this can't be a branch, or go back, once the server has said so.
        cells: how many programs this interpreter has taken.
        cell: the number of the last cell whose state it has, of a session.
        points: of the checkpoints that were asked for, which cell each was made after, by tag.
        returncode: how the interpreter ended, once it has.
        tag: of the last checkpoint that was asked for.
        restoring: whether a checkpoint is being brought back.
        restored: whether what waits here has been brought back, and no program has begun since.
        changing: whether a change of all this is under way, or was interrupted.
    """

    def __init__(
        self, number: int, closing: int, *, merge: bool = False, ahead: bool = True
    ) -> None:
        self.number = number
        self._merge = merge
        self._ahead = ahead
        self.sock: socket.socket | None = None
        self.ends: Ends | None = None
        self.generation = 0
        self.server: int | None = None
        self.pid: int | None = None
        self.root: Root | None = None
        self.family = {self}
        self.home = ""
        self.refusal: str | None = None
        self.cells = 0
        self.cell = 0
        self.points: dict[int, int] = {}
        self.returncode: int | None = None
        self.tag = 0
        self.restoring = False
        self.restored = False
        self.changing = False
        self._target = 0  # of the checkpoint that is being brought back
        self._closing = closing
        # Of the next interpreter.
        self._next_ends: Ends | None = None
        self._its_ends: Ends | None = None
        self._watched: set[int] = set()
        self.epoll = self._new_epoll()

    def _new_epoll(self) -> select.epoll:
        epoll = select.epoll()
        epoll.register(self._closing, select.EPOLLIN)
        return epoll

    @property
    def alive(self) -> bool:
        """Whether the server was there when last spoken to."""
        return self.sock is not None

    @property
    def directory(self) -> str | None:
        """Where its program may write (see ``SlotServer`` in ``_child/slot.py``), if it is seen."""
        assert self.root is not None
        if self.root.hidden:
            return None
        folder = f"{self.root.directory}/{self.number}"
        return f"{folder}/{self.home}" if self.home else folder

    @property
    def stopped(self) -> bool:
        """Whether a signal stopped what should begin a program now."""
        if self.server is None:  # not known before it has forked
            return self.root is not None and is_stopped(self.root.pid)
        return is_stopped(self.server) or is_stopped(self.pid)

    def attach(self, sock: socket.socket, root: Root) -> None:
        """Take a new server of a root, and have it fork."""
        self.changing = True
        self.detach()
        self.sock = sock
        self.root = root
        self.epoll.register(sock.fileno(), select.EPOLLIN)
        self.recycle()

    def detach(self) -> None:
        """Let go of the server; without its socket it ends."""
        sock, self.sock = self.sock, None
        if sock is not None:
            with sock, contextlib.suppress(FileNotFoundError):
                # A fork that another thread makes just now has a copy, which nobody would close.
                sock.shutdown(socket.SHUT_RDWR)
                self.epoll.unregister(sock.fileno())
        self.server = self.pid = None
        self.family.discard(self)
        self.family = {self}
        self.home = ""

    def prepare(self) -> None:
        """Open the next interpreter's descriptors ahead."""
        if self._ahead:
            self._open_next()

    def _open_next(self) -> bool:
        """Open the next interpreter's descriptors; False if none are to be had."""
        if self._next_ends is None:
            try:
                self._next_ends, self._its_ends = _open_ends(merge=self._merge)
            except OSError:
                return False  # ``recycle`` tries again, and gives the slot up if need be
        return True

    def watch(self, descriptor: int, events: int) -> None:
        """Have the epoll report ``events`` of one of the interpreter's descriptors; 0 for none."""
        # An interrupted call has left a descriptor in the set only.
        if descriptor not in self._watched:
            if events:
                self._watched.add(descriptor)
                self.epoll.register(descriptor, events)
        elif events:
            self.epoll.modify(descriptor, events)
        else:
            with contextlib.suppress(FileNotFoundError):
                self.epoll.unregister(descriptor)
            self._watched.discard(descriptor)

    def recycle(self) -> None:
        """End what runs here and fork the next interpreter. One message; nothing is waited for."""
        self.changing = True
        self.pid = None
        self.returncode = None
        self.restoring = self.restored = False
        self.tag = self.cell = 0
        self.points = {}
        self.home = ""  # a pristine interpreter has all of the slot's directory
        self.generation += 1
        # A server of several sessions has each until it ends: another one gets a server of its own.
        if self.sock is None or len(self.family) > 1 or not self._open_next():
            self.detach()
            self._drop_ends()
        else:
            assert self._its_ends is not None
            # Before the old ends close: at their end of the stream the old interpreter would wake
            # up.
            if not _messages.send(self.sock, {"recycle": self.generation}, self._its_ends):
                self.detach()
            # Taken before it is closed, as everywhere here: if KeyboardInterrupt comes in between,
            # a descriptor stays open, which is better than to close somebody else's.
            its_ends, self._its_ends = self._its_ends, None
            its_ends.close()
            self._drop_ends()
            self.ends, self._next_ends = self._next_ends, None
            assert self.ends is not None
            self.watch(self.ends.control, select.EPOLLIN)
        self.cells = 0
        self.changing = False

    def branch(self, source: Slot) -> None:
        """Become a branch of a session that waits; ``settle_branch`` waits for that.

        Args:
            source: the session's slot, which the caller owns too.

        Raises:
            OSError: no descriptors are to be had, or the source's process is gone.
        """
        self.changing = True
        assert source.sock is not None
        assert source.ends is not None
        self.ends, its_ends = _open_ends(merge=self._merge)
        try:
            self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self.generation = 1
                self.root = source.root
                self.number = source.number
                source.home = source.home or _FIRST_HOME
                self.family = source.family
                self.family.add(self)
                self.epoll.register(self.sock.fileno(), select.EPOLLIN)
                self.watch(self.ends.control, select.EPOLLIN)
                # The server first: it is to know what the interpreter asks it for.
                descriptors = (theirs.fileno(), *its_ends)
                if not _messages.send(source.sock, {"branch": self.generation}, descriptors):
                    raise BrokenPipeError
                os.write(source.ends.control, branch_frame())
        finally:
            its_ends.close()
        self.cells = source.cells
        self.cell = source.cell
        self.changing = False

    def settle_branch(self, patience: float) -> str | None:
        """Wait until this is a branch; returns why it can't be, None if it is.

        Args:
            patience: seconds.
        """
        deadline = time.monotonic() + patience
        answer = select.poll()
        if self.sock is not None:
            answer.register(self.sock, select.POLLIN)
        while self.pid is None and self.refusal is None:
            if self.sock is None:
                return "its server died"
            if not answer.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return f"it did not answer for {patience:g} s"
            self.check()
        return self.refusal

    def keep(self, most: int, history: int = 1, delay: int = 0) -> None:
        """Have a session's interpreter leave a checkpoint behind; nothing is waited for.

        Args:
            most: bytes of memory that it may have for that.
            history: how many of them are there at a time.
            delay: milliseconds until then, unless something else is asked of it before.
        """
        assert self.ends is not None
        self.tag += 1
        self.points[self.tag] = self.cell
        self.points.pop(self.tag - history, None)
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            os.write(self.ends.control, keep_frame(most, self.tag, delay))

    def restore(self) -> None:
        """Go back to the last checkpoint, or begin anew; ``settle`` waits for that."""
        self._go_back("restore", self.tag)

    def roll_back(self, tag: int, patience: float) -> str | None:
        """Go back to a checkpoint; returns why it can't be done: then all goes on as it was.

        Args:
            tag: which.
            patience: seconds.
        """
        pid = self.pid
        self.refusal = None
        self._go_back("rollback", tag)
        refusal = self.settle(patience)
        if refusal is not None:
            self.pid = pid
        return refusal

    def _go_back(self, kind: str, tag: int) -> None:
        self.changing = True
        self.pid = None
        self.returncode = None
        self.generation += 1
        self._target = tag
        request = {kind: self.generation, "tag": tag}
        if self.sock is not None and _messages.send(self.sock, request, ()):
            self.restoring = True
        else:
            self.detach()
        self.changing = False

    def settle(self, patience: float) -> str | None:
        """Wait until a checkpoint is back that was asked for; a server that doesn't say is let go.

        Args:
            patience: seconds.

        Returns:
            Why there is no going back, if the server refused.
        """
        deadline = time.monotonic() + patience
        answer = select.poll()
        if self.sock is not None:
            answer.register(self.sock, select.POLLIN)
        while self.restoring and self.sock is not None:
            if not answer.poll(max(0.0, deadline - time.monotonic()) * 1000):
                self.detach()
            else:
                self.check()
        if self.restored:
            self._drain()
        elif self.restoring:
            self.restoring = False
        return self.refusal

    def _drain(self) -> None:
        """Throw away what the process that is gone has sent last."""
        assert self.ends is not None
        descriptors = [each for each in self.ends if each >= 0]
        for descriptor in descriptors:
            with contextlib.suppress(BlockingIOError):
                for _ in range(_MOST_DRAINED):  # the new one may write already, without end
                    if not os.read(descriptor, _DRAINED):
                        break

    def reset(self) -> None:
        """End what runs here, whatever an exception in between has made of this object."""
        if not self.changing:
            self.recycle()
            return
        epoll = self._new_epoll()  # before the other one is closed: there may be none to be had
        self.close()
        self._watched.clear()
        self.epoll = epoll
        self.cells = 0
        self.changing = False

    def check(self) -> None:
        """Read what the server said while the slot was idle; if it is gone, the slot is dead."""
        if not self.epoll.poll(0, EVENTS):
            return  # cheaper than to ask the socket, which raises
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
                if message.home is not None:
                    self.home = message.home
        elif isinstance(message, _messages.Refused):
            self.refusal = message.reason
            self.restoring = False
        elif isinstance(message, _messages.Restored) and message.generation == self.generation:
            self._note_restored(message)
        elif isinstance(message, _messages.Exited) and message.generation == self.generation:
            self.returncode = message.returncode
            return message.returncode
        return None

    def interrupt(self) -> bool:
        """Send SIGINT to what runs; False if it isn't known where that is, or it is gone."""
        return self.pid is not None and interrupt(self.pid, self.server)

    def _note_restored(self, message: _messages.Restored) -> None:
        self.restoring = False
        if message.pid:
            self.server = message.server
            self.pid = message.pid
            self.restored = True
            self.tag = self._target
            self.points = {tag: cell for tag, cell in self.points.items() if tag <= self.tag}
            self.cell = self.points.get(self.tag, self.cell)
        else:
            self.recycle()

    def forget(self) -> None:
        """Close a forked child's copies. The epoll is shared with the parent: don't change it."""
        if self.sock is not None:
            self.sock.close()
        for ends in (self.ends, self._next_ends, self._its_ends):
            if ends is not None:
                with contextlib.suppress(OSError):  # another thread was closing them at the fork
                    ends.close()
        self.epoll.close()

    def close(self) -> None:
        """Close every descriptor. The server sees the end of its socket, and ends."""
        self.detach()
        self._drop_ends()
        mine, self._next_ends = self._next_ends, None
        its, self._its_ends = self._its_ends, None
        for ends in (mine, its):
            if ends is not None:
                ends.close()
        self.epoll.close()

    def _drop_ends(self) -> None:
        # Closing alone doesn't end a registration while a fork of this process holds a copy
        # (epoll(7)).
        for descriptor in tuple(self._watched):
            self.watch(descriptor, 0)
        ends, self.ends = self.ends, None
        if ends is not None:
            ends.close()
