"""Several calls at a time: a thread for each caller, and those of the service's host.

    door's thread  --admitted sockets-->  a thread for each caller, which reads frames
                                            CALL, STREAM   run in that very thread
                                            SUBMIT         in a thread or the loop of the host
    main thread                           waits for the end

Each call takes its turn in `services_core.hosting.ServiceHost`.
"""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future
from functools import partial
from typing import Any

from services_core.hosting import ServiceHost
from services_core.remote_errors import pack_error
from services_local import door, wire
from services_local.life import check_method
from services_local.outbox import Outbox
from services_local.pickling import dumps
from services_local.reading import Frame, Reader
from services_local.segments import Exchange


class ThreadedCalls:
    """Runs the calls of a service in threads.

    Args:
        host: The service.
    """

    stuck = False

    def __init__(self, host: ServiceHost) -> None:
        self._host = host
        self._ended = threading.Event()

    def admit(self, caller: socket.socket) -> None:
        """Take the calls of somebody who has been let in; from any thread."""
        caller.setblocking(True)  # noqa: FBT003 - takes no keyword
        threading.Thread(
            target=_Caller(caller, self._host).serve, name="service-caller", daemon=True
        ).start()

    def run(self) -> None:
        """Wait until the service has ended; in the main thread."""
        self._ended.wait()

    def end(self, grace: float) -> BaseException | None:
        """Run `close()`; from any other thread.

        Args:
            grace: Seconds that it may take.

        Returns:
            What it raised, a `TimeoutError` if it didn't end, or None.
        """
        try:
            return self._host.close(grace)
        finally:
            self._ended.set()


class _Caller:
    """Somebody who has been let in.

    Args:
        connection: The socket.
        host: The service.
    """

    def __init__(self, connection: socket.socket, host: ServiceHost) -> None:
        self._connection = connection
        self._host = host
        self._exchange = Exchange()
        self._outbox = Outbox(connection)

    def serve(self) -> None:
        """Answer until the caller is gone."""
        reader = Reader(self._connection, self._exchange)
        try:
            while True:
                frame = (reader.take() if reader.has_more else None) or reader.read()
                if frame is not None:
                    self._answer(frame)
                    # One that doesn't read its answers gets no more of them.
                    self._outbox.wait()
        except (OSError, EOFError, MemoryError):
            pass  # it is gone, or speaks something else
        finally:
            door.close(self._connection)
            reader.close()
            self._exchange.close()

    def _answer(self, frame: Frame) -> None:
        request, kind = frame.request, frame.kind
        try:
            method, args, kwargs = frame.take_content()
            check_method(self._host, method)
            if kind == wire.SUBMIT:
                future = self._host.submit(method, args, kwargs)
                future.add_done_callback(partial(self._answer_later, request))
                return
            if kind == wire.STREAM:
                for item in self._host.stream(method, args, kwargs):
                    # What can't be sent ends the stream: its reader gets one error.
                    self._outbox.put(wire.encode(request, wire.ITEM, item, self._exchange))
                    self._outbox.wait()
                result = None
            else:
                result = self._host.run(method, args, kwargs)
            # Gone before the answer tells the caller what it may use again.
            del args, kwargs
        except BaseException as error:  # noqa: BLE001 - the caller's, whatever it is
            self._reply(request, wire.ERROR, pack_error(error, dumps))
        else:
            self._reply(request, wire.END if kind == wire.STREAM else wire.RESULT, result)

    def _answer_later(self, request: int, future: Future[Any]) -> None:
        """Answer in a thread or the loop of the host, which a caller must not hold up."""
        error = future.exception()
        if error is None:
            self._reply(request, wire.RESULT, future.result())
        else:
            self._reply(request, wire.ERROR, pack_error(error, dumps))

    def _reply(self, request: int, kind: int, content: Any) -> None:
        try:
            frame = wire.encode(request, kind, content, self._exchange)
        except Exception as error:  # noqa: BLE001 - a result may refuse to be pickled in any way
            packed = pack_error(error, dumps)
            frame = wire.encode(request, wire.ERROR, packed, self._exchange)
        self._outbox.put(frame)
