"""The process of one service: constructs it, lets callers in, and answers until it is ended.

Its threads::

    main thread        constructs the object; then runs its calls (serial), or waits (threaded)
    service-starter    listens to the process that started this one
    service-door       lets callers in
    service-signals    ends the service when SIGTERM comes
    lease-watch        ends the namespace when nobody has it open any more
"""

from __future__ import annotations

import inspect
import logging
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from services_core import ServiceSpec
from services_core.hosting import ServiceHost
from services_core.options import chosen_options
from services_core.services import class_name
from services_local import lease, records
from services_local.door import Door
from services_local.launch import Order, read_order, take_descriptors
from services_local.life import Calls, Life
from services_local.records import BACKEND, Record, Reservation
from services_local.runtime import RuntimeDirectory
from services_local.serial import MainThreadCalls
from services_local.starter import Starter
from services_local.termination import Termination
from services_local.threaded import ThreadedCalls

# After close(): what Python does at exit (atexit, joining threads) may take this long (seconds).
_EXIT_GRACE = 2.0


def main() -> None:
    """Start the service whose order comes through the descriptors in argv."""
    order_descriptor, control, lock = take_descriptors(sys.argv)
    supervisor, restarts = map(int, sys.argv[4:6])
    lease.take_none()
    starter = Starter(control)
    # A process that the service forks must not keep the name taken.
    Reservation(lock)
    order: Order = pickle.loads(read_order(order_descriptor))  # noqa: S301 - from our starter
    sys.path[:] = order.path
    logging.basicConfig(format=f"%(asctime)s {order.name}: %(message)s")
    runtime = RuntimeDirectory(Path(order.root))
    try:
        spec: ServiceSpec = pickle.loads(order.spec)  # noqa: S301 - as above
        host = ServiceHost(spec, spec.key(BACKEND, order.namespace))
        calls = _calls_of(host, spec)
        life = Life(spec.name, calls, spec.options.close_timeout)
        path = runtime.service(order.namespace, spec.name).socket(spec.incarnation)
        Door(path, runtime.key(), life.admit)
    except BaseException as error:  # noqa: BLE001 - SystemExit too: the registrar must know
        if restarts:
            traceback.print_exc()  # into the log: nobody waits for it
        starter.failed(error)
        # Threads that the constructor left behind must not keep the name taken.
        os._exit(1)

    def end() -> None:
        starter.stop_waiting()
        life.end_soon()

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # the service may have one of its own
        Termination(end)
    service = _Service(runtime, host, spec, life, supervisor or None, restarts)
    if not starter.ready():
        life.end_soon()
    elif life.publish(service.paths.record, service.record):
        starter.published(life.end_soon, service.live_on())
    calls.run()
    life.wait()
    if not life.asked:
        service.clean_up()
    # What Python does at exit may hang on the service's threads; this one ends it then.
    threading.Thread(target=_leave_anyway, daemon=True).start()


def _calls_of(host: ServiceHost, spec: ServiceSpec) -> Calls:
    waits = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    methods = [getattr(host.object, name, None) for name in host.methods]
    if spec.options.max_concurrency in (None, 1) and not any(
        is_async(method) for method in methods for is_async in waits
    ):
        return MainThreadCalls(host)
    return ThreadedCalls(host)


class _Service:
    """What this process serves, and for how long."""

    def __init__(
        self,
        runtime: RuntimeDirectory,
        host: ServiceHost,
        spec: ServiceSpec,
        life: Life,
        supervisor: int | None,
        restarts: int,
    ) -> None:
        self._runtime = runtime
        self._life = life
        self.paths = runtime.service(host.key.namespace, spec.name)
        self.record = Record(
            namespace=host.key.namespace,
            name=spec.name,
            incarnation=spec.incarnation,
            replicas=spec.options.replicas,
            pid=os.getpid(),
            supervisor=supervisor,
            node=socket.gethostname(),
            class_name=class_name(spec.cls),
            methods=host.methods,
            state="running",
            started_at=time.time(),
            restarts=restarts,
            max_restarts=spec.options.max_restarts or 0,
            close_timeout=spec.options.close_timeout,
            detached=spec.options.lifetime == "detached",
            bound=spec.bound,
            options=chosen_options(spec.options),
        )

    def live_on(self) -> Callable[[], None] | None:
        """See to it that the service ends when it should.

        Returns:
            What to do when the process that started this one has ended.
        """
        if self.record.bound:
            return self._life.end_soon
        if self.record.supervisor is not None:
            return self._live_on_alone
        self._follow_lease()
        return None

    def clean_up(self) -> None:
        """Remove the files of the namespace, if nobody is left who would."""
        record = self.record
        with lease.abandoned(self._runtime.lease(record.namespace)) as nobody:
            if nobody:
                records.remove_namespace(self._runtime, record.namespace, besides=record.name)

    def _live_on_alone(self) -> None:
        """The supervisor was killed: nobody would start this again, or end the namespace."""
        self._life.note(supervisor=None)
        self._follow_lease()

    def _follow_lease(self) -> None:
        if not self.record.detached:
            lease.watch(
                self._runtime.lease(self.record.namespace), self._end_namespace, self._life.end_soon
            )

    def _end_namespace(self) -> None:
        # Only here: it imports all that a registry does.
        from services_local.registry import end_abandoned

        record = self.record
        end_abandoned(str(self._runtime.root), record.namespace, record.name, self._life.end)


def _leave_anyway() -> None:
    time.sleep(_EXIT_GRACE)
    os._exit(0)


if __name__ == "__main__":
    main()
