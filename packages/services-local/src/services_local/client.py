"""A caller's end: `LocalConnection`.

A call goes one of two ways::

    handle.method()          an idle socket of the pool, this thread writes and reads: two messages
    handle.method.submit()   one socket for all, whose thread resolves the futures by request id

A forked child starts with sockets of its own.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from services_core import CallOptions, Connection, MethodKind, ServiceKey
from services_core.remote_errors import unpack_error
from services_local import wire
from services_local.channels import Channel
from services_local.deaths import death_of
from services_local.handshake import Purpose
from services_local.pipeline import Pipeline


class LocalConnection(Connection):
    """A service in a process of this machine. `native` is the path of its socket.

    Args:
        key: Identity of the service.
        methods: Its methods.
        path: Its socket, in the directory of its namespace.
        comes_back: Whether it may be started again, so that a socket leads to an earlier process.
    """

    _all: ClassVar[weakref.WeakSet[LocalConnection]] = weakref.WeakSet()

    def __init__(
        self,
        key: ServiceKey,
        methods: Mapping[str, MethodKind],
        path: str,
        comes_back: bool = False,  # noqa: FBT001, FBT002 - pickled by position
    ) -> None:
        super().__init__(key, methods)
        self._path = path
        self._comes_back = comes_back
        self._idle: deque[Channel] = deque()
        self._pipeline: Pipeline | None = None
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
        timeout = options.timeout
        give_up = None if timeout is None else time.monotonic() + timeout
        channel = self._started(wire.CALL, (method, args, kwargs), options, give_up)
        try:
            answer = channel.receive(give_up)
        except BaseException as error:
            # Its answer may still come: nobody else must read it.
            self._failed(channel, method, options, error)
            raise
        self._idle.append(channel)
        if answer.kind == wire.ERROR:
            raise unpack_error(answer.take_content())
        return answer.take_content()

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
                # Its thread must not keep this connection alive.
                death = partial(death_of, self.key, Path(self._path))
                self._pipeline = Pipeline(self._open(), self.key.name, death)
                weakref.finalize(self, self._pipeline.close)
            pipeline = self._pipeline
        return pipeline.submit((method, args, kwargs), self)

    def stream(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Iterator[Any]:
        """Start the generator over there, and iterate over what it sends."""
        content = (method, args, kwargs)
        channel = self._started(wire.STREAM, content, options, _end_of(options))
        items = self._items(channel, method, options)
        next(items)  # now it closes its socket also if nobody asks for an item
        return items

    def is_open(self) -> bool:
        """Whether the service is seen to live, at the cost of one system call.

        Its process holds the other end of an idle socket, and the kernel closes that with the
        process. False if there is no such socket.
        """
        channel = self._take_open()
        if channel is None:
            return False
        self._idle.append(channel)
        return True

    def keep_open(self) -> None:
        """Have an idle socket for `is_open`, if the service lets us in."""
        if not self._idle:
            with contextlib.suppress(OSError):  # it has just died, or is being started again
                self._idle.append(Channel(Path(self._path), Purpose.CALLS))

    def close(self) -> None:
        """Close the sockets; a later call opens new ones."""
        _close_all(self._idle)
        with self._lock:
            if self._pipeline is not None:
                self._pipeline.close()
                self._pipeline = None

    def _started(
        self, kind: int, content: tuple[str, Any, Any], options: CallOptions, give_up: float | None
    ) -> Channel:
        """A channel on which a call has been written."""
        channel = self._take_idle() or self._open(give_up, content[0], options)
        try:
            frame = channel.encode(0, kind, content)
        except BaseException:
            self._idle.append(channel)  # nothing was sent
            raise
        try:
            channel.write(frame, give_up)
        except BaseException as error:
            self._failed(channel, content[0], options, error)
            raise
        return channel

    def _failed(
        self, channel: Channel, method: str, options: CallOptions, error: BaseException
    ) -> None:
        """Close a channel, and raise what its error means for a call."""
        if isinstance(error, TimeoutError):
            channel.close()
            raise self.timed_out(method, options) from error
        if isinstance(error, OSError | EOFError):
            death = death_of(self.key, Path(self._path), channel, error)
            channel.close()
            raise death from error
        channel.close()

    def _items(self, channel: Channel, method: str, options: CallOptions) -> Iterator[Any]:
        finished = False
        try:
            yield None
            while True:
                try:
                    frame = channel.receive(_end_of(options))
                except (OSError, EOFError) as error:
                    self._failed(channel, method, options, error)
                    raise
                if frame.kind == wire.ITEM:
                    yield frame.take_content()
                    continue
                finished = True
                if frame.kind == wire.ERROR:
                    raise unpack_error(frame.take_content())
                return
        finally:
            # Left half-way, the closed socket tells the service to close its generator.
            if finished:
                self._idle.append(channel)
            else:
                channel.close()

    def _take_idle(self) -> Channel | None:
        if self._comes_back:
            return self._take_open()
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _take_open(self) -> Channel | None:
        """An idle socket whose other end hasn't been closed."""
        while True:
            try:
                channel = self._idle.pop()
            except IndexError:
                return None
            if channel.is_open():
                return channel
            channel.close()

    def _open(
        self, give_up: float | None = None, method: str = "", options: CallOptions | None = None
    ) -> Channel:
        path = Path(self._path)
        again = self._comes_back
        while True:
            try:
                return Channel(path, Purpose.CALLS, give_up)
            except TimeoutError as error:
                raise self.timed_out(method, options or CallOptions()) from error
            except OSError as error:
                death = death_of(self.key, path, None, error)
                if death.restarting or not again:
                    raise death from error
                again = False  # it is gone for good, or has come back just now, for the last time

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
        return type(self), (self.key, dict(self.methods), self._path, self._comes_back)


os.register_at_fork(after_in_child=LocalConnection.restart_in_child)


def _end_of(options: CallOptions) -> float | None:
    return None if options.timeout is None else time.monotonic() + options.timeout


def _close_all(channels: deque[Channel]) -> None:
    while channels:
        channels.pop().close()
