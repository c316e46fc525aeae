"""The root fork server: imports what is to be warm, forks a slot server at the host's request.

It holds the pool's temporary directory and is the last to go: when the host has closed the control
socket, or died, it waits for the slot servers, kills what they leave, and removes the directory.
"""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH208
from __future__ import annotations

import io
import os
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from typing import Any

from . import directories, linux, messages, tree
from .sandbox import Sandbox
from .session_server import SessionServer
from .slot import SlotServer
from .wakeup import Wakeup
from .warmup import warm_up

# How long slot servers may take to end their trees before they are killed themselves (seconds).
GRACE = 5.0
# What is least in a hurry: nice(2).
_IDLE = 19


def start(descriptor: int) -> RootServer | None:
    """Make this process the root, and tell the host; returns None if it can't be.

    The host first sends the configuration: ``directory`` (the pool's own, removed at the end),
    ``preload`` (names of modules), ``merge`` (whether stdout and stderr are one), ``font_lists``
    (where the user's matplotlib keeps them), ``sandbox`` (see ``Sandbox``).

    Args:
        descriptor: of the socket to the host.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # the host's thread may have blocked some
    linux.refuse_privileges()
    linux.make([linux.adoption()])
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    config = messages.receive_configuration(control)
    if config is None:
        return None
    os.chdir(config["directory"])
    _open_streams(merge=config["merge"])
    sandbox = Sandbox(config["sandbox"], config["directory"])
    try:
        sandbox.enter_early()
        warm_up(
            config["preload"],
            directory=config["directory"],
            font_lists=config["font_lists"],
            processes=config["sandbox"] is None or config["sandbox"]["processes"] > 0,
        )
        sandbox.enter_root()
    except BaseException:  # noqa: BLE001  (whatever a module's import raises is the host's to tell)
        reason = traceback.format_exc()[-messages.MESSAGE_LIMIT // 8 :]
        messages.send(control, {"kind": "failed", "reason": reason})
        directories.remove(config["directory"])
        return None
    messages.send(
        control,
        {
            "kind": "ready",
            "pid": os.getpid(),
            "python": sys.version,
            "layers": sandbox.report,
            "hidden": sandbox.hidden,
        },
    )
    return RootServer(control, sandbox)


class _Unbuffered(io.FileIO):
    """A raw file that writes all of what it is given, as a text stream takes for granted."""

    def write(self, data: Any) -> int:
        """Write everything, even if a signal's handler comes in between."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            done += super().write(view[done:]) or 0
        return done


def _open_streams(*, merge: bool) -> None:
    """Open the text streams that every program inherits, over a pipe as theirs will be.

    What kind of file a stream stands on is looked up when it opens, and remembered.

    Args:
        merge: nothing is held back, so that what goes to the one pipe goes there in its order.
    """
    saved = os.dup(1), os.dup(2)
    read, write = os.pipe()
    os.dup2(write, 1)
    os.dup2(write, 2)
    for number, name, errors in ((1, "stdout", "strict"), (2, "stderr", "backslashreplace")):
        raw = (_Unbuffered if merge else io.FileIO)(number, "wb", closefd=False)
        raw.name = f"<{name}>"
        stream = io.TextIOWrapper(
            raw if merge else io.BufferedWriter(raw),
            encoding="utf-8",
            errors=errors,
            line_buffering=True,
            write_through=merge,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    for number, copy in zip((1, 2), saved):  # noqa: B905  (3.9 has no strict=)
        os.dup2(copy, number)
        os.close(copy)
    os.close(read)
    os.close(write)


class RootServer:
    """The loop of the root."""

    def __init__(self, control: socket.socket, sandbox: Sandbox) -> None:
        self._control = control
        self._sandbox = sandbox
        self._slots: dict[int, int] = {}  # slot -> pid of its server
        self._removers: set[int] = set()
        self._wakeup = Wakeup(control)
        # What preloaded modules opened included; nothing but sockets and pipes of ours comes later.
        self._highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        # What a slot server calls when it has become its slot's user, which forgets the first. The
        # signal can be caught: a slot server whose root died still ends its own tree.
        self._leaving = [
            linux.death_signal(signal.SIGTERM),
            linux.adoption(),
            *self._wakeup.reversal(),
        ]

    def serve(self) -> SlotServer | None:
        """Serve until the host is gone or SIGTERM comes; a forked child returns its server."""
        while not self._wakeup.stopping:
            signalled, received = self._wakeup.wait()
            if signalled:
                self._reap()
            if received:
                message = messages.receive(self._control)
                if message is None:
                    break
                request, descriptors = message
                server = self._start_slot(
                    request["slot"], descriptors[0], history=request["session"]
                )
                if server is not None:
                    return server
        self._finish()
        return None

    def _start_slot(self, slot: int, descriptor: int, *, history: int) -> SlotServer | None:
        """Fork a slot server, in place of an older one of that slot; the child returns it.

        Args:
            slot: its number.
            descriptor: of its control socket.
            history: how many checkpoints it keeps, if it is for a session; otherwise 0.
        """
        old = self._slots.pop(slot, None)
        if old is not None:
            os.kill(old, signal.SIGKILL)
            tree.reap(old)
            tree.end_children(keep=self._is_ours)
        home = self._sandbox.prepare_slot(slot)
        root = os.getpid()
        pid = tree.fork()
        if pid == 0:
            self._sandbox.become_slot(slot)
            linux.make(self._leaving)
            if os.getppid() != root:
                os._exit(1)  # the root died before its end was to be told
            self._wakeup.close()
            self._control.close()
            control = socket.socket(fileno=descriptor)
            if not history:
                return SlotServer(self, self._sandbox, control, home, self._highest)
            server = SessionServer(self, self._sandbox, control, home, self._highest)
            server.history = history
            return server
        os.close(descriptor)
        self._sandbox.forget_slot()
        self._slots[slot] = pid
        self._remove_set_aside()
        return None

    def _remove_set_aside(self) -> None:
        """Have a child remove directories, while others are served: a program made them large."""
        waiting, self._sandbox.set_aside = self._sandbox.set_aside, []
        if not waiting:
            return
        pid = tree.fork()
        if pid == 0:
            with suppress(OSError):  # whatever is left goes with the pool
                os.nice(_IDLE)
                for path in waiting:
                    directories.remove(path)
            os._exit(0)
        self._removers.add(pid)

    def _is_ours(self, pid: int) -> bool:
        return pid in self._slots.values() or pid in self._removers

    def _reap(self) -> None:
        """Reap what ended. If a slot server did, its orphans are ours by now: end them."""
        lost = False
        while (ended := tree.reap_any()) is not None:
            self._removers.discard(ended[0])
            for slot, pid in list(self._slots.items()):
                if pid == ended[0]:
                    del self._slots[slot]
                    lost = True
        if lost:
            tree.end_children(keep=self._is_ours)

    def _finish(self) -> None:
        """End the slot servers, then every orphan, then the directory."""
        self._control.close()
        for pid in self._slots.values():
            os.kill(pid, signal.SIGTERM)  # not reaped yet, so the pid is still its own
        deadline = time.monotonic() + GRACE
        while self._slots and time.monotonic() < deadline:
            ended = tree.reap_any()
            if ended is None:
                time.sleep(0.002)
            else:
                self._slots = {slot: pid for slot, pid in self._slots.items() if pid != ended[0]}
        tree.end_children()
        os.chdir("/")
        if not self._sandbox.hidden:  # what is hidden is gone with its last process
            directories.remove(self._sandbox.directory)
