"""A forked interpreter: becomes a pristine process of its own, then waits for the program."""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH102, PTH108
from __future__ import annotations

import builtins
import gc
import os
import signal
import sys
from types import ModuleType
from typing import TYPE_CHECKING

from . import frames, linux
from .program import Program, finish, flush
from .wakeup import set_handler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .slot import SlotServer

# A program may patch ``builtins``.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
# Where the control socket goes: above what programs usually get, below the smallest usual limit
# (256).
CONTROL = 255


class Interpreter:
    """What a slot server's child is for.

    Args:
        server: the slot server. It is kept: freeing what the fork inherited would copy its pages.
        descriptors: control socket, write ends of the pipes for stdout and stderr.
        directory: to be made; working directory, HOME and TMPDIR.
        highest: no other open descriptor has a greater number.
    """

    def __init__(
        self, server: SlotServer, descriptors: Sequence[int], directory: str, highest: int
    ) -> None:
        self._server = server
        self._highest = highest
        self._descriptors = descriptors
        self._directory = directory
        self._main = ModuleType("__main__")
        self._fed = False

    def run(self) -> None:
        """Run what comes, until the host closes the socket or the server kills us."""
        self._leave_the_server()
        self._settle()
        process = os.getpid()
        while (frame := frames.receive(CONTROL)) is not None:
            frames.send(CONTROL, {"kind": "started", "pid": process})
            self._feed(frame["stdin"])
            outcome = Program(self._main, frame).run()
            if frame["cell"] and os.getpid() == process:
                flush()
            else:
                finish()
            if os.getpid() != process:
                # The program forked, and this is its child, which came to the program's end as
                # well.
                os._exit(max(outcome["returncode"], 0))
            frames.send(CONTROL, outcome)
            while not frame["cell"]:
                signal.pause()  # a pristine interpreter serves once; the server kills it
        os._exit(0)  # the host is gone

    def _leave_the_server(self) -> None:
        """Take the program's descriptors and signals; close everything that was the server's."""
        os.setsid()
        linux.die_with_parent(self._server.pid, signal.SIGKILL)
        set_handler(signal.SIGINT, signal.default_int_handler)
        control, out, err = self._descriptors
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.dup2(control, CONTROL, inheritable=False)
        os.closerange(3, CONTROL)
        os.closerange(CONTROL + 1, max(self._highest, *self._descriptors) + 1)

    def _settle(self) -> None:
        """Make the private directory, the fresh ``__main__``, and what a fork doesn't renew."""
        directory = self._directory
        os.mkdir(directory, 0o700)
        os.chdir(directory)
        os.environ["HOME"] = os.environ["TMPDIR"] = directory
        sys.modules["__main__"] = self._main
        sys.path.insert(0, directory)  # as a script's own folder is
        # CPython reseeds ``random`` in a forked child; numpy's global generator it can't know of.
        if (numpy_random := sys.modules.get("numpy.random")) is not None:
            numpy_random.seed()
        if (tempfile := sys.modules.get("tempfile")) is not None:
            tempfile.__dict__["tempdir"] = None  # looked up anew, from TMPDIR
        gc.enable()

    def _feed(self, text: str | None) -> None:
        """Let descriptor 0 and ``sys.stdin`` read ``text`` from a nameless file; None is none."""
        if text is None and not self._fed:
            return  # it is /dev/null since the root started
        if text is None:
            descriptor = os.open(os.devnull, os.O_RDONLY)
        else:
            path = f"{self._directory}/.stdin-{os.getpid()}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            os.unlink(path)
            data = text.encode()
            while data:
                data = data[os.write(descriptor, data) :]
            os.lseek(descriptor, 0, os.SEEK_SET)
        os.dup2(descriptor, 0)
        os.close(descriptor)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        self._fed = text is not None
