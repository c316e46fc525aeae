"""`LocalConstruction`: a locked name, and the process that constructs a service under it."""

from __future__ import annotations

import json
import pickle
import sys
import threading
import time
from collections.abc import Callable

from services_core import Connection, Construction, ServiceSpec, ServiceStartError
from services_core.remote_errors import PackedError, unpack_error
from services_local import ending, records
from services_local.ending import EXIT_SECONDS
from services_local.launch import GO, LaunchedProcess, Order, Outcome, write_order
from services_local.pickling import dumps
from services_local.records import Record, Reservation
from services_local.runtime import RuntimeDirectory
from services_local.supervisor import Plan

# How much of a dead service's log goes into the error, in bytes from its end.
_LOG_TAIL = 2000


class LocalConstruction(Construction):
    """A service that is being constructed in a process of its own.

    Args:
        runtime: The directory.
        namespace: The service's namespace.
        spec: The service.
        reservation: Its name, which the service process takes over.
        connection: Makes a connection from a record.
    """

    def __init__(
        self,
        runtime: RuntimeDirectory,
        namespace: str,
        spec: ServiceSpec,
        reservation: Reservation,
        connection: Callable[[Record], Connection],
    ) -> None:
        self._runtime = runtime
        self._namespace = namespace
        self._spec = spec
        self._reservation = reservation
        self._connection = connection
        self._constructed = False
        self._give_up = time.monotonic() + spec.options.start_timeout
        self._log = runtime.service(namespace, spec.name).log
        order = Order(
            root=str(runtime.root),
            namespace=namespace,
            name=spec.name,
            path=sys.path,
            spec=dumps(spec),
        )
        try:
            with write_order(runtime.namespace(namespace), pickle.dumps(order)) as file:
                self._process = LaunchedProcess(
                    *_module_for(runtime, namespace, spec),
                    file.fileno(),
                    reservation.descriptor,
                    self._log,
                )
        except OSError as error:  # no process, no room or no descriptor left
            raise ServiceStartError(spec.name, f"its process can't be started: {error}") from error
        # `reset` finds the process by this.
        reservation.note(name=spec.name, pid=self._process.pid)

    def wait(self) -> None:
        """Wait until the constructor has returned; see `Construction.wait`."""
        self._expect(Outcome.READY, self._give_up)
        self._constructed = True

    def publish(self) -> Connection:
        """Have the process write its record, and return a connection."""
        self._process.tell(GO)
        self._expect(Outcome.PUBLISHED, max(self._give_up, time.monotonic() + EXIT_SECONDS))
        record = self._record()
        if record is None:
            raise ServiceStartError(self._spec.name, "it ended as soon as it had started")
        self._reservation.close()
        if not self._spec.bound:
            self._process.let_go()
        # Reaped whenever it ends, so that no zombie is left. Of a service that is bound the thread
        # also keeps the socket open, by whose end it learns that this process has ended.
        threading.Thread(
            target=self._process.reap, name=f"reap-{self._spec.name}", daemon=True
        ).start()
        return self._connection(record)

    def abandon(self) -> None:
        """End the process, however far it has come, and free the name."""
        record = self._record()
        if record is not None:
            ending.end(self._runtime, record)
        self._process.let_go()
        grace = self._spec.options.close_timeout + EXIT_SECONDS if self._constructed else 0.0
        if not self._process.wait(grace):
            self._process.kill()
        self._reservation.free()
        records.forget(self._runtime, self._namespace, self._spec.name)

    def _record(self) -> Record | None:
        record = records.find(self._runtime, self._namespace, self._spec.name)
        mine = record is not None and record.incarnation == self._spec.incarnation
        return record if mine else None

    def _expect(self, outcome: Outcome, give_up: float) -> None:
        spec = self._spec
        try:
            report = self._process.report(give_up)
        except EOFError:
            self._process.wait()
            raise ServiceStartError(
                spec.name,
                f"its process ended with code {self._process.returncode} while it was constructed",
                self._tail_of_log(),
            ) from None
        if report is None:
            raise ServiceStartError(
                spec.name,
                f"its constructor took longer than start_timeout={spec.options.start_timeout:g} s",
            )
        reported, body = report
        if reported is not outcome:
            packed: PackedError = pickle.loads(body)  # noqa: S301 - from the process started above
            error = unpack_error(packed)
            raise ServiceStartError(
                spec.name, f"its constructor raised {error!r}", packed.traceback
            ) from error

    def _tail_of_log(self) -> str:
        try:
            return self._log.read_bytes()[-_LOG_TAIL:].decode(errors="replace")
        except FileNotFoundError:  # the name was reset, and with it its files
            return ""


def _module_for(
    runtime: RuntimeDirectory, namespace: str, spec: ServiceSpec
) -> tuple[str, list[str]]:
    """What is started: the server, or what starts the server again and again."""
    options = spec.options
    if not options.max_restarts:
        return "services_local.server", ["0", "0", spec.name]
    paths = runtime.service(namespace, spec.name)
    detached = options.lifetime == "detached"
    plan = Plan(
        root=str(runtime.root),
        namespace=namespace,
        name=spec.name,
        record=str(paths.record),
        guard=str(paths.guard),
        log=str(paths.log),
        lease=None if detached else str(runtime.lease(namespace)),
        max_restarts=options.max_restarts,
        start_timeout=options.start_timeout,
        close_timeout=options.close_timeout,
    )
    return "services_local.supervisor", [json.dumps(plan)]
