"""Peers that are a process of the benchmark's own: raw `multiprocessing.connection`, a bare socket.

    this process                                spawned process
    pickle, sendall, recv, unpickle   <---->    recv, unpickle, pickle, sendall     bare_socket
    Client, send, recv                <---->    Listener, recv, getattr, send       raw_connection

Both are AF_UNIX stream sockets, as is the local backend's. The processes are spawned, since the
local backend's are new interpreters too, and end with this one, however it ends.
"""

from __future__ import annotations

import os
import pickle
import secrets
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, NamedTuple

from _registry.service import Echo

# Larger than any message of the bare round trip, so that one call reads a whole one.
_ENOUGH = 1 << 16

_EXIT_SECONDS = 3.0

_spawn = get_context("spawn")


class Peer(NamedTuple):
    """A service in a process of its own.

    Attributes:
        pid: The process.
        call: `call(method, *args, **kwargs)` waits and returns the value.
    """

    pid: int
    call: Callable[..., Any]


@contextmanager
def raw_connection() -> Iterator[Peer]:
    """A service behind `Listener` and `Client`."""
    key = secrets.token_bytes(32)
    ready, started = _spawn.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        address = str(Path(folder) / "service.sock")
        process = _spawn.Process(target=_listen, args=(address, key, started), daemon=True)
        process.start()
        started.close()
        try:
            assert process.pid is not None
            with ready:
                ready.recv()
            with Client(address, "AF_UNIX", authkey=key) as connection:

                def call(method: str, *args: Any, **kwargs: Any) -> Any:
                    connection.send((method, args, kwargs))
                    return connection.recv()

                yield Peer(process.pid, call)
        finally:
            _end(process)


@contextmanager
def bare_socket() -> Iterator[Peer]:
    """The least that a call over a socket can take."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    process = _spawn.Process(target=_echo, args=(theirs,), daemon=True)
    process.start()
    theirs.close()

    def call(method: str, *args: Any, **kwargs: Any) -> Any:
        ours.sendall(pickle.dumps((method, args, kwargs), protocol=5))
        return pickle.loads(ours.recv(_ENOUGH))  # noqa: S301 - our own process

    try:
        assert process.pid is not None
        with ours:
            yield Peer(process.pid, call)
    finally:
        _end(process)


def _listen(address: str, key: bytes, started: Connection) -> None:
    _belong_to_parent()
    service = Echo()
    with Listener(address, "AF_UNIX", authkey=key) as listener:
        started.send(None)
        with listener.accept() as connection, suppress(EOFError, ConnectionError):
            while True:
                method, args, kwargs = connection.recv()
                connection.send(getattr(service, method)(*args, **kwargs))


def _echo(connection: socket.socket) -> None:
    _belong_to_parent()
    with connection, suppress(ConnectionError):
        while data := connection.recv(_ENOUGH):
            _, args, _ = pickle.loads(data)  # noqa: S301 - from our own parent
            connection.sendall(pickle.dumps(args[0], protocol=5))


def _belong_to_parent() -> None:
    """End with the parent, even a killed one; Ctrl-C in the terminal is its business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(0)

    threading.Thread(target=follow, daemon=True).start()


def _end(process: Any) -> None:
    """Wait for a process whose socket was closed, which is its sign to end."""
    process.join(_EXIT_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    process.close()
