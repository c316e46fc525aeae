"""One call at a time, all of them in the main thread.

    door's thread  --admitted sockets-->  main thread: poll, read a frame, run the method, answer
    others         --end()----------->                 the same thread runs close()

As on Ray, the constructor, the methods and `close()` run in one thread. Here it is the main one, so
a service may hold a connection of sqlite3, set signal handlers, and fork. No call changes threads,
which is half of its speed.

No socket blocks. Of a caller that stops in the middle of a frame the beginning waits in its reader;
of one that doesn't read its answers one answer waits in its outbox, and it gets no more turns.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from services_core import serving
from services_core.hosting import ServiceHost, exit_refused
from services_core.remote_errors import pack_error
from services_local import forks, wire
from services_local.callers import SerialCaller, close_generator
from services_local.life import check_method
from services_local.pickling import dumps
from services_local.reading import Frame
from services_local.wire import Encoded, Outgoing

_log = logging.getLogger("services_local")

# What the last answers get to leave in, when the service ends (seconds).
_LAST_WORDS = 1.0

_END = object()


class MainThreadCalls:
    """Runs the calls of a service in the thread that constructed it.

    Args:
        host: The service.
    """

    def __init__(self, host: ServiceHost) -> None:
        self._host = host
        self._pid = os.getpid()
        self._callers: dict[int, SerialCaller] = {}
        self._turns: deque[SerialCaller] = deque()
        self._arrived: deque[socket.socket] = deque()
        with forks.no_fork():
            self._wake_up, self._bell = socket.socketpair()
            # epoll, or where there is none (macOS) poll, which has the same methods.
            self._poller = select.epoll() if hasattr(select, "epoll") else select.poll()
            for each in (self._wake_up, self._bell, self._poller):
                if hasattr(each, "close"):
                    forks.keep_private(each)
        for end in (self._wake_up, self._bell):
            end.setblocking(False)  # noqa: FBT003 - takes no keyword
        self._poller.register(self._wake_up.fileno(), select.POLLIN)
        self._ending = threading.Event()
        self._free = threading.Event()
        self._closed = threading.Event()
        self._close_is_mine = threading.Lock()
        self._problem: BaseException | None = None

    @property
    def stuck(self) -> bool:
        """Whether a method, or `close()`, doesn't give the main thread back."""
        return not self._closed.is_set()

    def admit(self, caller: socket.socket) -> None:
        """Take the calls of somebody who has been let in; from any thread."""
        self._arrived.append(caller)
        self._ring()

    def run(self) -> None:
        """Answer calls until `end`, then run the service's `close()`; in the main thread."""
        serving.enter(self._host.key)
        while not self._ending.is_set():
            for number, event in self._poller.poll(0 if self._turns else None):
                caller = self._callers.get(number)
                if caller is None:
                    if number == self._wake_up.fileno():
                        self._welcome()
                elif caller.busy:
                    self._look_after(caller, event)
                elif not self._ending.is_set():
                    self._read(caller)
            for _ in range(len(self._turns)):
                if not self._ending.is_set():
                    self._take_turn(self._turns.popleft())
        self._free.set()
        self._say_goodbye()
        if self._close_is_mine.acquire(blocking=False):
            self._problem = _close(self._host.object)
            self._closed.set()

    def end(self, grace: float) -> BaseException | None:
        """Have `close()` run, once the method that runs has returned; from any other thread.

        Args:
            grace: Seconds that the method may take, and then `close()`.

        Returns:
            What `close()` raised, a `TimeoutError` if it didn't end, or None.
        """
        self._ending.set()
        self._ring()
        # A method that takes longer doesn't keep close() from running, in a thread of its own then.
        if not self._free.wait(grace) and self._close_is_mine.acquire(blocking=False):
            return self._host.close(grace)
        if not self._closed.wait(grace):
            return TimeoutError(f"close() took longer than {grace:g} s")
        return self._problem

    def _ring(self) -> None:
        try:
            self._bell.send(b"!")
        except OSError:
            return  # it has been rung often enough, or this is a forked child

    def _welcome(self) -> None:
        self._wake_up.recv(4096)
        while self._arrived:
            caller = SerialCaller(self._arrived.popleft())
            self._callers[caller.number] = caller
            self._poller.register(caller.number, select.POLLIN)

    def _read(self, caller: SerialCaller) -> None:
        try:
            frame = caller.reader.read()
        except BlockingIOError:
            return
        except (OSError, EOFError, MemoryError):
            self._drop(caller)
            return
        if frame is not None:
            self._answer(caller, frame)

    def _look_after(self, caller: SerialCaller, event: int) -> None:
        if caller.outbox is not None:
            self._send(caller, caller.outbox)
        elif event & select.POLLHUP:  # it doesn't want the rest of its stream
            self._drop(caller)

    def _take_turn(self, caller: SerialCaller) -> None:
        if caller.gone or caller.outbox is not None:
            return
        if caller.stream is not None:
            self._advance(caller, *caller.stream)
            return
        caller.busy = False
        try:
            frame = caller.reader.take()
        except (OSError, MemoryError):
            self._drop(caller)
            return
        if frame is not None:
            self._answer(caller, frame)

    def _answer(self, caller: SerialCaller, frame: Frame) -> None:
        request = frame.request
        try:
            method, args, kwargs = frame.take_content()
            check_method(self._host, method)
            result = getattr(self._host.object, method)(*args, **kwargs)
            # Gone before the answer tells the caller what it may use again.
            del args, kwargs
        except SystemExit as error:
            self._fail(caller, request, exit_refused(error))
        except BaseException as error:  # noqa: BLE001 - the caller's, whatever it is
            self._fail(caller, request, error)
        else:
            if frame.kind == wire.STREAM:
                self._begin(caller, request, result)
            else:
                self._reply(caller, request, wire.RESULT, result)

    def _begin(self, caller: SerialCaller, request: int, items: Any) -> None:
        try:
            # A decorator may have made a list of what the generator yields.
            caller.stream = request, items if hasattr(items, "__next__") else iter(items)
        except TypeError as error:
            self._fail(caller, request, error)
        else:
            self._go_on(caller)

    def _advance(self, caller: SerialCaller, request: int, items: Iterator[Any]) -> None:
        try:
            item = next(items, _END)
            if item is not _END:
                # What can't be sent ends the stream: its reader gets one error, the last thing.
                frame = wire.encode(request, wire.ITEM, item, caller.exchange)
                self._send(caller, frame)
                return
        except SystemExit as error:
            failure: BaseException | None = exit_refused(error)
        except BaseException as error:  # noqa: BLE001 - the caller's, whatever it is
            failure = error
        else:
            failure = None
        caller.stream = None
        close_generator(items)
        if failure is None:
            self._reply(caller, request, wire.END, None)
        else:
            self._fail(caller, request, failure)

    def _fail(self, caller: SerialCaller, request: int, error: BaseException) -> None:
        self._reply(caller, request, wire.ERROR, pack_error(error, dumps))

    def _reply(self, caller: SerialCaller, request: int, kind: int, content: Any) -> None:
        try:
            frame = wire.encode(request, kind, content, caller.exchange)
        except Exception as error:  # noqa: BLE001 - a result may refuse to be pickled in any way
            packed = pack_error(error, dumps)
            frame = wire.encode(request, wire.ERROR, packed, caller.exchange)
        self._send(caller, frame)

    def _send(self, caller: SerialCaller, frame: Encoded) -> None:
        if os.getpid() != self._pid:
            _leave_child(self._host.name)
        try:
            rest = wire.write(caller.connection, frame)
        except BlockingIOError:
            rest = frame if isinstance(frame, Outgoing) else Outgoing(frame)
        except OSError:
            wire.cancel(frame)
            self._drop(caller)
            return
        if rest is not caller.outbox:
            self._poller.modify(caller.number, select.POLLIN if rest is None else select.POLLOUT)
            caller.outbox = rest
        self._go_on(caller)

    def _go_on(self, caller: SerialCaller) -> None:
        """Have a caller queue for its next turn, if there is something to do for it."""
        if caller.outbox is not None:
            caller.busy = True
        elif caller.stream is not None or caller.reader.has_more:
            caller.busy = True
            self._turns.append(caller)
        else:
            caller.busy = False

    def _drop(self, caller: SerialCaller) -> None:
        self._poller.unregister(caller.number)
        del self._callers[caller.number]
        caller.close()

    def _say_goodbye(self) -> None:
        """Let the last answers leave, and close the sockets: who waits finds the service ended."""
        give_up = time.monotonic() + _LAST_WORDS
        for caller in list(self._callers.values()):
            while caller.outbox is not None and (left := give_up - time.monotonic()) > 0:
                caller.connection.settimeout(left)
                self._send(caller, caller.outbox)
            if not caller.gone:
                self._drop(caller)


def _close(service: Any) -> BaseException | None:
    closer = getattr(service, "close", None)
    if callable(closer):
        try:
            closer()
        except BaseException as error:  # noqa: BLE001 - reported to whoever ends the service
            return error
    return None


def _leave_child(name: str) -> None:
    """End a child that the service forked, and that has returned into this loop."""
    _log.error("a method of service %r returned in a forked child: os._exit() was missing", name)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
