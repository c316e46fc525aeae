"""Every test proves that it leaves no process, descriptor, thread or temporary directory."""

from __future__ import annotations

import ctypes
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest

from python_executor import PersistentPythonProcess, PythonExecutorService, SandboxPolicy

PR_SET_CHILD_SUBREAPER = 36
# How long servers may take to be gone after a test (seconds); on a busy machine kills take a while.
PATIENCE = 20.0

Lent = TypeVar("Lent", PythonExecutorService, PersistentPythonProcess)


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


def _children(pid: int | str = "self") -> list[int]:
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ends just now
    return found


def _descendants(pid: int) -> list[int]:
    children = _children(pid)
    return children + [inner for child in children for inner in _descendants(child)]


def _wait(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


class Pools:
    """Pools that one test of a module uses after the other, as long as they are sound.

    Args:
        folder: where they have their directories; empty again when they are closed.
        marks: what `executor` and `families` may write to.
    """

    def __init__(self, folder: Path, marks: Path) -> None:
        self._folder = folder
        self.marks = marks
        self._pools: dict[str, PythonExecutorService | PersistentPythonProcess] = {}
        self._open: dict[str, int] = {}

    @property
    def roots(self) -> set[int]:
        """Pids of their servers, which are our children."""
        servers = (each._pool.server for each in self._pools.values())
        return {server.pid for server in servers if server is not None}

    @property
    def descriptors(self) -> int:
        """How many descriptors they hold."""
        return sum(self._open.values())

    @contextmanager
    def lend(self, kind: type[Lent], **options: Any) -> Iterator[Lent]:
        """Lend a pool to a test, which must leave no process and no session in it."""
        name = f"{kind.__name__} {sorted(options.items())}"
        if name not in self._pools:
            self._start(name, kind, options)
        lent = self._pools[name]
        assert isinstance(lent, kind)
        pool = lent._pool
        with ExitStack() as spoilt:
            spoilt.callback(self._close, name)
            yield lent
            for session in list(pool.sessions._by_name):  # those that are lost too
                pool.sessions.close(session)
            server = pool.server
            if server is None or pool.queue.closed or pool.restarts or pool.root_restarts:
                return  # what a test did to a server is nothing that another is to see
            assert (pool.queue.idle, pool.queue.pending) == (pool.size, 0)
            most = 2 * pool.size  # a server for each slot, and its next interpreter
            assert _wait(lambda: len(_descendants(server.pid)) <= most), _descendants(server.pid)
            spoilt.pop_all()

    def _start(self, name: str, kind: type[Lent], options: dict[str, Any]) -> None:
        before = len(_descriptors())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tempfile, "tempdir", str(self._folder))
            started = kind(**options)
        self._pools[name] = started
        for _ in range(2):  # by then every slot has opened what its next interpreter gets
            if isinstance(started, PythonExecutorService):
                started.execute_batch(["1"] * started._pool.size)
        self._open[name] = len(_descriptors()) - before

    def _close(self, name: str) -> None:
        with self._pools.pop(name):
            del self._open[name]

    def close(self) -> None:
        """Close them all; nothing is left of them."""
        with ExitStack() as stack:
            for name in list(self._pools):
                stack.callback(self._close, name)
        assert list(self._folder.iterdir()) == []


def _commands(pids: list[int]) -> list[str]:
    return [Path(f"/proc/{pid}/cmdline").read_text() for pid in pids]


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pools]:
    """The pools of a module, each started for the first test that asks for it."""
    pools = Pools(tmp_path_factory.mktemp("pools"), tmp_path_factory.mktemp("marks"))
    yield pools
    pools.close()


@pytest.fixture(autouse=True)
def temporary(
    pools: Pools, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The folder where pools make theirs; empty again at the end, as is everything else.

    What the module's shared pools hold may stay: they are looked at where they are lent.
    """
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    descriptors = _descriptors()
    before = len(descriptors) - pools.descriptors
    yield folder

    def childless() -> bool:
        """Reap what was left to us, which must end by itself."""
        left = set(_children()) - pools.roots
        for pid in left:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return not left

    assert _wait(childless), _commands(_children())
    assert list(folder.iterdir()) == []
    new = {name: what for name, what in _descriptors().items() if name not in descriptors}
    assert _wait(lambda: len(_descriptors()) - pools.descriptors <= before), new
    assert threading.active_count() == 1


@pytest.fixture
def process(pools: Pools) -> Iterator[PersistentPythonProcess]:
    """A process of which no cell has been asked yet."""
    with pools.lend(PersistentPythonProcess, timeout=30.0) as process:
        yield process


@pytest.fixture
def lend(pools: Pools) -> Callable[..., AbstractContextManager[PythonExecutorService]]:
    """Borrow a pool with these options; the tests of a module get the same one."""
    return partial(pools.lend, PythonExecutorService)


@pytest.fixture
def marks(pools: Pools) -> Path:
    """A folder of the test's own that programs of `executor` and `families` may write to."""
    return Path(tempfile.mkdtemp(dir=pools.marks))


@pytest.fixture
def executor(pools: Pools) -> Iterator[PythonExecutorService]:
    """A pool whose programs may leave marks in ``marks``."""
    policy = SandboxPolicy(write=[pools.marks], strict=True)
    with pools.lend(PythonExecutorService, pool_size=2, timeout=30.0, sandbox=policy) as executor:
        yield executor


@pytest.fixture
def strict(pools: Pools) -> Iterator[PythonExecutorService]:
    """A pool with all layers of the sandbox, and nothing granted."""
    with pools.lend(PythonExecutorService, pool_size=2, timeout=30.0, sandbox="strict") as pool:
        yield pool


@pytest.fixture
def trusting(pools: Pools) -> Iterator[PythonExecutorService]:
    """A pool without a sandbox: its programs can do what the executor must survive anyway."""
    with pools.lend(PythonExecutorService, pool_size=2, timeout=30.0, sandbox="off") as executor:
        yield executor


@pytest.fixture(params=["off", "policy"])
def families(request: pytest.FixtureRequest, pools: Pools) -> Iterator[PythonExecutorService]:
    """A pool whose programs may start processes, and write to ``marks``."""
    policy = SandboxPolicy.with_processes(processes=100, write=[pools.marks], strict=True)
    sandbox: Literal["off"] | SandboxPolicy = "off" if request.param == "off" else policy
    with pools.lend(PythonExecutorService, pool_size=2, timeout=30.0, sandbox=sandbox) as executor:
        yield executor


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Wait until something holds that nothing announces; fails if it never does."""

    def wait(holds: Callable[[], bool]) -> None:
        assert _wait(holds), "it never came to hold"

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
