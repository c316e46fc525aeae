"""The interpreter of a session: runs cells, and between them makes copies of itself.

A *checkpoint* is what the session goes back to when this process has died; a *branch* goes on
beside it, as another session's interpreter.
"""

from __future__ import annotations

import array
import builtins
import os
import select
import socket
import struct
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from . import descriptors, frames, moving, randomness
from .awaiting import cell_loop
from .interpreter import CONTROL, PRIVATE, STARTED, Interpreter
from .program import Program

if TYPE_CHECKING:
    from collections.abc import Callable

    from .linux import Call
    from .session_server import SessionServer

T = TypeVar("T")
# A cell may patch ``builtins`` and ``os``.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
_close, _dup2, _read, _write = os.close, os.dup2, os.read, os.write
_waiting = {PRIVATE: select.poll(), CONTROL: select.poll()}
for _descriptor, _each in _waiting.items():
    _each.register(_descriptor, select.POLLIN)
# What is said to the server. That there is a copy, the copy says.
BRANCH, CHECKPOINT, DONE, READY, _LISTENER = b"b", b"c", b"d", b"r", b"l"
_program = descriptors.Program(PRIVATE)
_message = struct.Struct("=cQQ").pack
COPIED, UNDONE = _message(DONE, 1, 0), _message(DONE, 0, 0)
# The longest reply (bytes): a directory. Of reasons, the host takes as much.
_REPLY, _REASON = 4096 + 1, 256
# What a branch gets: control socket, stdout, stderr, the socket to the server; perhaps its rules.
_MOST_HANDED, _LEAST_HANDED = 5, 4
_DRAINED = 65536  # bytes at a time
_MOST_DRAINED = 64  # times: more than a socket holds


class SessionInterpreter(Interpreter):
    """What a session server's child is for. The arguments are those of ``Interpreter``."""

    def __init__(self, server: SessionServer, directory: str, highest: int) -> None:
        self._asks = server.sandbox.asks
        self._cloning: Any = server.cloning  # if there is none, the server won't agree
        self._unprotected = ""  # why there is no checkpoint, if there should be one
        super().__init__(server, directory, highest)

    def _prepare_to_settle(self) -> list[Call]:
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

    def _copy(self, frame: dict[str, Any]) -> None:
        if frame["kind"] == "branch":
            try:
                self._branch()
            except OSError:
                return  # the server has told the host, or will
        else:
            self._control.poll(frame["delay"])
            self._leave_checkpoint(frame["most"], frame["tag"])

    def _leave_checkpoint(self, most: int, tag: int) -> None:
        """Leave behind what this can be brought back from, if the server agrees.

        Args:
            most: bytes of memory that this process may have for that.
            tag: what the host knows the copy by.
        """
        try:
            self._unprotected, _, _ = _ask(_message(CHECKPOINT, most, tag))
            if self._unprotected:
                return
            state = _Unforkable()
            woken = self._clone(partial(self._cloning.leave_asleep, state.remember))
            if woken is not None:
                _drain(CONTROL)
                # The next cell may come: it is begun when all that follows is done.
                _write(PRIVATE, _message(READY, 0, 0))
                if not woken:
                    _write(PRIVATE, UNDONE)
                state.restore(positions=True)
                self._files.send_changed(CONTROL, -1)  # what is there was not made by the next cell
            # Before the next cell begins, the server is to know the copy, and no signal to reach
            # that.
            self._unprotected, _, _ = _hear()
            self._rehearse()
        except OSError as error:
            self._unprotected = error.strerror or "the fork failed"

    def _branch(self) -> None:
        """Make a copy of this that goes on as another session, if the server agrees.

        Raises:
            OSError: the server is gone, or this process could not be copied.
        """
        uncopied = _program.first_uncopied(cell_loop.descriptors())
        number = 0 if uncopied is None else uncopied + 1
        reason, directory, handed = _ask(_message(BRANCH, number, 0))
        try:
            if reason:
                return
            if len(handed) < _LEAST_HANDED:  # no numbers were left for all
                _write(PRIVATE, UNDONE)
                _hear()
                return
            state = _Unforkable()
            if self._clone(partial(self._cloning.branch, state.remember)):
                _hear()
                self._rehearse()
                return
            control, out, err, private, *rules = handed
            for descriptor, target in ((out, 1), (err, 2)):
                _dup2(descriptor, target)
            for descriptor, target in ((control, CONTROL), (private, PRIVATE)):
                _dup2(descriptor, target, False)  # noqa: FBT003  (not inheritable)
            self._go_on_in(directory, state, rules)
        finally:
            for descriptor in handed:
                _close(descriptor)

    def _go_on_in(self, directory: str, state: _Unforkable, rules: list[int]) -> None:
        """Leave all that is the other session's, in a branch.

        Args:
            directory: with copies of its files.
            state: what this was before it was cloned.
            rules: what keeps this out of the other's directory.
        """
        self._unprotected = ""
        _program.reopen(state.offsets, self._directory, directory)
        state.restore(positions=False)
        cell_loop.renew()
        moving.move(self._directory, directory)
        for rule in rules:
            self._server.sandbox.restrict(rule)
        self._directory = directory
        self._stdin.move(directory)
        self._files.move(directory)
        self._files.send_changed(CONTROL, -1)  # what is there was not made by the next cell
        self._rehearse()

    def _clone(self, clone: Callable[[], T]) -> T:
        """Do what clones this process, and tell the server if it can't be done.

        Raises:
            OSError: it can't.
        """
        try:
            return clone()
        except OSError:
            _write(PRIVATE, UNDONE)
            _hear()
            raise

    def _rehearse(self) -> None:
        """Write now, while nobody waits, to the memory that the next cell will have copied."""
        if self._control.poll(0):
            return
        names = ModuleType("__main__")
        try:
            value, truncated = _Rehearsal(names, frames.decode(self._sample)).evaluate()
            frames.encode({"value": value, "truncated": truncated})
        except BaseException:  # noqa: BLE001, S110  (a cell may have changed anything)
            pass


class _Rehearsal(Program):
    """A sample that a session doesn't notice."""

    def _announce(self) -> None:
        self._main.__dict__["__builtins__"] = __builtins__


class _Unforkable:
    """What a clone shares with the process that runs on, or finds changed.

    Attributes:
        offsets: the positions of open files.
    """

    def __init__(self) -> None:
        self.offsets = _program.offsets()
        self._random: Any = None

    def remember(self) -> None:
        """In the clone, before CPython seeds ``random`` anew."""
        self._random = randomness.state()

    def restore(self, *, positions: bool) -> None:
        """Make it what it was.

        Args:
            positions: those of files too: the process that ran on is gone.
        """
        if positions:
            descriptors.seek(self.offsets)
        randomness.go_on_from(self._random)


def _hear() -> tuple[str, str, list[int]]:
    """Take the server's reply.

    Returns:
        What is wrong; of a branch, its directory, and the descriptors that it gets.
    """
    private = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, PRIVATE)
    try:
        data, handed, flags, _ = socket.recv_fds(private, _REPLY, _MOST_HANDED)
        if flags & socket.MSG_CTRUNC or (handed and not _has_room()):
            while handed:  # the kernel leaves out what finds no number
                _close(handed.pop())
    finally:
        private.detach()
    if data[:1] == b"+":
        return "", data[1:].decode(), handed
    return data[:_REASON].decode(errors="replace") or "its server is gone", "", handed


def _has_room() -> bool:
    """Whether a file can be opened, as for each that is opened anew."""
    try:
        _close(os.dup(PRIVATE))
    except OSError:
        return False
    return True


def _ask(message: bytes) -> tuple[str, str, list[int]]:
    """Ask the server; returns its reply, and not one that a cell has left."""
    _drain(PRIVATE)
    _write(PRIVATE, message)
    return _hear()


def _drain(descriptor: int) -> None:
    """Throw away what was sent to the program, or to a process that is gone."""
    waiting = _waiting[descriptor]
    for _ in range(_MOST_DRAINED):  # a cell may have put something there that never ends
        if not waiting.poll(0) or not _read(descriptor, _DRAINED):
            return
