"""A forked interpreter: becomes a pristine process of its own, then waits for the program."""

from __future__ import annotations

import builtins
import gc
import linecache
import os
import select
import signal
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import frames, interrupts, limits, linux, randomness
from .displays import outlet
from .files import WorkingFiles
from .interrupts import InterruptibleCell
from .program import Program, finish, flush, out_of_memory, refuse
from .stdin import StandardInput
from .wakeup import set_handler

if TYPE_CHECKING:
    from .slot import SlotServer

# A program may patch ``builtins`` and ``os``.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
_exit, _getpid, _getppid, _pause = os._exit, os.getpid, os.getppid, signal.pause
_closerange, _dup2, _open = os.closerange, os.dup2, os.open
STARTED = frames.encode({"kind": "started"})
_OUT_OF_MEMORY = frames.encode(out_of_memory())
# What most programs are made of. It prints nothing, because a preloaded module may have changed how
# that is done, and leaves nothing: no class, which would go only with the next garbage collection.
_SAMPLE: dict[str, Any] = {
    "code": """
def f(n: int) -> int:
    return n if n < 2 else f(n - 1) + f(n - 2)

x = [str(i) for i in range(3)]
{"a": f"{f(3)} {x}"}
""",
    "name": "<sample>",
    "limit": 99,
    "cell": False,
    "fresh": True,
}
# Where the control socket goes: above what programs usually get, below the smallest usual limit
# (256).
CONTROL = 255
# Where the socket to its server goes, if it has one: that of a session.
PRIVATE = CONTROL - 1


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
        self._control = select.poll()
        self._control.register(CONTROL, select.POLLIN)
        self._sample = frames.encode(_SAMPLE)[4:]
        self._leaving = self._prepare_to_leave()
        self._settling = self._prepare_to_settle()

    def serve(self) -> None:
        """Run what comes, until the host closes the socket or the server kills us."""
        self._begin()
        if not self._control.poll(0):
            self._exercise()
        begun = False
        cells = 0
        while (frame := frames.receive(CONTROL)) is not None:
            if frame["kind"] != "run":
                self._copy(frame)
                continue
            process = _getpid()  # of a session that was restored it is another
            if frame["name"] is None:
                cells += 1
                frame["name"] = f"<cell {cells}>"
            if frame["fresh"]:
                self._renew()
            announcement = b"" if begun and frame["fresh"] else self._announcement()
            begun = True
            try:
                outcome = execute(
                    frame, self._main, self._files, self._stdin, CONTROL, announcement
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

    def _prepare_to_leave(self) -> list[linux.Call]:
        """What ends all that binds a new interpreter to the server, but for the descriptors."""
        return [
            (os.setsid, ()),
            *self._server.sandbox.restrictions(),
            linux.death_signal(signal.SIGKILL),
            *self._server.wakeup.reversal(),
            (set_handler, (int(signal.SIGINT), signal.default_int_handler)),
        ]

    def _prepare_to_settle(self) -> list[linux.Call]:
        """What renews what a fork doesn't, and confines the program."""
        # As a script's own folder is. Not in the server, which must never import from there.
        return [
            (sys.path.insert, (0, self._directory)),
            *randomness.renewal(),
            *self._server.sandbox.confinement(),
            # What has gathered in the server is left alone: a collection would touch all of it.
            (gc.freeze, ()),
            (gc.enable, ()),
        ]

    def _begin(self) -> None:
        """Become a process of the program's own: no server any more, and confined."""
        server = self._server
        linux.make(self._leaving)
        if _getppid() != server.pid:
            _exit(1)  # the server died before its end was to be ours
        control, out, err, *private = server.descriptors
        if control == PRIVATE:
            control = os.dup(control)
        # The servers' own is one open file for all, with flags and locks that outlive a program.
        null = _open("/dev/null", 0)
        _dup2(null, 0)
        _dup2(out, 1)
        _dup2(err, 2)
        for descriptor in private:
            if descriptor != PRIVATE:
                _dup2(descriptor, PRIVATE, False)  # noqa: FBT003  (not inheritable)
        if control != CONTROL:
            _dup2(control, CONTROL, False)  # noqa: FBT003
        _closerange(3, PRIVATE if private else CONTROL)
        _closerange(CONTROL + 1, max(self._highest, null, *server.descriptors) + 1)
        linux.make(self._settling)

    def _exercise(self) -> None:
        """Run a sample: what memory a program takes first is copied before one comes."""
        main = ModuleType("__main__")
        frame = frames.decode(self._sample)
        try:
            value, truncated = Program(main, frame).evaluate()
            frames.encode({"value": value, "truncated": truncated})
        except BaseException:  # noqa: BLE001, S110  (a preloaded module may have changed anything)
            pass
        flush()
        self._files.send_changed(CONTROL, 0)
        linecache.cache.pop(frame["name"], None)
        main.__dict__.clear()

    def _announcement(self) -> bytes:
        """The frame that tells that a program begins."""
        return STARTED

    def _copy(self, frame: dict[str, Any]) -> None:
        """Leave a copy behind, if this is the interpreter of a session."""

    def _renew(self) -> None:
        """Make a fresh ``__main__``, the streams ours and seeds forgotten; all else stays."""
        sys.modules["__main__"] = self._main = ModuleType("__main__")
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        randomness.forget_seed()


def execute(
    frame: dict[str, Any],
    main: ModuleType,
    files: WorkingFiles,
    stdin: StandardInput,
    control: int,
    announcement: bytes,
) -> dict[str, Any]:
    """Run a program and send what it made; returns the result frame.

    Args:
        frame: the program.
        main: the module whose names it defines.
        files: those of its directory.
        stdin: its standard input.
        control: the socket to the host.
        announcement: the frame that tells that it begins; empty if nobody has to be told.

    Raises:
        EOFError: the host is gone.
        MemoryError: the program left no memory to tell how it went.
    """
    process = _getpid()
    kind = Program
    if frame["cell"] and not frame["fresh"]:
        kind = InterruptibleCell
        interrupts.refuse()
    problem = files.place(control, frame["files"])
    try:
        stdin.feed(frame["stdin"])
    except OSError as error:
        problem = problem or f"The standard input can't be provided: {error.strerror}."
    if announcement:
        frames.write(control, announcement)
    if frame["seconds"] is not None:
        limits.limit_cpu(frame["seconds"])
    if frame["seed"] is not None:
        randomness.set_seed(frame["seed"])
    outlet.open(control, frame["max_files"])
    outcome = kind(main, frame).run() if problem is None else refuse(problem)
    finish(to_go_on=frame["cell"] and _getpid() == process)
    if _getpid() != process:
        # The program forked, and this is its child, which came to the program's end as well.
        _exit(max(outcome["returncode"], 0))
    outlet.close()
    complete = files.send_changed(control, frame["max_files"])
    if outlet.left_out or not complete:
        outcome["truncated"] = True
    return outcome
