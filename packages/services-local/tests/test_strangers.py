"""Whoever connects to a service: strangers are turned away, nonsense ends its own connection."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from services_core import Handle, ServiceBase
from services_core.testing.observing import eventually
from services_core.testing.samples import Counter
from services_local import wire
from services_local.channels import Channel

HEADER = struct.Struct("!QBBHQ")
SEGMENT = struct.Struct("!QQ")


@pytest.fixture
def counter(services: ServiceBase) -> Handle:
    class Watched(Counter):
        def open_files(self) -> int:
            return sum(1 for _ in Path("/proc/self/fd").iterdir())

    return services.register("counter", Watched)


def connect(counter: Handle) -> socket.socket:
    stranger = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stranger.settimeout(30)
    stranger.connect(counter._connection.native)
    return stranger


def is_turned_away(stranger: socket.socket) -> bool:
    try:
        return stranger.recv(1) == b""
    except ConnectionResetError:  # closed with some of the stranger's bytes unread
        return True


def test_a_stranger_is_turned_away(counter: Handle) -> None:
    for opening in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 33, b"\xff" * 1000):
        with connect(counter) as stranger:
            stranger.sendall(opening)
            if len(opening) >= 33:
                assert is_turned_away(stranger)
            assert counter.add(0) == 0


def test_one_that_knows_the_key_and_has_come_for_nothing_is_turned_away(
    counter: Handle, runtime_dir: Path
) -> None:
    with connect(counter) as stranger:
        stranger.sendall((runtime_dir / "key").read_bytes() + b"?")
        assert is_turned_away(stranger)
    assert counter.add() == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_is_turned_away(counter: Handle, runtime_dir: Path) -> None:
    path = Path(counter._connection.native)
    key = (runtime_dir / "key").read_bytes()
    for each, mode in ((runtime_dir, 0o711), (path.parent, 0o711), (path, 0o777)):
        each.chmod(mode)  # so that nothing but the peer's user id is in the way
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgid(12345)
            os.setuid(12345)
            with connect(counter) as stranger:
                stranger.sendall(key + b"c")
                code = 0 if is_turned_away(stranger) else 2
        except BrokenPipeError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    runtime_dir.chmod(0o700)
    assert counter.add() == 1


def test_a_flood_of_strangers_keeps_nobody_out(counter: Handle) -> None:
    files = counter.open_files()
    flood = [connect(counter) for _ in range(300)]
    for number, stranger in enumerate(flood):
        if number % 2:
            stranger.send(b"half a key")
    assert counter.add() == 1
    assert counter.add.submit().result(30) == 2
    # The oldest have had to make room for the others.
    assert is_turned_away(flood[0])
    for stranger in flood:
        stranger.close()
    assert eventually(lambda: counter.open_files() <= files + 1)


def test_a_flood_of_callers_keeps_nobody_out(
    counter: Handle, open_channel: Callable[[Handle], Channel]
) -> None:
    files = counter.open_files()
    flood = [open_channel(counter) for _ in range(200)]
    for channel in flood:
        channel.socket.send(b"\0" * 5)
    assert counter.add() == 1
    assert counter.add.submit().result(30) == 2
    for channel in flood:
        channel.close()
    assert eventually(lambda: counter.open_files() <= files + 1)


NONSENSE = [
    HEADER.pack(1, 0xEE, 0, 0, 10),
    HEADER.pack(1, wire.CALL, 255, 0, 10),
    HEADER.pack(1, wire.CALL, 0, 0xFFFF, 10),
    HEADER.pack(1, wire.CALL, 0, 0, 2**64 - 1),
    HEADER.pack(1, wire.CALL, 0, 0, 0),
    HEADER.pack(1, wire.CALL, 0, 1, 5) + struct.pack("!Q", 7) + b"12345",
    HEADER.pack(1, wire.CALL, 1, 0, 5) + SEGMENT.pack(2**63, 1) + b"12345",
]


@pytest.mark.parametrize("concurrency", [1, 2])
def test_nonsense_ends_its_own_connection(
    services: ServiceBase, open_channel: Callable[[Handle], Channel], concurrency: int
) -> None:
    counter = services.register("counter", Counter, max_concurrency=concurrency)
    for frame in NONSENSE:
        hostile = open_channel(counter)
        hostile.socket.sendall(frame)
        assert is_turned_away(hostile.socket)
        assert counter.add(0) == 0
    channel = open_channel(counter)
    for _ in range(2):  # what can't be unpickled is a call that fails
        channel.socket.sendall(HEADER.pack(1, wire.CALL, 0, 0, 5) + b"12345")
        assert channel.receive().kind == wire.ERROR


def test_a_length_is_not_believed_before_the_bytes_have_come(
    counter: Handle, open_channel: Callable[[Handle], Channel]
) -> None:
    channels = [open_channel(counter) for _ in range(20)]
    for channel in channels:
        channel.socket.sendall(HEADER.pack(1, wire.CALL, 0, 0, 2**41) + b"x" * 1000)
    assert counter.add() == 1


def memfd(size: int, *, sealed: bool) -> int:
    descriptor = os.memfd_create("hostile", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    if sealed:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return descriptor


def test_descriptors_that_are_no_segments_are_closed(
    counter: Handle, open_channel: Callable[[Handle], Channel]
) -> None:
    counter.add(0)
    files = counter.open_files()
    frame = HEADER.pack(1, wire.CALL, 1, 0, 5) + SEGMENT.pack(4096, 0) + b"12345"
    sealed = memfd(4096, sealed=True)
    for what, data, descriptors in (
        ("no memfd", frame, list(os.pipe())),
        ("short", frame, [memfd(100, sealed=True)] * 10),
        ("not sealed", frame, [memfd(4096, sealed=False)] * 10),
        ("too many", frame, [sealed] * 60),
        ("unasked", b"\0", [sealed] * 10),  # with the beginning of a frame that never comes
    ):
        hostile = open_channel(counter)
        try:
            for _ in range(4):
                socket.send_fds(hostile.socket, [data], descriptors)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has had enough
        finally:
            for descriptor in {*descriptors} - {sealed}:
                os.close(descriptor)
        assert is_turned_away(hostile.socket), what
        hostile.close()
        assert eventually(lambda: counter.open_files() == files), what
    os.close(sealed)
    assert counter.add() == 1
