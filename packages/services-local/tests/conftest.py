"""A runtime directory for each test, and the proof that nothing is left in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services_core import Handle, ServiceBase, get_services
from services_local.channels import Channel
from services_local.handshake import Purpose

StartPython = Callable[[str], subprocess.Popen[str]]


@pytest.fixture(autouse=True)
def runtime_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A private directory with a short path; afterwards no service may have files or a process."""
    root = Path(tempfile.mkdtemp(prefix="slt-"))
    monkeypatch.setenv("SERVICES_LOCAL_DIR", str(root))
    try:
        yield root
        left = service_processes(root)
        assert not left, f"service processes are left: {left}"
        files = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
        assert set(files) <= {"key", "mutex"}, f"files are left: {files}"
    finally:
        shutil.rmtree(root)


@pytest.fixture
def services() -> Iterator[ServiceBase]:
    """An open namespace, whose services end with the test."""
    with get_services(backend="local", namespace="tests") as opened:
        yield opened


@pytest.fixture
def running_services(runtime_dir: Path) -> Callable[[], list[int]]:
    """Pids of the services of this test, as they are when it is called."""
    return lambda: service_processes(runtime_dir)


@pytest.fixture
def start_python() -> Iterator[StartPython]:
    """Starts Python programs, which say "ready" when they are; those that are left are killed."""
    started: list[subprocess.Popen[str]] = []

    def start(source: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def open_channel() -> Iterator[Callable[[Handle], Channel]]:
    """Connects to a service below its handle, for what a handle would never do."""
    opened: list[Channel] = []

    def connect(handle: Handle) -> Channel:
        opened.append(Channel(Path(handle._connection.native), Purpose.CALLS))
        return opened[-1]

    yield connect
    for channel in opened:
        channel.close()


def service_processes(root: Path) -> list[int]:
    """Processes of services whose runtime directory is `root`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if b"services_local.server" not in command and b"services_local.super" not in command:
                continue
            if os.fsencode(root) in (process / "environ").read_bytes():
                found.append(int(process.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return found
