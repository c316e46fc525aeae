"""The host's side of the root fork server: start it, ask it for slot servers, end it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from python_executor import _messages
from python_executor._environment import child_environment, matplotlib_cache
from python_executor._processes import is_stopped, memory_of
from python_executor._removal import remove_tree
from python_executor.errors import ForkServerError
from python_executor.sandbox import LayerReport

_BOOT = Path(__file__).parent / "_child" / "boot.py"
_PREFIX = "python-executor-"
# How long the servers may take to end all programs before the root is killed (seconds).
_GRACE = 10.0
# Where pools have their directories if programs may read all of the usual place.
_OTHER_PLACES = ("/var/tmp", "/dev/shm")  # noqa: S108
# How much of what the server printed goes into an error (bytes).
_STDERR_TAIL = 4000


class ForkServer:
    """A running root fork server. Not thread-safe.

    Args:
        python: interpreter to start; it needs no packages.
        preload: modules to import before the first fork.
        patience: seconds that the start may take, imports included.
        merge: whether stdout and stderr of programs are one.
        plan: the sandbox (``SandboxPolicy.plan``); None is none.
        hash_seed: what it hashes strings with; None leaves it random.

    Raises:
        ForkServerError: it could not be started, or a module could not be imported.

    Attributes:
        directory: the pool's temporary directory; the root removes it if ``hidden``.
        layers: of the sandbox.
        hidden: whether programs have their files elsewhere, where this process can't see them.
        pid: the root.
        python: version of its interpreter.
        resident: bytes of memory that it has, and every program begins with.
    """

    def __init__(
        self,
        python: str,
        preload: Sequence[str],
        patience: float,
        plan: dict[str, Any] | None,
        *,
        merge: bool = False,
        hash_seed: int | None = None,
    ) -> None:
        self._name = python
        self.directory = _make_directory(plan)
        try:
            self._start(python, preload, plan, merge=merge, hash_seed=hash_seed)
        except BaseException as error:
            remove_tree(self.directory)
            if not isinstance(error, OSError):
                raise
            raise ForkServerError(f"{python} can't be started: {error}") from error
        try:
            ready = self._wait_ready(patience)
        except BaseException:
            self.kill()
            raise
        self.pid = ready.pid
        self.python = ready.python
        self.hidden = ready.hidden
        self.layers: list[LayerReport] = [
            {"layer": each.layer, "on": each.on, "detail": each.detail} for each in ready.layers
        ]
        self.resident = memory_of(self._process.pid)

    def _start(
        self,
        python: str,
        preload: Sequence[str],
        plan: dict[str, Any] | None,
        *,
        merge: bool,
        hash_seed: int | None,
    ) -> None:
        # -I has Python ignore PYTHONHASHSEED. The environment holds no other variable of Python's.
        isolation = "-I" if hash_seed is None else "-s"
        with contextlib.ExitStack() as undo:
            self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.enter_context(self._sock)
            with theirs:
                # What it prints goes to a file without a name: a pipe would have to be read.
                self._stderr = undo.enter_context(tempfile.TemporaryFile())
                config = {
                    "directory": self.directory,
                    "preload": list(preload),
                    "merge": merge,
                    "font_lists": matplotlib_cache(),
                    "sandbox": plan,
                }
                self._sock.send(_configuration(config))
                self._process = subprocess.Popen(  # noqa: S603
                    [python, isolation, "-X", "utf8", str(_BOOT), str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._stderr,
                    env=child_environment(
                        processes=plan is None or plan["processes"] > 0, hash_seed=hash_seed
                    ),
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C is the host's to handle
                )
            undo.pop_all()

    def _wait_ready(self, patience: float) -> _messages.Ready:
        readable = select.poll()
        readable.register(self._sock, select.POLLIN)
        if not readable.poll(patience * 1000):
            raise ForkServerError(
                f"it was not ready after {patience:g} s. Preload less, or raise startup_timeout."
            )
        try:
            message = _messages.receive(self._sock)
        except EOFError as error:
            raise ForkServerError(
                f"{self._name} ended at once. It printed: {self.printed()}"
            ) from error
        if isinstance(message, _messages.Failed):
            raise ForkServerError(f"an import failed there.\n{message.reason}")
        assert isinstance(message, _messages.Ready)
        return message

    def printed(self) -> str:
        """Return the end of what it and the slot servers wrote to stderr, for an error message."""
        if self._stderr.closed:
            return "nothing that is left"
        # Not seek and read: the servers write at the same offset.
        descriptor = self._stderr.fileno()
        start = max(0, os.fstat(descriptor).st_size - _STDERR_TAIL)
        tail = os.pread(descriptor, _STDERR_TAIL, start)
        return tail.decode(errors="replace").strip() or "nothing"

    def start_slot(self, slot: int, *, history: int = 0) -> socket.socket | None:
        """Ask for a slot server, in place of an older one of that slot.

        Args:
            slot: its number.
            history: how many checkpoints it keeps, if it is to serve a session; otherwise 0.

        Returns:
            The control socket of the slot server, which need not run yet; None if the root is gone.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            request = {"slot": slot, "session": history}
            if _messages.send(self._sock, request, [theirs.fileno()]):
                return ours
        ours.close()
        return None

    @property
    def stopped(self) -> bool:
        """Whether a signal stopped it: it would take requests and never serve them."""
        return is_stopped(self.pid)

    def close(self) -> None:
        """Let it end every program, and wait until it has; kill it if it doesn't."""
        self._resume()
        self._sock.shutdown(socket.SHUT_WR)
        gone = select.poll()
        gone.register(self._sock, 0)  # a hang-up is always reported
        deadline = time.monotonic() + _GRACE
        while not gone.poll(max(0.0, deadline - time.monotonic()) * 1000):
            if time.monotonic() >= deadline:
                break
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.1, deadline - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        """Kill it; the slot servers notice, end their programs and themselves."""
        if self._process.returncode is None:
            # Not Popen's own ways to do it, which would free the number of the group.
            # If SIGCHLD is ignored here, nothing is left to wait for.
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self._process.pid, signal.SIGKILL)
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            self._resume()  # now that its slot servers have been told
        self._process.wait()
        self._close_files()
        # Usually the root has removed it. If it was killed, programs are being ended just now, and
        # may still write.
        deadline = time.monotonic() + _GRACE
        while Path(self.directory).exists() and time.monotonic() < deadline:
            remove_tree(self.directory)
            time.sleep(0.001)

    def _resume(self) -> None:
        """Wake those of it and its slot servers that a signal stopped: they are to end."""
        if self._process.returncode is None:  # not waited for yet, so the group is still its own
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGCONT)

    def forget(self) -> None:
        """Close the copies of the descriptors, in a forked child that doesn't own the server."""
        self._close_files()
        self._process.returncode = 0  # not ours to wait for, nor to warn about

    def _close_files(self) -> None:
        self._sock.close()
        self._stderr.close()


def _configuration(config: dict[str, Any]) -> bytes:
    message = json.dumps(config).encode()
    if len(message) > _messages.MESSAGE_LIMIT:
        raise ForkServerError(
            f"The policy's paths and the names of preloaded modules take {len(message)} bytes, "
            f"and may take {_messages.MESSAGE_LIMIT}. Grant folders instead of single files."
        )
    return message


def _make_directory(plan: dict[str, Any] | None) -> str:
    """Make a pool's directory, outside of what a policy grants to all of its programs alike.

    Only a policy that grants all places leaves none: each program then finds the others' files.
    """
    granted = [] if plan is None else [*plan["read"], *plan["write"]]
    for place in (tempfile.gettempdir(), *_OTHER_PLACES):
        real = Path(place).resolve()
        if real.is_dir() and not any(real.is_relative_to(path) for path in granted):
            with contextlib.suppress(PermissionError):
                return tempfile.mkdtemp(prefix=_PREFIX, dir=place)
    return tempfile.mkdtemp(prefix=_PREFIX)


def find_python(python: str | os.PathLike[str] | None) -> str:
    """Return the interpreter to start.

    Raises:
        ForkServerError: this process doesn't know its own interpreter.
    """
    if python is not None:
        return os.fspath(python)
    if not sys.executable:
        raise ForkServerError(
            "this process has no interpreter of its own (embedded?); give python=."
        )
    return sys.executable
