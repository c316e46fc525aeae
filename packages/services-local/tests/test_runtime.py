"""The directory in which processes meet is private, or it is refused."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services_core import ServiceBase, ServiceExistsError, get_services
from services_core.testing.samples import Counter
from services_local import RuntimeDirectoryError
from services_local.runtime import RuntimeDirectory


def test_it_is_made_private(runtime_dir: Path) -> None:
    runtime = RuntimeDirectory.open(str(runtime_dir / "new"))
    assert stat.S_IMODE(runtime.root.stat().st_mode) == 0o700
    assert len(runtime.key()) == 32
    assert runtime.key() == RuntimeDirectory.open(str(runtime.root)).key()
    assert stat.S_IMODE((runtime.root / "key").stat().st_mode) == 0o600
    for name in ("key", "mutex"):
        (runtime.root / name).unlink()
    runtime.root.rmdir()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707, 0o777])
def test_one_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(RuntimeDirectoryError, match="others may enter"):
        get_services(backend="local", runtime_dir=str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_one_of_somebody_else_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(RuntimeDirectoryError, match="belongs to user 12345"):
        get_services(backend="local", runtime_dir=str(tmp_path))


def test_a_link_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(RuntimeDirectoryError, match="link"):
        get_services(backend="local", runtime_dir=str(tmp_path / "link"))


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeDirectoryError, match="too long"):
        get_services(backend="local", runtime_dir=str(tmp_path / ("x" * 100)))


@pytest.fixture
def services() -> Iterator[ServiceBase]:
    with get_services(backend="local", namespace="strangers") as opened:
        yield opened


@pytest.mark.parametrize("opening", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 32, b"\xff" * 1000])
def test_a_stranger_on_the_socket_is_turned_away(services: ServiceBase, opening: bytes) -> None:
    counter = services.register("counter", Counter)
    path = services.get("counter")._connection.native
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
        stranger.connect(path)
        stranger.settimeout(30)
        stranger.sendall(opening)
        if len(opening) >= 32:
            assert is_turned_away(stranger)
    assert counter.add() == 1


def test_one_that_knows_the_key_and_speaks_nonsense_harms_nobody(
    services: ServiceBase, runtime_dir: Path
) -> None:
    counter = services.register("counter", Counter)
    path = services.get("counter")._connection.native
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
        stranger.connect(path)
        stranger.sendall((runtime_dir / "key").read_bytes() + b"\0" * 8 + b"\xee" + b"\0" * 12)
        stranger.settimeout(30)
        assert is_turned_away(stranger)
    assert counter.add() == 1


def is_turned_away(stranger: socket.socket) -> bool:
    try:
        return stranger.recv(1) == b""
    except ConnectionResetError:  # closed with some of the stranger's bytes unread
        return True


def test_many_processes_that_register_one_name_get_one_winner(services: ServiceBase) -> None:
    source = """
from services_core import ServiceExistsError, get_services
from services_core.testing.samples import Counter
services = get_services(backend="local", namespace="strangers")
try:
    services.register("counter", Counter)
    print("won")
except ServiceExistsError:
    print("lost")
"""
    racers = [
        subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    outcomes = [racer.communicate()[0].strip() for racer in racers]
    assert sorted(outcomes) == ["lost"] * 7 + ["won"]
    assert services["counter"].add() == 1
    with pytest.raises(ServiceExistsError):
        services.register("counter", Counter)


def test_a_half_written_record_is_no_service(services: ServiceBase, runtime_dir: Path) -> None:
    paths = RuntimeDirectory(runtime_dir).service("strangers", "counter")
    paths.lock.parent.mkdir(exist_ok=True)
    paths.record.write_text('{"namespace": "stran')
    paths.lock.write_text('{"name": "cou')
    paths.socket("0" * 16).touch()
    assert "counter" not in services
    assert services.list() == []
    assert services.register("counter", Counter).add() == 1
