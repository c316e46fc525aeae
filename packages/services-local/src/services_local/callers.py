"""Whose calls the main thread of a service runs (`services_local.serial`)."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from typing import Any

from services_local import door
from services_local.reading import Reader
from services_local.segments import Exchange
from services_local.wire import Outgoing

_log = logging.getLogger("services_local")


class SerialCaller:
    """Somebody who has been let in."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.number = connection.fileno()
        self.exchange = Exchange()
        self.reader = Reader(connection, self.exchange)
        # The request and the generator of a stream that is under way.
        self.stream: tuple[int, Iterator[Any]] | None = None
        # An answer that it hasn't read yet; until then it has no turn.
        self.outbox: Outgoing | None = None
        # Whether nothing is read of it, because there is something to do for it first.
        self.busy = False
        self.gone = False

    def close(self) -> None:
        """Close its socket, and let go of what was under way."""
        self.gone = True
        door.close(self.connection)
        self.reader.close()
        if self.outbox is not None:
            self.outbox.cancel()
        self.exchange.close()
        if self.stream is not None:
            close_generator(self.stream[1])


def close_generator(items: Iterator[Any]) -> None:
    """End a generator that is not read any further; its own errors are logged."""
    closer = getattr(items, "close", None)
    if callable(closer):
        try:
            closer()
        except BaseException as error:  # noqa: BLE001 - nobody is left who could be told
            _log.warning("a generator that was not read to its end failed: %r", error)
