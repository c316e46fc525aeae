"""The process of one service.

    main thread        constructs the object, then waits for the end
    registrar thread   ends the process if its registrar is gone too early
    accept thread      lets callers in
    caller threads     one a caller: reads requests, runs them in the host, writes the answers

In the host (`services_core.hosting.ServiceHost`) each call takes its turn.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import Listener, answer_challenge, deliver_challenge

from own_backend.directory import Record
from own_backend.forks import close_in_forks
from services_core import ServiceSpec
from services_core.hosting import ServiceHost
from services_core.remote_errors import pack_error

# After close(): what Python does at exit (atexit, joining threads) may take this long, in seconds.
_EXIT_SECONDS = 2.0


class Server:
    """Serves one host at one path.

    Args:
        host: The service.
        path: Path of its socket.
        record: Its row.
    """

    def __init__(self, host: ServiceHost, path: str, record: Record) -> None:
        self._host = host
        self._record = record
        self._closing = threading.Lock()
        self._closed = False
        self.ended = threading.Event()
        # Without the key, which `accept` would ask for: one silent stranger would hold up all.
        self._listener = close_in_forks(Listener(path, backlog=128))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Run the service's `close()` once, and raise what it raised; a second caller waits."""
        with self._closing:
            if not self._closed:
                problem = self._host.close(self._record.close_timeout)
                self._closed = True
                if problem is not None:
                    raise problem

    def _accept(self) -> None:
        while True:
            try:
                pipe = close_in_forks(self._listener.accept())
                threading.Thread(target=self._serve, args=(pipe,), daemon=True).start()
            except (OSError, RuntimeError):  # a caller that gave up; no descriptor, no thread left
                time.sleep(0.01)

    def _serve(self, pipe: Pipe) -> None:
        # Of a stranger no pickle is read.
        with pipe, contextlib.suppress(EOFError, OSError, AuthenticationError):
            deliver_challenge(pipe, self._record.authkey)
            answer_challenge(pipe, self._record.authkey)
            while True:
                request = pipe.recv_bytes()
                try:
                    for answer in self._answers(request):
                        pipe.send_bytes(answer)
                finally:
                    if self._closed:  # only now that the answer is sent
                        self.ended.set()

    def _answers(self, request: bytes) -> Iterator[bytes]:
        try:
            kind, method, args, kwargs = pickle.loads(request)  # noqa: S301 - it knows the key
            if kind == "stop":
                self.close()
                yield pickle.dumps(("result", None))
            elif kind == "stream":
                for item in self._host.stream(method, args, kwargs):
                    yield pickle.dumps(("item", item))
                yield pickle.dumps(("end", None))
            else:
                yield pickle.dumps(("result", self._host.run(method, args, kwargs)))
        except GeneratorExit:  # the caller is gone
            raise
        except BaseException as error:  # noqa: BLE001 - the caller's, whatever it is
            yield pickle.dumps(("error", pack_error(error)))


def main() -> None:
    """Construct the service that the registrar has sent, and serve it until it is ended."""
    registrar = close_in_forks(Pipe(int(sys.argv[1])))
    lock = close_in_forks(os.fdopen(int(sys.argv[2]), "rb"))  # held until this process ends
    for passed in (registrar, lock):  # but not to programs that the service starts
        os.set_inheritable(passed.fileno(), False)  # noqa: FBT003 - it takes no keyword
    directory, record, bound, pickled = pickle.load(sys.stdin.buffer)  # noqa: S301 - registrar's
    servers: list[Server] = []
    threading.Thread(target=_mind, args=(registrar, bound, servers), daemon=True).start()
    try:
        spec: ServiceSpec = pickle.loads(pickled)  # noqa: S301 - as above
        host = ServiceHost(spec, record.key)
        servers.append(Server(host, str(directory.path(record, "sock")), record))
    except BaseException as error:
        registrar.send(pack_error(error))
        raise
    with contextlib.suppress(OSError):  # the registrar is gone: see `_mind`
        registrar.send(None)
    servers[0].ended.wait()
    # What Python does at exit may hang on the threads of the service.
    leaving = threading.Timer(2 * record.close_timeout + _EXIT_SECONDS, os._exit, (0,))
    leaving.daemon = True
    leaving.start()
    servers[0].close()  # unless a caller had it closed


def _mind(registrar: Pipe, bound: bool, servers: list[Server]) -> None:  # noqa: FBT001
    """End the process with its registrar: until it is published, or for ever if it is bound."""
    try:
        registrar.recv()  # it is published
        if bound:
            registrar.recv()  # nothing comes any more, but the end of the registrar
    except (EOFError, OSError):
        if not servers:
            os._exit(1)  # in the middle of the constructor
        servers[0].ended.set()
