"""The process of one service: constructs it, listens, and answers until it is told to end.

Its threads::

    main thread       constructs the object, then waits for the end
    accept thread     lets callers in, one thread each
    caller threads    read frames; run CALLs themselves, hand SUBMITs to the host's threads
    lease-watch       ends the namespace when nobody has it open any more

Each call takes its turn in `services_core.hosting.ServiceHost`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from services_core import ServiceSpec
from services_core.hosting import ServiceHost
from services_core.options import chosen_options
from services_core.remote_errors import pack_error
from services_core.services import class_name
from services_local import lease, wire
from services_local.launch import Order, read_order
from services_local.records import Record, Reservation
from services_local.registry import LocalService
from services_local.runtime import RuntimeDirectory
from services_local.starter import Starter
from services_local.wire import Frame, Kind

_log = logging.getLogger("services_local")

# After close(): what Python does at exit (atexit, joining threads) may take this long, in seconds.
_EXIT_GRACE = 2.0


class Server:
    """Serves one host on one socket.

    Args:
        host: The service.
        listener: The socket, bound and listening.
        key: What a caller must show.
        close_timeout: Seconds that the service's `close()` may take.
    """

    def __init__(
        self, host: ServiceHost, listener: socket.socket, key: bytes, close_timeout: float
    ) -> None:
        self.name = host.name
        self._host = host
        self._listener = listener
        self._key = key
        self._close_timeout = close_timeout
        self._callers: set[socket.socket] = set()
        self._ending = threading.Lock()
        self._closed = False
        self._problem: BaseException | None = None
        self.ended = threading.Event()
        os.register_at_fork(after_in_child=self._close_in_child)
        threading.Thread(target=self._accept, name="service-accept", daemon=True).start()

    def end(self) -> BaseException | None:
        """Run the service's `close()` once, and return what it raised; a second caller waits."""
        with self._ending:
            if not self._closed:
                self._closed = True
                self._problem = self._host.close(self._close_timeout)
                if self._problem is not None:
                    _log.warning("close() of service %r failed: %r", self.name, self._problem)
            return self._problem

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError as error:
                # A caller that gave up, or no descriptor left: neither ends the service.
                _log.warning("accept failed: %r", error)
                time.sleep(0.01)
                continue
            threading.Thread(
                target=self._serve, args=(caller,), name="service-caller", daemon=True
            ).start()

    def _serve(self, caller: socket.socket) -> None:
        self._callers.add(caller)
        sending = threading.Lock()
        try:
            if wire.admit(caller, self._key):
                while True:
                    self._answer(caller, sending, wire.receive(caller))
        except (OSError, EOFError, ValueError):
            pass  # the caller is gone, or speaks something else
        finally:
            self._callers.discard(caller)
            caller.close()

    def _answer(self, caller: socket.socket, sending: threading.Lock, frame: Frame) -> None:
        reply = partial(_reply, caller, sending, frame.request)
        if frame.kind is Kind.STOP:
            self._stop(reply)
            return
        try:
            method, args, kwargs = frame.content()
            if frame.kind is Kind.CALL:
                reply(Kind.RESULT, self._host.run(method, args, kwargs))
            elif frame.kind is Kind.STREAM:
                for item in self._host.stream(method, args, kwargs):
                    reply(Kind.ITEM, item)
                reply(Kind.END, None)
            else:
                future = self._host.submit(method, args, kwargs)
                future.add_done_callback(partial(_reply_when_done, reply))
        except _CallerGoneError:
            raise
        except BaseException as error:  # noqa: BLE001 - SystemExit too belongs to the caller
            reply(Kind.ERROR, pack_error(error, wire.dumps))

    def _stop(self, reply: Callable[[Kind, Any], None]) -> None:
        problem = self.end()
        if problem is None:
            reply(Kind.RESULT, None)
        else:
            reply(Kind.ERROR, pack_error(problem, wire.dumps))
        self.ended.set()

    def _close_in_child(self) -> None:
        # A process that the service forks must not keep its callers waiting when it dies.
        self._listener.close()
        for caller in list(self._callers):
            caller.close()


class _CallerGoneError(ConnectionError):
    """An answer could not be sent."""


def _reply(
    caller: socket.socket, sending: threading.Lock, request: int, kind: Kind, content: Any
) -> None:
    try:
        data = wire.encode(request, kind, content)
    except Exception as error:  # noqa: BLE001 - a result may refuse to be pickled in any way
        data = wire.encode(request, Kind.ERROR, pack_error(error, wire.dumps))
    try:
        with sending:
            wire.write(caller, data)
    except OSError as error:
        raise _CallerGoneError(str(error)) from error


def _reply_when_done(reply: Callable[[Kind, Any], None], future: Future[Any]) -> None:
    error = future.exception()
    with contextlib.suppress(_CallerGoneError):
        if error is None:
            reply(Kind.RESULT, future.result())
        else:
            reply(Kind.ERROR, pack_error(error, wire.dumps))


def main() -> None:
    """Start the service whose order comes through the descriptors in argv."""
    order_descriptor, control_descriptor, lock_descriptor = map(int, sys.argv[1:4])
    lease.take_none()
    starter = Starter(socket.socket(fileno=control_descriptor))
    # A process that the service forks must not keep the name taken.
    Reservation.inherited(lock_descriptor)
    order: Order = pickle.loads(read_order(order_descriptor))  # noqa: S301 - from our starter
    sys.path[:] = order.path
    logging.basicConfig(format=f"%(asctime)s {order.name}: %(message)s")
    runtime = RuntimeDirectory(order.root)
    try:
        spec: ServiceSpec = pickle.loads(order.spec)  # noqa: S301 - as above
        key = spec.key(LocalService.backend, order.namespace)
        host = ServiceHost(spec, key)
        server = _listen(runtime, host, spec)
    except BaseException as error:  # noqa: BLE001 - SystemExit too: the registrar must know
        starter.failed(error)
        # Threads that the constructor left behind must not keep the name taken.
        os._exit(1)
    if starter.ready():
        _publish(runtime, host, spec, server)
        starter.published(server.ended.set if spec.bound else None)
        server.ended.wait()
    server.end()
    # What Python does at exit may hang on the service's threads; this one ends it then.
    threading.Thread(target=_leave_anyway, daemon=True).start()


def _listen(runtime: RuntimeDirectory, host: ServiceHost, spec: ServiceSpec) -> Server:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path = runtime.service(host.key.namespace, spec.name).socket(spec.incarnation)
    listener.bind(str(path))
    listener.listen(128)
    return Server(host, listener, runtime.key(), spec.options.close_timeout)


def _publish(
    runtime: RuntimeDirectory, host: ServiceHost, spec: ServiceSpec, server: Server
) -> None:
    signal.signal(signal.SIGTERM, lambda *_: server.ended.set())
    namespace = host.key.namespace
    record = Record(
        namespace=namespace,
        name=spec.name,
        incarnation=spec.incarnation,
        replicas=spec.options.replicas,
        pid=os.getpid(),
        node=socket.gethostname(),
        class_name=class_name(spec.cls),
        methods=host.methods,
        started_at=time.time(),
        close_timeout=spec.options.close_timeout,
        detached=spec.options.lifetime == "detached",
        bound=spec.bound,
        options=chosen_options(spec.options),
    )
    record.write(runtime.service(namespace, spec.name).record)
    if not record.detached and not record.bound:
        services = LocalService(namespace, runtime_dir=str(runtime.root))
        lease.watch(runtime.lease(namespace), partial(_end_namespace, services, server))


def _end_namespace(services: LocalService, server: Server) -> None:
    """End what nobody has open any more: the other services, then this one."""
    services.end_others(server.name)
    server.end()
    services.remove_files(server.name)
    server.ended.set()
    # The lease is held until this process is gone: who opens the namespace now waits for that.
    threading.Event().wait()


def _leave_anyway() -> None:
    time.sleep(_EXIT_GRACE)
    os._exit(0)


if __name__ == "__main__":
    main()
