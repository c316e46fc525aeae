"""A caller's end of a service: the connection that its handles use.

Each call has a socket of its own while it runs, and leaves it to the next. A pickle is read only
from a service that has shown that it knows the key.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import Future
from multiprocessing.connection import Client, answer_challenge, deliver_challenge
from multiprocessing.connection import Connection as Pipe
from typing import Any

from own_backend.directory import Directory, Record
from services_core import CallOptions, Connection, ServiceDiedError, ServiceError
from services_core.remote_errors import unpack_error


class SqliteConnection(Connection):
    """A service in a process of this machine. `native` is the path of its socket.

    Args:
        directory: Where the service is registered.
        record: Its row.
    """

    def __init__(self, directory: Directory, record: Record) -> None:
        super().__init__(record.key, json.loads(record.methods))
        self._directory = directory
        self._record = record._replace(authkey=b"")  # handles travel, keys don't
        self._idle: defaultdict[int, deque[Pipe]] = defaultdict(deque)

    @property
    def native(self) -> str:
        """Path of the service's socket."""
        return str(self._directory.path(self._record, "sock"))

    def call(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """Write the call and read the answer, in the caller's own thread."""
        return self._ask(pickle.dumps(("call", method, args, kwargs)), method, options)

    def submit(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Future[Any]:
        """Do the same in a thread of its own."""
        request = pickle.dumps(("call", method, args, kwargs))  # as the arguments are now
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # what was sent can't be cancelled

        def ask() -> None:
            try:
                future.set_result(self._ask(request, method, CallOptions()))
            except BaseException as error:  # noqa: BLE001 - the caller's, whatever it is
                future.set_exception(error)

        threading.Thread(target=ask, name=f"call-{self.key.name}", daemon=True).start()
        return future

    def remote(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """A `concurrent.futures.Future`; for a generator method, an iterator."""
        start = self.stream if self.methods[method] == "stream" else self.submit
        return start(method, args, kwargs, options)

    def stream(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Iterator[Any]:
        """Start the generator over there, and iterate over what it sends."""
        return self._items(pickle.dumps(("stream", method, args, kwargs)), method, options)

    def stop(self, timeout: float) -> None:
        """Have the service run its `close()` and end; raises what `close()` raised.

        Args:
            timeout: Seconds to wait for it.

        Raises:
            ServiceDiedError: It is gone already, or not constructed yet.
            ServiceTimeoutError: It didn't answer in time.
        """
        self._ask(pickle.dumps(("stop", "", (), {})), "stop", CallOptions(timeout=timeout))

    def _ask(self, request: bytes, method: str, options: CallOptions) -> Any:
        with self._pipe(method, options) as pipe:
            pipe.send_bytes(request)
            self._await(pipe, method, options)
            answer = pipe.recv_bytes()
        kind, content = pickle.loads(answer)  # noqa: S301 - from a service that knows the key
        if kind == "error":
            raise unpack_error(content)
        return content

    def _items(self, request: bytes, method: str, options: CallOptions) -> Iterator[Any]:
        # Left half-way, the closed socket tells the service to close its generator.
        with self._pipe(method, options) as pipe:
            pipe.send_bytes(request)
            while True:
                self._await(pipe, method, options)
                kind, content = pickle.loads(pipe.recv_bytes())  # noqa: S301 - as above
                if kind != "item":
                    break
                yield content
        if kind == "error":
            raise unpack_error(content)

    def _await(self, pipe: Pipe, method: str, options: CallOptions) -> None:
        if options.timeout is not None and not pipe.poll(options.timeout):
            raise self.timed_out(method, options)

    @contextlib.contextmanager
    def _pipe(self, method: str, options: CallOptions) -> Iterator[Pipe]:
        """A socket that nobody else uses meanwhile; closed if anything goes wrong on it."""
        try:
            with contextlib.ExitStack() as failed:
                pipe = self._take(method, options)
                failed.callback(pipe.close)
                yield pipe
                failed.pop_all()
        except ServiceError:
            raise
        except (EOFError, OSError) as error:
            raise ServiceDiedError(self.key.name, str(error)) from error
        self._idle[os.getpid()].append(pipe)

    def _take(self, method: str, options: CallOptions) -> Pipe:
        with contextlib.suppress(IndexError):
            return self._idle[os.getpid()].pop()  # a forked child doesn't use those of its parent
        record = self._directory.find(number=self._record.number)
        if record is None:
            raise ServiceDiedError(self.key.name)
        pipe = Client(self.native)
        self._await(pipe, method, options)  # the service speaks first, and a stopped one never
        answer_challenge(pipe, record.authkey)
        deliver_challenge(pipe, record.authkey)
        return pipe

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._directory, self._record)
