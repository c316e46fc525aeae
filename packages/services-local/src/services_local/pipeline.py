"""One socket for many calls under way, and the thread that resolves their futures."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from services_core import ServiceDiedError
from services_core.remote_errors import unpack_error
from services_local import wire
from services_local.channels import Channel
from services_local.outbox import Outbox
from services_local.reading import Frame

Death = Callable[[Channel, BaseException], ServiceDiedError]
"""Makes the error of a call whose service died, from the socket and what it said."""


class Pipeline:
    """Calls that nobody waits for in turn.

    Args:
        channel: Its socket, which it closes in the end.
        name: The service's name.
        death: Makes the error of the calls that are under way when the service dies.
    """

    def __init__(self, channel: Channel, name: str, death: Death) -> None:
        self._channel = channel
        self._outbox = Outbox(channel.socket)
        self._death = death
        # Each with what must not be collected while somebody waits for the answer.
        self._pending: dict[int, tuple[Future[Any], object]] = {}
        self._requests = itertools.count(1)
        self._waiting = threading.Lock()
        self._cause: BaseException | None = None
        threading.Thread(target=self._read, name=f"service-{name}-replies", daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether it takes no more calls."""
        return self._cause is not None

    def submit(self, content: Any, keep: object) -> Future[Any]:
        """Start a call, and wait for nothing.

        Args:
            content: Method, arguments and keyword arguments.
            keep: What must not be collected before the answer is there.
        """
        future: Future[Any] = Future()
        # Sent is sent: it can't be cancelled any more.
        future.set_running_or_notify_cancel()
        request = next(self._requests)
        # What can't be pickled raises here, before anything was sent.
        frame = self._channel.encode(request, wire.SUBMIT, content)
        with self._waiting:
            if self._cause is not None:
                wire.cancel(frame)
                raise self._death(self._channel, self._cause) from self._cause
            self._pending[request] = future, keep
        try:
            # A service that is busy reads later: an event loop, say, must not wait for that.
            self._outbox.put(frame)
        except BaseException as error:
            # Interrupted in the middle of a frame: nothing that follows could be understood.
            self._end(error)
            self.close()
            raise
        return future

    def close(self) -> None:
        """End the thread; calls under way fail with `ServiceDiedError`."""
        self._channel.hang_up()

    def _read(self) -> None:
        try:
            while True:
                frame = self._channel.receive()
                with self._waiting:
                    future, _ = self._pending.pop(frame.request)
                _resolve(future, frame)
                del frame, future, _  # not kept while this waits for the next
        except Exception as error:  # noqa: BLE001 - whatever ends the thread ends its futures
            self._end(error)
        finally:
            self._channel.close()

    def _end(self, error: BaseException) -> None:
        with self._waiting:
            self._cause = self._cause or error
            pending = [future for future, _ in self._pending.values()]
            self._pending.clear()
        for future in pending:
            death = self._death(self._channel, error)
            death.__cause__ = error
            future.set_exception(death)


def _resolve(future: Future[Any], frame: Frame) -> None:
    try:
        content = frame.take_content()
    except Exception as error:  # noqa: BLE001 - what can't be rebuilt here is this call's error
        future.set_exception(error)
        return
    if frame.kind == wire.ERROR:
        future.set_exception(unpack_error(content))
    else:
        future.set_result(content)
