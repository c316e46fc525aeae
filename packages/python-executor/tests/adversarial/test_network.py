"""Sockets of every kind: to the network, to the host's services, to the kernel."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ._arena import VARIANTS, Arena
from ._host import Hoard


@pytest.fixture(scope="module", params=VARIANTS)
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    with Arena(namespaces=request.param) as arena:
        yield arena


REFUSED = {"EPERM", "EACCES", "EAFNOSUPPORT", "ENOSYS"}

KINDS = {
    "TCP": "socket.AF_INET, socket.SOCK_STREAM",
    "TCP, version 6": "socket.AF_INET6, socket.SOCK_STREAM",
    "TCP of several paths": "socket.AF_INET, socket.SOCK_STREAM, 262",
    "UDP": "socket.AF_INET, socket.SOCK_DGRAM",
    "UDP, version 6": "socket.AF_INET6, socket.SOCK_DGRAM",
    "ping": "socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP",
    "SCTP": "socket.AF_INET, socket.SOCK_SEQPACKET, 132",
    "SMC": "43, socket.SOCK_STREAM",
    "raw": "socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW",
    "packets": "socket.AF_PACKET, socket.SOCK_RAW",
    "Unix": "socket.AF_UNIX, socket.SOCK_STREAM",
    "Unix datagrams": "socket.AF_UNIX, socket.SOCK_DGRAM",
    "Unix packets": "socket.AF_UNIX, socket.SOCK_SEQPACKET",
    "netlink": "socket.AF_NETLINK, socket.SOCK_RAW, 0",
    "audit": "socket.AF_NETLINK, socket.SOCK_RAW, 9",
    "kernel events": "socket.AF_NETLINK, socket.SOCK_DGRAM, 15",
    "machine": "socket.AF_VSOCK, socket.SOCK_STREAM",
    "cipher": "socket.AF_ALG, socket.SOCK_SEQPACKET",
    "bus": "socket.AF_CAN, socket.SOCK_RAW",
    "bluetooth": "31, socket.SOCK_RAW",
    "express data path": "44, socket.SOCK_RAW",
    "telephony": "35, socket.SOCK_DGRAM",
    "keys": "15, socket.SOCK_RAW",
    "RPC": "30, socket.SOCK_SEQPACKET",
    "unknown": "99, socket.SOCK_STREAM",
}


@pytest.mark.parametrize("name", KINDS)
def test_no_socket_can_be_made(arena: Arena, name: str) -> None:
    code = f"import socket\nr = told(socket.socket, {KINDS[name]})\nr if isinstance(r, str) else 'made'"
    assert arena.seen(code) in REFUSED


PAIRS = ["SOCK_DGRAM", "SOCK_SEQPACKET", "SOCK_RAW"]


@pytest.mark.parametrize("kind", PAIRS)
def test_no_pair_that_could_send_elsewhere_can_be_made(arena: Arena, kind: str) -> None:
    code = f"import socket\nr = told(socket.socketpair, socket.AF_UNIX, socket.{kind})\nisinstance(r, str) and r"
    assert arena.seen(code) in REFUSED | {"ESOCKTNOSUPPORT"}


def test_a_stream_pair_works_and_leads_nowhere_else(arena: Arena, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as service:
        service.bind("\0python-executor-attack")
        service.listen()
        code = """
import socket
a, b = socket.socketpair()
a.sendall(b"x"); received = b.recv(9)
NAME = b"\\1\\0\\0python-executor-attack"
[received] + [
    told(f) for f in (
        lambda: a.sendto(b"x", "\\0python-executor-attack"), lambda: a.connect("\\0python-executor-attack"),
        lambda: a.bind("\\0python-executor-attack2"), lambda: a.bind("here"), lambda: a.listen(),
        lambda: a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 ** 30),
        lambda: a.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, b"\\1\\0\\0\\0")]),
        lambda: call("connect", a.fileno(), NAME, len(NAME)),
        lambda: call("sendto", a.fileno(), b"x", 1, 0, NAME, len(NAME)),
    )
]
"""
        received, *refused = arena.seen(code)
    assert received == b"x"
    assert set(refused) <= REFUSED | {"EISCONN", "EOPNOTSUPP"}


def test_asyncio_works_without_a_network(arena: Arena) -> None:
    code = """
import asyncio
async def main():
    await asyncio.sleep(0)
    return await asyncio.to_thread(sum, range(10))
asyncio.run(main())
"""
    assert arena.seen(code) == 45


@pytest.fixture
def listeners() -> Iterator[tuple[int, int, str]]:
    """Services of the host: a TCP port, a UDP port and the name of an abstract socket."""
    tcp = socket.create_server(("127.0.0.1", 0))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    name = f"python-executor-attack-{tcp.getsockname()[1]}"
    abstract = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    abstract.bind("\0" + name)
    abstract.listen()
    for sock in (tcp, udp, abstract):
        sock.setblocking(False)
    yield tcp.getsockname()[1], udp.getsockname()[1], name
    for sock in (tcp, abstract):
        with pytest.raises(BlockingIOError):
            sock.accept()
    with pytest.raises(BlockingIOError):
        udp.recv(9)
    for sock in (tcp, udp, abstract):
        sock.close()


def test_the_hosts_services_hear_nothing(arena: Arena, listeners: tuple[int, int, str]) -> None:
    tcp, udp, name = listeners
    with Hoard() as hoard, socket.socket(socket.AF_UNIX) as named:
        named.bind(str(hoard.path / "socket"))
        named.listen()
        code = f"""
import asyncio, socket, urllib.request
def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s: s.sendto(b"x", ("127.0.0.1", {udp}))
def unix(address):
    with socket.socket(socket.AF_UNIX) as s: s.connect(address)
[
    told(f) for f in (
        lambda: socket.create_connection(("127.0.0.1", {tcp}), 1), udp,
        lambda: urllib.request.urlopen("http://127.0.0.1:{tcp}/", timeout=1),
        lambda: unix("\\0{name}"), lambda: unix({str(hoard.path / "socket")!r}),
        lambda: socket.getaddrinfo("example.org", 80), lambda: socket.gethostbyname("localhost."),
        lambda: asyncio.run(asyncio.open_connection("127.0.0.1", {tcp})),
        lambda: socket.create_server(("127.0.0.1", 0)), lambda: socket.if_nameindex(),
    )
]
"""
        seen = arena.seen(code)
    # Names are looked up without a socket first, and so may fail to be found.
    names = {"gaierror", "EAI", "URLError", "herror"}
    refused = REFUSED | names
    assert [got for got in seen if not isinstance(got, str) or got not in refused] == []


def test_names_are_not_looked_up(arena: Arena) -> None:
    code = "import socket\nsocket.getaddrinfo('python-executor.invalid', 80)"
    result = arena.attack(code)
    assert result["error"] is not None
    assert result["error"]["type"] in ("socket.gaierror", "PermissionError")


def test_the_program_brings_no_socket_but_the_protocols(arena: Arena) -> None:
    code = """
import stat
sockets = []
for number in range(1024):
    try:
        if stat.S_ISSOCK(os.fstat(number).st_mode): sockets.append(number)
    except OSError: pass
len(sockets)
"""
    assert arena.seen(code) == 1


def test_who_is_at_the_protocols_other_end_can_not_be_used(arena: Arena) -> None:
    # SO_PEERPIDFD gives a descriptor of the host's process.
    code = """
import socket, struct
sock = socket.socket(fileno=os.dup(control()))
pidfd = told(lambda: struct.unpack("i", sock.getsockopt(socket.SOL_SOCKET, 77, 4))[0])
if isinstance(pidfd, str): used = ["EPERM"]
else:
    used = [
        call("pidfd_send_signal", pidfd, 0, 0, 0), call("pidfd_getfd", pidfd, 0, 0),
        call("setns", pidfd, 0), call("process_madvise", pidfd, 0, 0, 20, 0),
        call("process_mrelease", pidfd, 0), call("ioctl", pidfd, 0xFF01, 0),
        told(os.waitid, os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG),
    ]
used
"""
    assert set(arena.seen(code)) <= {"EPERM", "ENOSYS", "ENOTTY", "ECHILD", "ENOTSUP", "EBADF"}
