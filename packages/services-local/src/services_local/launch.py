"""Starting a process, and what it and its starter say to each other.

    starter                                    started process (exec'd, never forked)
        order, in a file without a name   ->   constructs
                                          <-   READY, or FAILED with the traceback
        GO                                ->   lets lookups see it
                                          <-   PUBLISHED
        END, or nothing more at all       ->   ends itself

The process is a new interpreter: threads, locks and GPU contexts of the starter don't come along.
What it prints goes to its log file, since it may outlive whoever reads the starter's output.
"""

from __future__ import annotations

import enum
import os
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from services_local import forks

# How often a starter looks whether the process that it waits for still lives (seconds).
_POLL_SECONDS = 0.1

_REPORT = struct.Struct("!cQ")

GO = b"g"
END = b"e"


class Outcome(bytes, enum.Enum):
    """What a process reports; FAILED comes with a pickled `PackedError`."""

    READY = b"r"
    FAILED = b"f"
    PUBLISHED = b"p"


class Order(NamedTuple):
    """What a server is told.

    Attributes:
        root: The runtime directory.
        namespace: Its namespace.
        name: Its name.
        path: `sys.path` of the registrar.
        spec: The pickled `ServiceSpec`.
    """

    root: str
    namespace: str
    name: str
    path: list[str]
    spec: bytes


class LaunchedProcess:
    """A process that was told to construct a service.

    Args:
        module: Its main module.
        arguments: What it finds in its argv after the descriptors.
        order: Descriptor of a file that says what to construct.
        lock: Descriptor of the lock that keeps the service's name.
        log: File that takes what it prints.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], order: int, lock: int, log: Path
    ) -> None:
        with forks.no_fork():
            self._control, theirs = socket.socketpair()
            forks.keep_private(self._control)
            forks.keep_private(theirs)
        self._received = bytearray()
        passed = (order, theirs.fileno(), lock)
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our module
                    # -P: a file in the working directory must not stand for a module of Python's.
                    [sys.executable, "-P", "-m", module, *map(str, passed), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=passed,
                    start_new_session=True,
                )
        except BaseException:
            self.let_go()
            raise
        finally:
            theirs.close()
            forks.forget(theirs)
        self.pid = self._process.pid

    def report(self, give_up: float) -> tuple[Outcome, bytes] | None:
        """What the process reports next, or None if it doesn't by then.

        The end of the socket is not waited for: a process that the constructor forked may hold it
        open.

        Args:
            give_up: When to stop waiting, by `time.monotonic()`.

        Raises:
            EOFError: It ended without a word.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            while (report := self._parse()) is None:
                left = give_up - time.monotonic()
                if left <= 0:
                    return None
                ended = self._process.poll() is not None
                if selector.select(min(_POLL_SECONDS, left)):
                    chunk = self._receive()
                    if not chunk:
                        raise EOFError
                    self._received += chunk
                elif ended:
                    raise EOFError
        return report

    def tell(self, word: bytes) -> None:
        """Say GO or END; one that is gone doesn't hear it."""
        try:
            self._control.send(word)
        except OSError:
            return  # whoever waits for its report finds out

    def let_go(self) -> None:
        """Close this end of the socket, which ends what was not told to go."""
        with forks.no_fork():
            forks.forget(self._control)
            self._control.close()

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it has ended, `timeout` seconds from now at the latest."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def reap(self) -> None:
        """Wait until it has ended, and leave nothing of it."""
        self._process.wait()
        self.let_go()

    @property
    def returncode(self) -> int | None:
        """Its exit code once it has been waited for."""
        return self._process.returncode

    def kill(self) -> None:
        """Kill it and wait for its end."""
        self._process.kill()
        self._process.wait()

    def _receive(self) -> bytes:
        try:
            return self._control.recv(65536)
        except ConnectionResetError:  # it has ended with words of ours unread
            return b""

    def _parse(self) -> tuple[Outcome, bytes] | None:
        if len(self._received) < _REPORT.size:
            return None
        tag, length = _REPORT.unpack_from(self._received)
        end = _REPORT.size + length
        if len(self._received) < end:
            return None
        body = bytes(self._received[_REPORT.size : end])
        del self._received[:end]
        return Outcome(tag), body


def take_descriptors(argv: Sequence[str]) -> tuple[int, socket.socket, int]:
    """The order, the socket to the starter and the lock, in the started process."""
    order, control, lock = map(int, argv[1:4])
    for descriptor in (order, control, lock):
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - takes no keyword
    return order, socket.socket(fileno=control), lock


def write_order(directory: Path, order: bytes) -> IO[bytes]:
    """Put an order into a file without a name.

    A file, because a pipe would make the starter of a large one wait, and because it can be read
    again whenever the service is started again.
    """
    import tempfile  # only here: the process that starts a service again doesn't write orders

    file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - the caller closes it
    try:
        file.write(order)
        file.flush()
    except BaseException:
        file.close()
        raise
    return file


def read_order(descriptor: int) -> bytes:
    """What `write_order` wrote; closes the descriptor."""
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return file.read()


def report(control: socket.socket, outcome: Outcome, body: bytes = b"") -> None:
    """Tell the starter something; called by the started process."""
    try:
        control.sendall(_REPORT.pack(outcome.value, len(body)) + body)
    except OSError:
        return  # it is gone, which the reader of its words finds out
