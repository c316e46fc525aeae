"""A caller's end: `LocalConnection`, its sockets, and what it makes of a dead service.

A call goes one of two ways::

    handle.method()          an idle socket of the pool, this thread writes and reads: two messages
    handle.method.submit()   one socket for all, whose thread resolves the futures by request id

A forked child starts with sockets of its own.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import os
import socket
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from services_core import CallOptions, Connection, MethodKind, ServiceDiedError, ServiceKey
from services_core.remote_errors import unpack_error
from services_local import wire
from services_local.runtime import key_beside
from services_local.wire import Kind


class LocalConnection(Connection):
    """A service in a process of this machine. `native` is the path of its socket.

    Args:
        key: Identity of the service.
        methods: Its methods.
        path: Its socket, in the directory of its namespace.
    """

    _all: ClassVar[weakref.WeakSet[LocalConnection]] = weakref.WeakSet()

    def __init__(self, key: ServiceKey, methods: Mapping[str, MethodKind], path: str) -> None:
        super().__init__(key, methods)
        self._path = path
        self._idle: deque[socket.socket] = deque()
        self._pipeline: _Pipeline | None = None
        self._lock = threading.Lock()
        self._all.add(self)
        # Users hold handles, which nobody closes: the sockets go with the last of them.
        weakref.finalize(self, _close_all, self._idle)

    @property
    def native(self) -> str:
        """Path of the service's socket."""
        return self._path

    def call(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """Write the call and read the answer on a socket that no other thread uses meanwhile."""
        connection = self._take()
        try:
            connection.settimeout(options.timeout)
            wire.send(connection, 0, Kind.CALL, (method, args, kwargs))
            answer = wire.receive(connection)
        except TimeoutError as error:
            # Its answer may still come: nobody else must read it.
            connection.close()
            raise self.timed_out(method, options) from error
        except (OSError, EOFError) as error:
            connection.close()
            raise self._died(error) from error
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        if answer.kind is Kind.ERROR:
            raise unpack_error(answer.content())
        return answer.content()

    def remote(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """A `concurrent.futures.Future`; for a generator method, an iterator."""
        if self.methods[method] == "stream":
            return self.stream(method, args, kwargs, options)
        return self.submit(method, args, kwargs, options)

    def submit(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> concurrent.futures.Future[Any]:
        """Write the call on the shared socket, whose thread resolves the future."""
        with self._lock:
            if self._pipeline is None or self._pipeline.ended:
                self._pipeline = _Pipeline(self._open(), self.key.name)
                # Its thread would keep it alive after this connection is gone.
                weakref.finalize(self, self._pipeline.close)
            pipeline = self._pipeline
        return pipeline.submit(self, method, args, kwargs)

    def stream(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Iterator[Any]:
        """Start the generator over there, and iterate over what it sends."""
        connection = self._take()
        try:
            connection.settimeout(options.timeout)
            wire.send(connection, 0, Kind.STREAM, (method, args, kwargs))
        except OSError as error:
            connection.close()
            raise self._died(error) from error
        except BaseException:
            connection.close()
            raise
        return self._items(connection, method, options)

    def _items(self, connection: socket.socket, method: str, options: CallOptions) -> Iterator[Any]:
        finished = False
        try:
            while True:
                try:
                    frame = wire.receive(connection)
                except TimeoutError as error:
                    raise self.timed_out(method, options) from error
                except (OSError, EOFError) as error:
                    raise self._died(error) from error
                if frame.kind is Kind.ITEM:
                    yield frame.content()
                    continue
                finished = True
                if frame.kind is Kind.ERROR:
                    raise unpack_error(frame.content())
                return
        finally:
            # Left half-way, the closed socket tells the service to close its generator.
            if finished:
                self._idle.append(connection)
            else:
                connection.close()

    def stop(self, timeout: float) -> None:
        """Ask the service to end, and wait for the answer.

        Args:
            timeout: Seconds to wait.

        Raises:
            ServiceDiedError: It is gone already.
            TimeoutError: It didn't answer in time.
        """
        try:
            with self._open() as connection:
                connection.settimeout(timeout)
                wire.send(connection, 0, Kind.STOP, None)
                answer = wire.receive(connection)
        except TimeoutError:
            raise
        except (OSError, EOFError) as error:
            raise self._died(error) from error
        if answer.kind is Kind.ERROR:
            raise unpack_error(answer.content())

    def close(self) -> None:
        """Close the sockets; a later call opens new ones."""
        _close_all(self._idle)
        with self._lock:
            if self._pipeline is not None:
                self._pipeline.close()
                self._pipeline = None

    def _take(self) -> socket.socket:
        try:
            return self._idle.pop()
        except IndexError:
            return self._open()

    def _open(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(self._path)
            wire.authenticate(connection, key_beside(Path(self._path)))
        except OSError as error:
            connection.close()
            raise self._died(error) from error
        return connection

    def _died(self, error: BaseException) -> ServiceDiedError:
        return ServiceDiedError(self.key.name, str(error))

    @classmethod
    def restart_in_child(cls) -> None:
        """Called in a forked child, which must not read the answers to its parent's calls."""
        for connection in list(cls._all):
            connection._start_afresh()  # noqa: SLF001 - one of our own

    def _start_afresh(self) -> None:
        _close_all(self._idle)
        self._pipeline = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.key, dict(self.methods), self._path)


os.register_at_fork(after_in_child=LocalConnection.restart_in_child)


class _Pipeline:
    """One socket for many calls under way, and the thread that resolves their futures."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        self._connection = connection
        self._name = name
        # With their connection, which must not be collected while somebody waits for an answer.
        self._pending: dict[int, tuple[concurrent.futures.Future[Any], LocalConnection]] = {}
        self._requests = itertools.count(1)
        self._sending = threading.Lock()
        self._waiting = threading.Lock()
        self.ended = False
        threading.Thread(target=self._read, name=f"service-{name}-replies", daemon=True).start()

    def submit(
        self,
        owner: LocalConnection,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        # Sent is sent: it can't be cancelled any more.
        future.set_running_or_notify_cancel()
        request = next(self._requests)
        # What can't be pickled raises here, before anything was sent.
        pieces = wire.encode(request, Kind.SUBMIT, (method, args, kwargs))
        with self._waiting:
            if self.ended:
                raise ServiceDiedError(self._name)
            self._pending[request] = future, owner
        try:
            with self._sending:
                wire.write(self._connection, pieces)
        except OSError as error:
            self._end(error)
        except BaseException as error:
            # Interrupted in the middle of a frame: nothing that follows could be understood.
            self._end(error)
            self.close()
            raise
        return future

    def close(self) -> None:
        """End the thread; calls under way fail with `ServiceDiedError`."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the peer was faster

    def _read(self) -> None:
        try:
            while True:
                frame = wire.receive(self._connection)
                with self._waiting:
                    future = self._pending.pop(frame.request)[0]
                _resolve(future, frame)
        except Exception as error:  # noqa: BLE001 - whatever ends the thread ends its futures
            self._end(error)
        finally:
            self._connection.close()

    def _end(self, error: BaseException) -> None:
        with self._waiting:
            self.ended = True
            pending = list(self._pending.values())
            self._pending.clear()
        for future, _ in pending:
            died = ServiceDiedError(self._name, str(error))
            died.__cause__ = error
            future.set_exception(died)


def _close_all(connections: deque[socket.socket]) -> None:
    while connections:
        connections.pop().close()


def _resolve(future: concurrent.futures.Future[Any], frame: wire.Frame) -> None:
    try:
        content = frame.content()
    except Exception as error:  # noqa: BLE001 - what can't be rebuilt here is this call's error
        future.set_exception(error)
        return
    if frame.kind is Kind.ERROR:
        future.set_exception(unpack_error(content))
    else:
        future.set_result(content)
