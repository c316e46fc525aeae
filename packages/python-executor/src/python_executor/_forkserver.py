"""The host's side of the root fork server: start it, ask it for slot servers, end it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from python_executor import _messages
from python_executor._environment import child_environment
from python_executor.errors import ForkServerError

_BOOT = Path(__file__).parent / "_child" / "boot.py"
# How long the servers may take to end all programs before the root is killed (seconds).
_GRACE = 10.0
# How much of what the server printed goes into an error (bytes).
_STDERR_TAIL = 4000


class ForkServer:
    """A running root fork server. Not thread-safe.

    Args:
        python: interpreter to start; it needs no packages.
        preload: modules to import before the first fork.
        patience: seconds that the start may take, imports included.

    Raises:
        ForkServerError: it could not be started, or a module could not be imported.
    """

    def __init__(self, python: str, preload: Sequence[str], patience: float) -> None:
        self._name = python
        self.directory = tempfile.mkdtemp(prefix="python-executor-")
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # What it prints goes to a file without a name: a pipe would have to be read.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the server)
        config = {"control": theirs.fileno(), "directory": self.directory, "preload": list(preload)}
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603
                    [python, "-I", "-X", "utf8", str(_BOOT), json.dumps(config)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._stderr,
                    env=child_environment(),
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C is the host's to handle
                )
        except OSError as error:
            self._close_files()
            shutil.rmtree(self.directory, ignore_errors=True)
            raise ForkServerError(f"{python} can't be started: {error}") from error
        try:
            ready = self._wait_ready(patience)
        except BaseException:
            self.kill()
            raise
        self.pid = ready.pid
        self.python = ready.python

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

    def start_slot(self, slot: int) -> socket.socket | None:
        """Ask for a slot server, in place of an older one of that slot.

        Returns:
            The control socket of the slot server, which need not run yet; None if the root is gone.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            if _messages.send(self._sock, {"slot": slot}, [theirs.fileno()]):
                return ours
        ours.close()
        return None

    def close(self) -> None:
        """Let it end every program, and wait until it has; kill it if it doesn't."""
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
        self._process.kill()
        self._process.wait()
        self._close_files()
        # Usually the root has removed it. If it was killed, programs are being ended just now, and
        # may still write.
        deadline = time.monotonic() + _GRACE
        while Path(self.directory).exists() and time.monotonic() < deadline:
            shutil.rmtree(self.directory, ignore_errors=True)
            time.sleep(0.001)

    def forget(self) -> None:
        """Close the copies of the descriptors, in a forked child that doesn't own the server."""
        self._close_files()
        self._process.returncode = 0  # not ours to wait for, nor to warn about

    def _close_files(self) -> None:
        self._sock.close()
        self._stderr.close()


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
