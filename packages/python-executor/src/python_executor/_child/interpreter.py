"""A forked interpreter: becomes a pristine process of its own, then waits for the program."""

from __future__ import annotations

import builtins
import gc
import os
import signal
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import frames, limits, linux
from .displays import outlet
from .files import WorkingFiles
from .program import Program, finish, out_of_memory, refuse
from .stdin import StandardInput
from .wakeup import set_handler

if TYPE_CHECKING:
    from .slot import SlotServer

# A program may patch ``builtins`` and ``os``.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
_exit, _getpid, _pause = os._exit, os.getpid, signal.pause
_OUT_OF_MEMORY = frames.encode(out_of_memory())
# Where the control socket goes: above what programs usually get, below the smallest usual limit
# (256).
CONTROL = 255


class Interpreter:
    """What a slot server's child is for.

    It is made once, in the server: all that is the same for every program is done there.

    Args:
        server: the slot server.
        directory: working directory, HOME and TMPDIR. The server makes it anew for each program,
            and forks in it.
        highest: the greatest descriptor that was open before the slot server was.
    """

    def __init__(self, server: SlotServer, directory: str, highest: int) -> None:
        self._server = server
        self._highest = highest
        self._main = sys.modules["__main__"] = ModuleType("__main__")
        self._files = WorkingFiles(directory)
        self._stdin = StandardInput(directory)
        os.environ["HOME"] = os.environ["TMPDIR"] = directory
        self._directory = directory
        if (tempfile := sys.modules.get("tempfile")) is not None:
            tempfile.__dict__["tempdir"] = None  # looked up anew, from TMPDIR

    def serve(self) -> None:
        """Run what comes, until the host closes the socket or the server kills us."""
        self._leave_the_server()
        self._settle()
        process = _getpid()
        begun = False
        while (frame := frames.receive(CONTROL)) is not None:
            if frame["fresh"]:
                self._renew()
            announce = not (begun and frame["fresh"])
            begun = True
            try:
                outcome = execute(
                    frame, self._main, self._files, self._stdin, CONTROL, announce=announce
                )
                answer = frames.encode(outcome)
            except EOFError:
                break
            except MemoryError:
                limits.use_reserve()
                answer = _OUT_OF_MEMORY
            if _getpid() != process:
                _exit(1)
            frames.write(CONTROL, answer)
            while not frame["cell"]:
                _pause()  # a pristine interpreter serves once; the server kills it
            limits.renew_reserve()
        _exit(0)  # the host is gone

    def _leave_the_server(self) -> None:
        """Take the program's descriptors and signals; close everything that was the server's."""
        os.setsid()
        self._server.sandbox.restrict_program()
        linux.die_with_parent(self._server.pid, signal.SIGKILL)
        set_handler(signal.SIGINT, signal.default_int_handler)
        descriptors = self._server.leave()
        control, out, err = descriptors
        # The servers' own is one open file for all, with flags and locks that outlive a program.
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.dup2(control, CONTROL, inheritable=False)
        os.closerange(3, CONTROL)
        os.closerange(CONTROL + 1, max(self._highest, *descriptors) + 1)

    def _settle(self) -> None:
        """Renew what a fork doesn't, and look for modules where a program can leave some."""
        # As a script's own folder is. Not in the server, which must never import from there.
        sys.path.insert(0, self._directory)
        # CPython reseeds ``random`` in a forked child; the global generators of numpy and torch it
        # can't know of.
        if (numpy_random := sys.modules.get("numpy.random")) is not None:
            numpy_random.seed()
        if (torch := sys.modules.get("torch")) is not None:
            torch.default_generator.seed()  # not torch.seed(), which looks for GPUs
        self._server.sandbox.confine_program()
        gc.enable()

    def _renew(self) -> None:
        """Make a fresh ``__main__`` and the streams ours again; all else stays as it was left."""
        sys.modules["__main__"] = self._main = ModuleType("__main__")
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


def execute(
    frame: dict[str, Any],
    main: ModuleType,
    files: WorkingFiles,
    stdin: StandardInput,
    control: int,
    *,
    announce: bool,
) -> dict[str, Any]:
    """Run a program and send what it made; returns the result frame.

    Args:
        frame: the program.
        main: the module whose names it defines.
        files: those of its directory.
        stdin: its standard input.
        control: the socket to the host.
        announce: whether to tell that it begins.

    Raises:
        EOFError: the host is gone.
        MemoryError: the program left no memory to tell how it went.
    """
    process = _getpid()
    problem = files.place(control, frame["files"])
    try:
        stdin.feed(frame["stdin"])
    except OSError as error:
        problem = problem or f"The standard input can't be provided: {error.strerror}."
    if announce:
        frames.send(control, {"kind": "started", "pid": process})
    if frame["seconds"] is not None:
        limits.limit_cpu(frame["seconds"])
    outlet.open(control, frame["max_files"])
    outcome = Program(main, frame).run() if problem is None else refuse(problem)
    finish(to_go_on=frame["cell"] and _getpid() == process)
    if _getpid() != process:
        # The program forked, and this is its child, which came to the program's end as well.
        _exit(max(outcome["returncode"], 0))
    outlet.close()
    complete = files.send_changed(control, frame["max_files"])
    if outlet.left_out or not complete:
        outcome["truncated"] = True
    return outcome
