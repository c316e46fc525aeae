"""Every test proves that it leaves no process, descriptor, thread or temporary directory."""

from __future__ import annotations

import ctypes
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from python_executor import PythonExecutorService, SandboxPolicy

PR_SET_CHILD_SUBREAPER = 36
# How long servers may take to be gone after a test (seconds); on a busy machine kills take a while.
PATIENCE = 20.0


@pytest.fixture(scope="session", autouse=True)
def _heed_interrupts() -> None:
    """Take SIGINT as a terminal's process does, also where a shell started us in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _adopt_orphans() -> None:
    """Become the parent of whatever outlives its server: a leak shows as a child of ours."""
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def _descriptors() -> dict[str, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[entry.name] = str(entry.readlink())
        except FileNotFoundError:
            continue  # the listing's own
    return found


def _children() -> list[str]:
    return [
        pid
        for task in Path("/proc/self/task").iterdir()
        for pid in (task / "children").read_text().split()
    ]


def _wait_childless() -> list[str]:
    """Reap what was left to us, which must end by itself; returns what doesn't."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return []
        if not pid:
            time.sleep(0.005)
    return _children()


@pytest.fixture(autouse=True)
def temporary(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The folder where pools make theirs; empty again at the end, as is everything else."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    descriptors = _descriptors()
    yield folder
    left = _wait_childless()
    assert not left, [Path(f"/proc/{pid}/cmdline").read_text() for pid in left]
    assert list(folder.iterdir()) == []
    new = {name: what for name, what in _descriptors().items() if name not in descriptors}
    assert not new
    assert threading.active_count() == 1


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[PythonExecutorService]:
    """A pool whose programs may leave marks in ``tmp_path``."""
    policy = SandboxPolicy(write=[tmp_path], strict=True)
    with PythonExecutorService(pool_size=2, timeout=30.0, sandbox=policy) as executor:
        yield executor


@pytest.fixture
def strict() -> Iterator[PythonExecutorService]:
    """A pool with all layers of the sandbox, and nothing granted."""
    with PythonExecutorService(pool_size=2, timeout=30.0, sandbox="strict") as pool:
        yield pool


@pytest.fixture
def trusting() -> Iterator[PythonExecutorService]:
    """A pool without a sandbox: its programs can do what the executor must survive anyway."""
    with PythonExecutorService(pool_size=2, timeout=30.0, sandbox="off") as executor:
        yield executor


@pytest.fixture(params=["off", "policy"])
def families(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PythonExecutorService]:
    """A pool whose programs may start processes, and write to ``tmp_path``."""
    policy = SandboxPolicy.with_processes(processes=100, write=[tmp_path], strict=True)
    sandbox: Literal["off"] | SandboxPolicy = "off" if request.param == "off" else policy
    with PythonExecutorService(pool_size=2, timeout=30.0, sandbox=sandbox) as executor:
        yield executor


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Wait until something holds that nothing announces; fails if it never does."""

    def wait(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, "it never came to hold"
            time.sleep(0.002)

    return wait


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """Whether a process is there and no zombie."""

    def look(pid: int) -> bool:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return stat.rpartition(")")[2].split()[0] not in "ZX"

    return look
