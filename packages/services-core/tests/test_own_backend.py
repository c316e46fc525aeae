"""The backend of the page "Write your own backend" keeps what every backend promises."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from services_core import ServiceBase, ServiceExistsError, get_services, native
from services_core.testing import Capability, RegistryConformance
from services_core.testing.conformance import OpenRegistry
from services_core.testing.observing import eventually
from services_core.testing.samples import Counter, Gated, wait_for_file

# It isn't installed; its services and the workers of the tests get the path as part of `sys.path`.
sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "services"))
own_backend: Any = importlib.import_module("own_backend")

T = TypeVar("T")

_WORKER = """
import json, pickle, sys
sys.path[:] = json.loads(sys.stdin.buffer.readline())
function, args = pickle.load(sys.stdin.buffer)
sys.stdout.buffer.write(pickle.dumps(function(*args)))
"""

# By its environment a service process is told from those of another run.
_MARK = "OWN_BACKEND_TESTS"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def root() -> Iterator[Path]:
    """A directory with a short path: a socket's may have 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="own-"))
    yield path
    for thread in threading.enumerate():  # they look for the clients of owners now and then
        if thread.name == "services-owner":
            thread.join(10)
    shutil.rmtree(path)


@pytest.fixture
def directory(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of this test's services; afterwards none may have files or a process."""
    path = root / str(next(_numbers))
    monkeypatch.setenv(_MARK, str(path))
    yield path
    assert eventually(lambda: not _service_processes(path), 5)
    left = {entry.name for entry in path.iterdir()}
    assert left <= {"services.sqlite"}, f"files are left: {left}"


def run_in_process(function: Callable[..., T], *args: Any) -> T:
    """Run a function in a process that has nothing of this one but the path to the code."""
    path = json.dumps(sys.path).encode() + b"\n"
    done = subprocess.run(
        [sys.executable, "-c", _WORKER],
        input=path + pickle.dumps((function, args)),
        stdout=subprocess.PIPE,
        check=True,
    )
    result: T = pickle.loads(done.stdout)
    return result


class TestSqliteService(RegistryConformance):
    capabilities = frozenset({Capability.PROCESSES, Capability.START_TIMEOUT})

    def run_in_worker(self, function: Callable[..., T], *args: Any) -> T:
        return run_in_process(function, *args)

    @pytest.fixture
    def open_registry(self, directory: Path) -> Iterator[OpenRegistry]:
        opened: list[ServiceBase] = []

        def open_one(namespace: str) -> ServiceBase:
            opened.append(own_backend.SqliteService(namespace, directory=directory))
            return opened[-1]

        yield open_one
        for services in opened:
            services.shutdown()


def test_all_that_it_lacks_are_restarts() -> None:
    lacking = frozenset(Capability) - TestSqliteService.capabilities
    assert lacking == {Capability.RESTARTS}


def test_an_entry_point_makes_it_a_backend_like_any_other(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    information = tmp_path / "services_sqlite-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: services-sqlite\n")
    (information / "entry_points.txt").write_text(
        "[services_core.backends]\nsqlite = own_backend:SqliteService\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with get_services(backend="sqlite", namespace="found", directory=directory) as services:
        assert services.register("counter", Counter).add() == 1


def test_a_registrar_that_is_killed_leaves_no_name_taken(directory: Path, tmp_path: Path) -> None:
    entered = str(tmp_path / "entered")
    with own_backend.SqliteService(directory=directory) as services:
        call = services.register, ("gated", Gated, str(tmp_path / "never"), entered)
        with subprocess.Popen([sys.executable, "-c", _WORKER], stdin=subprocess.PIPE) as registrar:
            assert registrar.stdin is not None
            registrar.stdin.write(json.dumps(sys.path).encode() + b"\n" + pickle.dumps(call))
            registrar.stdin.close()
            try:
                wait_for_file(entered)
                with pytest.raises(ServiceExistsError):
                    services.register("gated", Counter)
            finally:
                registrar.kill()
        assert eventually(lambda: services._names(starting=True) == [])
        assert services.register("gated", Counter).add() == 1


def test_strangers_on_the_socket_hold_up_nobody(directory: Path) -> None:
    with own_backend.SqliteService(directory=directory) as services:
        counter = services.register("counter", Counter)
        for greeting in (b"", b"\0\0\0\4oops", b"\x7f\xff\xff\xff"):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.connect(native(counter))
                stranger.sendall(greeting)
                assert services["counter"].add.options(timeout=10)() > 0


def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="0700"):
        own_backend.SqliteService(directory=tmp_path)


def test_the_page_speaks_of_the_suite_as_it_is() -> None:
    page = (Path(__file__).parents[3] / "docs" / "write-your-own-backend.md").read_text("utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    assert named
    assert {name for name in named if not hasattr(RegistryConformance, name)} == set()
    assert {f"`{capability.name}`" for capability in Capability} <= set(
        re.findall("`[A-Z_]+`", page)
    )


def _service_processes(directory: Path) -> list[int]:
    """Processes, services and others, that were started for a test and still run."""
    mark = os.fsencode(f"{_MARK}={directory}\0")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int(process.name) != os.getpid() and mark in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue  # it ended meanwhile, or is somebody else's
    return found
