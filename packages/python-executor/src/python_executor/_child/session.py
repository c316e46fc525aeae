"""The interpreter of a session: runs cells, and after each leaves a copy of itself behind."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import array
import builtins
import os
import select
import signal
import socket
import stat
import struct
from typing import TYPE_CHECKING, Any

from . import frames, linux, randomness
from .interpreter import CONTROL, PRIVATE, STARTED, Interpreter

if TYPE_CHECKING:
    from .session_server import SessionServer

# A cell may patch ``builtins`` and ``os``.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
_exit, _fstat, _getpid, _getppid, _lseek = os._exit, os.fstat, os.getpid, os.getppid, os.lseek
_read, _setsid, _write = os.read, os.setsid, os.write
_poll = select.poll
_await_signal = _signal.sigwait
_INTERRUPT = (int(signal.SIGINT),)
# What is said to the server.
CHECKPOINT, DONE, READY, _LISTENER = b"c", b"d", b"r", b"l"
_message = struct.Struct("=cQQ").pack
_REPLY = 256
_DRAINED = 65536  # bytes at a time


class SessionInterpreter(Interpreter):
    """What a session server's child is for. The arguments are those of ``Interpreter``."""

    def __init__(self, server: SessionServer, directory: str, highest: int) -> None:
        self._asks = server.sandbox.asks
        self._cloning = server.cloning
        self._death = linux.death_signal(signal.SIGKILL)
        self._parent = server.pid
        self._unprotected = ""  # why there is no checkpoint, if there should be one
        super().__init__(server, directory, highest)

    def _prepare_to_settle(self) -> list[linux.Call]:
        # The filter whose questions the server answers comes first: the other one forbids to send
        # a descriptor.
        return [(self._listen, ()), *super()._prepare_to_settle()]

    def _listen(self) -> None:
        if self._asks is None:
            return
        listener = self._asks.listen()
        private = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, PRIVATE)
        rights = array.array("i", [listener])
        private.sendmsg([_LISTENER], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        private.detach()
        os.close(listener)

    def _announcement(self) -> bytes:
        if not self._unprotected:
            return STARTED
        return frames.encode({"kind": "started", "unprotected": self._unprotected})

    def _leave_behind(self, frame: dict[str, Any]) -> None:
        while True:
            try:
                self._unprotected = self._ask(frame["most"], frame["tag"])
                if self._unprotected or self._leave_checkpoint():
                    return
            except OSError as error:
                self._unprotected = error.strerror or "the fork failed"
                return

    def _ask(self, most: int, tag: int) -> str:
        """Ask the server whether this process may be cloned; returns why not.

        Args:
            most: bytes of memory that it may have for that.
            tag: what the host knows the clone by.
        """
        if self._cloning is None:
            return "this machine can't"
        _write(PRIVATE, _message(CHECKPOINT, most, tag))
        return self._hear()

    def _hear(self) -> str:
        """Take the server's reply; returns what is wrong."""
        reply = _read(PRIVATE, _REPLY)
        return "" if reply == b"+" else reply.decode() or "its server is gone"

    def _leave_checkpoint(self) -> bool:
        """Clone this process; returns when the clone waits, and, in the clone, when it goes on.

        Returns:
            Whether this is the process that has gone on all the time.
        """
        assert self._cloning is not None
        memory = _Unforkable()
        try:
            pid = self._cloning()
        except OSError:
            _write(PRIVATE, _message(DONE, 0, 0))
            _read(PRIVATE, _REPLY)
            raise
        if pid:
            # Before the next cell begins, the server is to know it, and no signal to reach it.
            self._unprotected = self._hear()
            return True
        _setsid()
        linux.make((self._death,))
        if _getppid() != self._parent:
            _exit(1)  # the server died before its end was to be ours
        _write(PRIVATE, _message(DONE, _getpid(), 0))
        _await_signal(_INTERRUPT)
        memory.restore()
        self._files.send_changed(CONTROL, -1)  # what is there now was not made by the next cell
        for descriptor in (PRIVATE, CONTROL):
            _drain(descriptor)
        _write(PRIVATE, _message(READY, 0, 0))
        return False


class _Unforkable:
    """What a clone shares with the process that runs on, or finds changed."""

    def __init__(self) -> None:
        self._offsets = _offsets()
        self._random = randomness.state()

    def restore(self) -> None:
        for descriptor, offset in self._offsets.items():
            _lseek(descriptor, offset, 0)
        randomness.go_on_from(self._random)


def _drain(descriptor: int) -> None:
    """Throw away what the process that is gone was told, and did not read."""
    waiting = _poll()
    waiting.register(descriptor, select.POLLIN)
    while waiting.poll(0) and _read(descriptor, _DRAINED):
        pass


def _offsets() -> dict[int, int]:
    """The positions of the program's open files."""
    asked = _poll()
    for descriptor in range(3, PRIVATE):
        asked.register(descriptor, 0)
    closed = {descriptor for descriptor, event in asked.poll(0) if event & select.POLLNVAL}
    return {
        descriptor: _lseek(descriptor, 0, 1)
        for descriptor in (0, *range(3, PRIVATE))
        if descriptor not in closed and stat.S_ISREG(_fstat(descriptor).st_mode)
    }
