"""The server of a session: forks its interpreter, and keeps what it can go back to.

::

    server ──fork──> interpreter          runs the cells
       └──(clone)──> checkpoint           waits, as the interpreter was after the last cell

The interpreter clones itself after a cell, when the answer is out: so nobody waits for that, and
it is the parent that runs on, with its pid, threads and open files. The child is this server's own,
and sleeps until the interpreter has died, or is to be forgotten.
"""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH102, PTH123
from __future__ import annotations

import ctypes
import os
import re
import select
import signal
import socket
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from . import messages, notifications, syscalls, tree
from .cloning import Cloning
from .session import CHECKPOINT, DONE, READY, SessionInterpreter
from .slot import SlotServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .interpreter import Interpreter

# How long a clone that was agreed on may take to be told of (seconds). Of one that isn't, nobody
# could say what it does.
_PATIENCE = 1.0
# The most messages that may be waiting: two for a checkpoint, and what a cell writes there.
_UNHEARD = 16
_ONE_DESCRIPTOR = socket.CMSG_LEN(4)
# A message from the interpreter: a letter and two numbers.
_MESSAGE = struct.Struct("=cQQ")
_STATUS = re.compile(rb"^(?:RssAnon:\s+(\d+) kB|Threads:\s+(\d+))$", re.MULTILINE)


class SessionServer(SlotServer):
    """The loop of a session's server. The arguments are those of ``SlotServer``."""

    cloning: Cloning | None = None

    def _enter(self, highest: int) -> SessionInterpreter:
        self._checkpoint: int | None = None
        self._tag = 0  # which cell the checkpoint was made after, or the one that is agreed on
        self._restoring = False  # until the checkpoint says that it goes on
        self._agreed = False  # to a clone that has not been told of
        self._private: socket.socket | None = None  # to the interpreter
        self._listener: int | None = None
        with suppress(OSError):  # there will be no checkpoints
            self.cloning = Cloning()
        self.sandbox.enter_slot(session=True)
        return SessionInterpreter(self, self._home, highest)

    def serve(self) -> Interpreter | None:
        """Serve until the host is gone or the root died; a forked child returns its interpreter."""
        while not self.wakeup.stopping:
            signalled, ready = self.wakeup.wait_for_any(_PATIENCE if self._agreed else None)
            if signalled:
                self._reap()
            if self._control.fileno() in ready:
                message = messages.receive(self._control)
                if message is None:
                    break
                request, descriptors = message
                if "restore" in request:
                    self._restore(request["restore"], request["tag"])
                elif self._start(request["recycle"], descriptors):
                    return self._interpreter
            elif self._private is not None and self._private.fileno() in ready:
                self._on_message()
            elif self._listener in ready:
                self._on_question()
            elif not ready and not signalled and self._agreed:
                self._give_up_checkpoint()
        self._end()
        return None  # the root removes the directory

    def _start(self, generation: int, descriptors: Sequence[int]) -> bool:
        """Fork a pristine interpreter in place of all that there is; whether this is it."""
        self._end()
        self._scratch.clear()
        os.mkdir(self._home, 0o700)
        os.chdir(self._home)
        self._private, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.descriptors = (*descriptors, theirs.detach())
        pid = tree.fork()
        if pid == 0:
            return True
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = ()
        self.wakeup.watch(self._private.fileno())
        self._child = pid
        self._generation = generation
        messages.tell_forked(self._control, generation, pid, self.pid)
        return False

    def _end(self) -> None:
        """Kill the interpreter, all that it can go back to, and every descendant."""
        self._child = self._checkpoint = None
        self._agreed = self._restoring = False
        self._end_descendants()
        self.wakeup.forget()
        if self._private is not None:
            self.wakeup.unwatch(self._private.fileno())
            self._private.close()
            self._private = None
        self._forget_listener()

    def _forget_listener(self) -> None:
        if self._listener is not None:
            self.wakeup.unwatch(self._listener)
            os.close(self._listener)
            self._listener = None

    def _restore(self, generation: int, tag: int) -> None:
        """Have the checkpoint go on in place of the interpreter, and tell the host.

        Args:
            generation: what the host calls it from now on.
            tag: what the checkpoint must have, lest it be from before the last cell that ended.
        """
        if self._child is not None:
            tree.kill(self._child)
            tree.reap(self._child)
            self._child = None
        self._hear_out()
        if self._agreed or self._tag != tag:
            self._drop_checkpoint()
        self._end_strangers()
        self._generation = generation
        self._child, self._checkpoint = self._checkpoint, None
        self._restoring = self._child is not None
        if self._child is None:
            messages.tell_restored(self._control, generation, 0, self.pid)
        else:
            for number in (signal.SIGINT, signal.SIGCONT):
                os.kill(self._child, number)  # it may have ended, and isn't reaped yet

    def _hear_out(self) -> None:
        """Take what the interpreter has told, and we have not heard yet: of its last checkpoint."""
        for _ in range(_UNHEARD):
            if self._private is None or not select.select([self._private], [], [], 0)[0]:
                break
            self._on_message()

    def _on_message(self) -> None:
        """The interpreter, or the code that runs there, asks for a checkpoint or tells of one."""
        assert self._private is not None
        try:
            data, ancillary, _, _ = self._private.recvmsg(_MESSAGE.size, _ONE_DESCRIPTOR)
        except ConnectionResetError:
            data, ancillary = b"", []
        for _, _, content in ancillary:
            self._listen(int.from_bytes(content, sys.byteorder))
            return
        if len(data) != _MESSAGE.size:  # closed, or not what we send: it can't ask any more
            self.wakeup.unwatch(self._private.fileno())
            self._private.close()
            self._private = None
            return
        kind, number, tag = _MESSAGE.unpack(data)
        if kind == CHECKPOINT:
            self._tag = tag
            if self._agreed or not self.sandbox.processes:
                self._end_strangers()  # what it has cloned, and not told of
            reason = self._why_not(number)
            self._agreed = not reason
            if reason:
                self._drop_checkpoint()  # it would be older than the next cell's beginning
            self._reply(reason)
        elif kind == READY and self._restoring and self._child is not None:
            self._restoring = False
            messages.tell_restored(self._control, self._generation, self._child, self.pid)
        elif kind == DONE and self._agreed:
            self._drop_checkpoint()
            if number in tree.children() and number != self._child:
                self._checkpoint = number
                # It has nothing to do; if it is not what we made, it is to do nothing either.
                os.kill(number, signal.SIGSTOP)
            self._end_strangers()
            self._reply("" if self._checkpoint else "it could not be copied")

    def _listen(self, descriptor: int) -> None:
        """Take the listener of a new interpreter; it sends it before it runs anything."""
        if self._listener is None:
            self._listener = descriptor
            self.wakeup.watch(descriptor)
        else:
            os.close(descriptor)

    def _reply(self, reason: str) -> None:
        if self._private is None:
            return
        try:
            self._private.send(reason.encode() or b"+", socket.MSG_DONTWAIT)
        except OSError:
            return  # it doesn't read its replies, or is gone

    def _why_not(self, most: int) -> str:
        """Why the interpreter can't be cloned now; empty if it can.

        Args:
            most: bytes of memory of its own that it may have.
        """
        if self.sandbox.unanswered:
            return self.sandbox.unanswered
        if self._child is None:
            return "it is gone"
        growth, threads = _look_at(self._child)
        if threads != 1:
            return f"{threads - 1} other threads run" if threads > 2 else "another thread runs"
        try:
            with open(f"/proc/{self._child}/task/{self._child}/children", "rb") as file:
                if file.read(1) or self._strangers():
                    return "it has child processes"
        except OSError:
            return "it is gone"
        growth -= _look_at(self.pid)[0]
        if growth > most:
            return f"it has {growth / 2**20:.0f} MiB of memory"
        return ""

    def _give_up_checkpoint(self) -> None:
        """Wait no longer for the copy that was agreed on."""
        self._drop_checkpoint()
        self._end_strangers()
        self._reply("its copy died, or did not answer")

    def _drop_checkpoint(self) -> None:
        pid, self._checkpoint = self._checkpoint, None
        if pid is not None:
            tree.kill(pid)
            tree.reap(pid)

    def _is_known(self, pid: int) -> bool:
        return pid in (self._child, self._checkpoint)

    def _strangers(self) -> bool:
        """Whether there are children that nobody told of: orphans, where processes are allowed."""
        return not all(map(self._is_known, tree.children()))

    def _end_strangers(self) -> None:
        """End children that nobody told of."""
        self._agreed = False
        tree.end_children(keep=self._is_known)

    def _on_question(self) -> None:
        """A process of the session wants to make a call that depends on who makes it."""
        assert self._listener is not None
        question = notifications.receive(self._listener)
        if question is not None:
            allowed = self._allows(question)
            notifications.answer(self._listener, question, allowed=allowed)
        elif self._child is None and self._checkpoint is None:
            self._forget_listener()  # nobody is left to ask

    def _allows(self, question: notifications.Question) -> bool:
        if question.number == syscalls.number("clone"):
            return self._agreed and question.thread == self._child
        target = ctypes.c_int(question.arguments[0]).value
        if target == _process_of(question.thread):
            return True
        return self.sandbox.processes and self._is_programs(target)

    def _is_programs(self, target: int) -> bool:
        """Whether a pid, or a group's negative number, is of what the program has started.

        Checkpoints lead groups of their own, so its own group, 0, has none of them.
        """
        pid = abs(target)
        if target in (0, -1) or self._is_known(pid):
            return target == 0 or pid == self._child
        while pid > 1 and pid != self._child:
            parent = _parent_of(pid)
            if parent == self.pid:
                return not self._is_known(pid)  # an orphan
            pid = parent
        return pid == self._child

    def _note_end(self, pid: int, returncode: int) -> None:
        if pid == self._child and self._restoring:
            self._child = None
            self._restoring = False
            messages.tell_restored(self._control, self._generation, 0, self.pid)
        elif pid == self._checkpoint:
            self._checkpoint = None
        elif pid != self._child and self._agreed:  # it is the copy: there was nothing else
            self._give_up_checkpoint()
        else:
            super()._note_end(pid, returncode)


def _look_at(pid: int) -> tuple[int, int]:
    """Bytes of memory of a process's own, and its threads; zeros if it is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            found = _STATUS.findall(file.read())
    except OSError:
        return 0, 0
    sizes = [int(size) for size, _ in found if size]
    threads = [int(count) for _, count in found if count]
    return 1024 * sum(sizes), sum(threads)


def _parent_of(pid: int) -> int:
    """The parent of a process; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything.
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def _process_of(thread: int) -> int:
    """The process of a thread; 0 if it is gone."""
    try:
        with open(f"/proc/{thread}/status", "rb") as file:
            found = re.search(rb"^Tgid:\s+(\d+)", file.read(), re.MULTILINE)
    except OSError:
        return 0
    return int(found.group(1)) if found else 0
