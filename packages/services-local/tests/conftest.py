"""A runtime directory for each test, and the proof that nothing is left in it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


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
def running_services(runtime_dir: Path) -> Callable[[], list[int]]:
    """Pids of the services of this test, as they are when it is called."""
    return lambda: service_processes(runtime_dir)


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
