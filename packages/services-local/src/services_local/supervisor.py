"""The small process beside a service with `max_restarts`, which starts it again when it dies.

    registrar  <->  supervisor  <->  server, then the next server, ...

Towards the registrar it speaks for the server (`services_local.launch`), towards the server it is
the one that starts it. Both hold the lock of the name, so that the name stays taken in between. If
it is killed, the server lives on without it.

It imports the standard library, and of this package what does no more than that: it waits for as
long as the service lives, and most of what a process takes is what it imports.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from services_local import documents, lease
from services_local.launch import END, GO, LaunchedProcess, Outcome, report, take_descriptors
from services_local.termination import Termination

# Before the second start in a row: the time doubles up to the last (seconds).
_FIRST_PAUSE = 0.1
_LAST_PAUSE = 5.0

# A service that has lived as long has recovered.
_RECOVERED = 10.0

# What a server may take to exit, beside its close_timeouts (seconds).
_EXIT_SECONDS = 3.0


class Plan(NamedTuple):
    """What a supervisor is told, as JSON in its arguments.

    Attributes:
        root: The runtime directory.
        namespace: Its namespace.
        name: The service.
        record: Its record.
        guard: The file whose lock says that this process lives.
        log: What the service prints.
        lease: The lease of the namespace, unless the service is detached.
        max_restarts: How often it is started again, or -1.
        start_timeout: Seconds that construction may take.
        close_timeout: Seconds that its `close()` may take.
    """

    root: str
    namespace: str
    name: str
    record: str
    guard: str
    log: str
    lease: str | None
    max_restarts: int
    start_timeout: float
    close_timeout: float


class Supervisor:
    """Starts one service, and starts it again.

    Args:
        plan: What there is to know.
        order: Descriptor of the server's order.
        lock: Descriptor of the lock of the service's name.
        starter: The socket to the registrar.
    """

    def __init__(self, plan: Plan, order: int, lock: int, starter: socket.socket) -> None:
        self._plan = plan
        self._order = order
        self._lock = lock
        self._starter = starter
        self._restarts = 0
        self._published = False
        self._ending = threading.Event()
        self._launching = threading.Lock()
        self._server: LaunchedProcess | None = None
        self._constructed = False
        self._busy = threading.Lock()
        Termination(self._end_soon)
        guard = os.open(plan.guard, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(guard, fcntl.LOCK_EX)

    def run(self) -> int:
        """Keep the service alive until it has to end, and return an exit code."""
        threading.Thread(target=self._listen, name="supervisor-starter", daemon=True).start()
        server = self._start_first()
        if server is None:
            return 1
        if self._plan.lease is not None:
            lease.watch(Path(self._plan.lease), self._end_namespace, self._end_soon)
        pause = 0.0
        while True:
            began = time.monotonic()
            server.wait()
            if self._is_over():
                break
            if time.monotonic() - began > _RECOVERED:
                pause = 0.0
            server = self._start_again(server, pause)
            pause = min(max(_FIRST_PAUSE, 2 * pause), _LAST_PAUSE)
        with self._busy:  # whoever ends the namespace is not done with it yet
            return 0

    def _start_first(self) -> LaunchedProcess | None:
        """Start the server and pass on what it reports; None if it isn't published."""
        server = self._launch()
        while server is not None and not self._published:
            try:
                reported = server.report(math.inf)
            except EOFError:
                server.wait()
                break
            assert reported is not None
            outcome, body = reported
            # Before it is told: the registrar then lets go, which ends what isn't published.
            self._constructed = outcome is not Outcome.FAILED
            self._published = outcome is Outcome.PUBLISHED
            report(self._starter, outcome, body)
        return server if self._published else None

    def _start_again(self, server: LaunchedProcess, pause: float) -> LaunchedProcess:
        """Start the next server, and return it when it lives, or is dead already."""
        server.let_go()
        self._restarts += 1
        documents.change(Path(self._plan.record), state="restarting", restarts=self._restarts)
        self._ending.wait(pause)
        next_server = self._launch()
        if next_server is None:
            return server
        try:
            reported = next_server.report(time.monotonic() + self._plan.start_timeout)
            if reported is None:
                print(f"not constructed within {self._plan.start_timeout:g} s", file=sys.stderr)
                next_server.kill()
            elif reported[0] is Outcome.READY:
                self._constructed = True
                next_server.tell(GO)
        except EOFError:
            pass  # it died again, which is for the next turn
        return next_server

    def _launch(self) -> LaunchedProcess | None:
        with self._launching:
            if self._ending.is_set():
                return None
            self._constructed = False
            self._server = LaunchedProcess(
                "services_local.server",
                [str(os.getpid()), str(self._restarts), self._plan.name],
                self._order,
                self._lock,
                Path(self._plan.log),
            )
            return self._server

    def _is_over(self) -> bool:
        """Whether the server that has just died was the last one."""
        if self._ending.is_set() or self._restarts == self._plan.max_restarts:
            return True
        record = documents.read(Path(self._plan.record))
        return record is None or record["state"] == "ending"

    def _listen(self) -> None:
        while True:
            try:
                word = self._starter.recv(1)
            except OSError:
                word = b""
            if word == GO and self._server is not None:
                self._server.tell(GO)
                continue
            if word or not self._published:
                self._end()
            return

    def _end_soon(self) -> None:
        threading.Thread(target=self._end, name="supervisor-end", daemon=True).start()

    def _end(self) -> None:
        """End the server for good; `run` returns then."""
        self._ending.set()
        with self._launching:
            server = self._server
        if server is None:
            return
        server.tell(END)
        patience = 2 * self._plan.close_timeout if self._constructed else 0.0
        if not server.wait(patience + _EXIT_SECONDS):
            server.kill()

    def _end_namespace(self) -> None:
        # Not before it is needed: it imports all that a registry does.
        from services_local.registry import end_abandoned

        @contextlib.contextmanager
        def end() -> Iterator[None]:
            with self._busy:
                self._end()
                yield

        end_abandoned(self._plan.root, self._plan.namespace, self._plan.name, end)


def main() -> int:
    """Start the service whose order comes through the descriptors in argv."""
    order, starter, lock = take_descriptors(sys.argv)
    lease.take_none()
    return Supervisor(Plan(*json.loads(sys.argv[4])), order, lock, starter).run()


if __name__ == "__main__":
    sys.exit(main())
