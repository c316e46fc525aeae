"""A pool under attack, and the look at what an attack left behind."""

from __future__ import annotations

import ast
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest

from python_executor import Execution, ExecutionResult, PythonExecutorService
from python_executor._child.interpreter import CONTROL

from ._host import SHARED, state_of_host
from ._programs import whole

# How long what must come to hold may take (seconds): on a busy machine kills take a while.
PATIENCE = 20.0
# Of an attack that should end by itself (seconds).
TIMEOUT = 20.0
# With the namespaces that this machine permits, and with none, as in most containers.
VARIANTS = [pytest.param(True, id="namespaces"), pytest.param(False, id="none")]
# What every program must find, and nothing else, whatever ran before it.
_PRISTINE = """
import os
print("served")
try: beside = os.listdir("..")
except OSError: beside = ["unseen"]
os.listdir("."), len(beside), sum(range(10)), "dirt" in globals()
"""


class Arena:
    """A pool of programs that attack it.

    Args:
        pool_size: how many run at a time.
        namespaces: whether the sandbox may use namespaces.
        options: for the service. The sandbox is strict unless they say otherwise.

    Attributes:
        executor: the pool.
        inner_directory: where slots have their directories, as programs see it.
    """

    def __init__(self, pool_size: int = 2, *, namespaces: bool = True, **options: Any) -> None:
        self._size = pool_size
        self._namespaces = namespaces
        self._options = {"sandbox": "strict"} | options
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack as stack:
            before = _descriptors(), set(children_of(os.getpid())), threading.active_count()
            stack.callback(_assert_as_before, *before)
            self._folder = Path(tempfile.mkdtemp(prefix="arena-", dir=SHARED))
            stack.callback(shutil.rmtree, self._folder)
            self._folder.chmod(0o755)  # what protects it is the sandbox, not its mode
            stack.callback(self._assert_nothing_left)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(tempfile, "tempdir", str(self._folder))
                patch.setenv("PYTHON_EXECUTOR_NAMESPACES", "1" if self._namespaces else "0")
                self.executor = PythonExecutorService(self._size, TIMEOUT, **self._options)
            stack.callback(self.executor.close)
            self.inner_directory = self._ask(
                "import os; os.path.dirname(os.path.dirname(os.getcwd()))"
            )
            self._serve()
            self._serve()  # by now every slot has opened what its next interpreter gets
            self.note()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _assert_nothing_left(self) -> None:
        assert list(self._folder.iterdir()) == []

    @property
    def root(self) -> int:
        """Pid of the root server."""
        pid = self.executor.info()["server"]
        assert pid is not None
        return pid

    @property
    def servers(self) -> list[int]:
        """Pids of the slot servers."""
        return children_of(self.root)

    @property
    def directory(self) -> Path:
        """Where slots have their directories: perhaps in mounts that the servers alone see."""
        return Path(f"/proc/{self.root}/root{self.inner_directory}")

    def note(self) -> None:
        """Remember how the host is now, before an attack."""
        self._state = state_of_host()
        self._open = len(_descriptors())
        self._active = threading.active_count()
        self._restarts = self.executor.stats()["restarts"]

    def attack(self, code: str, *, timeout: float = TIMEOUT, **options: Any) -> ExecutionResult:
        """Run an attack, see that it left nothing, and return what came of it."""
        self.note()
        result = self.executor.execute(whole(code), timeout=timeout, **options)
        self.assert_unharmed()
        return result

    def seen(self, code: str, *, timeout: float = TIMEOUT, **options: Any) -> Any:
        """Run an attack that ends well; return what its last expression told."""
        result = self.attack(code, timeout=timeout, **options)
        assert result["status"] == "ok", result
        assert result["value"] is not None, result
        return ast.literal_eval(result["value"])

    def attack_all(
        self, codes: Sequence[str], *, timeout: float = TIMEOUT
    ) -> list[ExecutionResult]:
        """Run attacks in parallel, see that they left nothing, and return what came of them."""
        executions = [Execution(whole(code), timeout) for code in codes]
        self.note()
        results = self.executor.execute_batch(executions)
        self.assert_unharmed()
        return results

    def attack_in_sessions(
        self,
        codes: Sequence[str],
        *,
        timeout: float = TIMEOUT,
        apart: bool = False,
        serve: bool = True,
        alone: bool = True,
        control: int = CONTROL,
    ) -> list[ExecutionResult]:
        """Run attacks as cells, see that they left nothing, and return what came of them.

        Args:
            codes: the attacks.
            timeout: of each, in seconds.
            apart: whether each has a session of its own; otherwise a few share one, one after the
                other.
            serve: whether the sessions must serve afterwards, from whatever state.
            alone: whether there are no other sessions, and no server may have been replaced.
            control: which descriptor they take for the protocol's.
        """
        count = len(codes) if apart else self._size
        names = [f"attack-{number % count}" for number in range(len(codes))]
        self.note()
        results = self.executor.execute_batch(
            [
                Execution(whole(code, control), timeout, session=name)
                for code, name in zip(codes, names, strict=True)
            ]
        )
        names = list(dict.fromkeys(names))
        if serve:
            after = [Execution("6 * 7", PATIENCE, session=name) for name in names]
            self.executor.execute_batch(after)  # what a cell leaves running may spoil this one too
            served = dict(zip(names, self.executor.execute_batch(after), strict=True))
            assert {name: each for name, each in served.items() if each["value"] != "42"} == {}
        for name in names:
            assert self.executor.close_session(name)
        if alone:
            self.assert_unharmed()
        return results

    def assert_unharmed(self) -> None:
        """Fail if the pool doesn't serve, or if anything is left or changed on the host."""
        self._serve()
        until(lambda: self._processes() == self._size)
        until(lambda: len(_descriptors()) == self._open)
        # One empty home each: those of programs that ended are removed, the next ones' are made.
        until(lambda: [_entries(home) for home in self._homes()] == [[]] * self._size)
        assert threading.active_count() == self._active
        assert state_of_host() == self._state
        assert self.executor.stats()["restarts"] == self._restarts

    def _homes(self) -> list[str]:
        """Everything in the slots' directories."""
        slots = (f"{self.directory}/{slot}" for slot in _entries(str(self.directory)))
        return [f"{slot}/{name}" for slot in slots for name in _entries(slot)]

    def _ask(self, code: str) -> Any:
        value = self.executor.execute(code)["value"]
        assert value is not None
        return ast.literal_eval(value)

    def _serve(self) -> None:
        """Every slot runs a program, and runs it right."""
        results = self.executor.execute_batch([Execution(_PRISTINE, PATIENCE)] * self._size)
        for result in results:
            assert (result["status"], result["stdout"], result["stderr"]) == ("ok", "served\n", "")
            assert result["value"] == "([], 1, 45, False)"

    def _processes(self) -> int:
        """How many processes there are beside the servers; one of each slot is as it should be."""
        servers = self.servers
        if len(servers) != self._size:
            return -1
        return sum(len(descendants_of(server)) for server in servers)


def children_of(pid: int) -> list[int]:
    """Pids of the children of a process's threads, zombies too."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ends just now
    return found


def descendants_of(pid: int) -> list[int]:
    """Pids of children, their children and so on."""
    children = children_of(pid)
    return children + [inner for child in children for inner in descendants_of(child)]


def _entries(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  (pathlib gives up if a folder vanishes)
    except FileNotFoundError:
        return []


def _descriptors() -> dict[str, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[entry.name] = str(entry.readlink())
        except FileNotFoundError:
            continue  # the listing's own
    return found


def _assert_as_before(descriptors: dict[str, str], children: set[int], threads: int) -> None:
    until(lambda: set(children_of(os.getpid())) <= children)
    until(lambda: threading.active_count() == threads)
    left = {name: what for name, what in _descriptors().items() if name not in descriptors}
    assert left == {}


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that nothing announces; fails if it never does."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.002)
