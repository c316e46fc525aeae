"""What a program that may use the network must not reach with it: the host's thread, its keys."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from python_executor import Execution, PythonExecutorService, SandboxPolicy


@pytest.fixture(scope="module")
def executor() -> Iterator[PythonExecutorService]:
    policy = SandboxPolicy.with_network(strict=True)
    with PythonExecutorService(pool_size=2, timeout=30.0, sandbox=policy) as executor:
        yield executor


# A connection to itself with data that nobody reads, in the hands of the host alone, which closes
# what a message brings along. Closing it would last until the data are read, or ``LINGER``.
LINGER = 10
LINGERING = f"""
import array, os, socket, struct, time
server = socket.create_server(("127.0.0.1", 0))
server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
sender = socket.create_connection(server.getsockname())
receiver, _ = server.accept()
sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, {LINGER}))
sender.setblocking(False)
try:
    while True: sender.send(bytes(65536))
except BlockingIOError:
    pass
sender.setblocking(True)
with socket.socket(fileno=os.dup(255)) as control:
    files = array.array("i", [sender.fileno()])
    control.sendmsg([b"\\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
os.close(sender.detach())
time.sleep(100)
"""


def test_a_socket_sent_to_the_host_does_not_hold_it_up(executor: PythonExecutorService) -> None:
    start = time.monotonic()
    results = executor.execute_batch([Execution(LINGERING, 1.0), Execution("1 + 1", 1.0)])
    assert [result["status"] for result in results] == ["timeout", "ok"], results
    again = executor.execute(LINGERING, timeout=1.0)
    assert again["status"] == "timeout", again
    assert time.monotonic() - start < LINGER


# Protocols whose modules the kernel would load for a program: MPTCP, SCTP, DCCP, SMC, ICMP,
# UDP-Lite.
PROTOCOLS = """
import errno, socket
def told(*which):
    try: socket.socket(*which).close()
    except OSError as error: return errno.errorcode[error.errno]
inet = socket.AF_INET, socket.AF_INET6
(
    {told(f, k, p) for f in inet for k, ps in ((1, (0, 6)), (2, (0, 17))) for p in ps},
    {told(f, k, p) for f in inet for k in range(1, 7) for p in (1, 33, 58, 132, 136, 256, 262)},
)
"""


def test_tcp_and_udp_are_all_there_is(executor: PythonExecutorService) -> None:
    assert executor.execute(PROTOCOLS)["value"] == "({None}, {'EAFNOSUPPORT'})"


def test_certificates_can_be_read_and_keys_can_not(executor: PythonExecutorService) -> None:
    keys = [path for path in ("/etc/ssl/private", "/etc/pki/tls/private") if Path(path).is_dir()]
    code = f"""
import os, ssl
def told(path):
    try: return os.listdir(path)
    except PermissionError: return None
[told(path) for path in {keys!r}], len(ssl.create_default_context().get_ca_certs())
"""
    mine = len(ssl.create_default_context().get_ca_certs())
    assert executor.execute(code)["value"] == f"({[None for _ in keys]}, {mine})"
