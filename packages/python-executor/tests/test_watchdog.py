"""Programs that take more memory or disk than the kernel's own limits see."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from python_executor import ExecutionResult
from python_executor._child import directories
from python_executor._disk import DEPTH_LIMIT, ENTRY_COST, Measurement, TooDeepError
from python_executor._drive import Job, drive, drive_all
from python_executor._forkserver import find_python
from python_executor._frames import run_frame
from python_executor._outcome import result_of
from python_executor._pool import Pool
from python_executor._processes import UnseenError, deleted_files, descendants, memory_of
from python_executor._run import Limits
from python_executor._watchdog import Watchdog

MIB = 2**20
Until = Callable[[Callable[[], bool]], None]


class Executor:
    """A pool with limits of its own."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def job(self, code: str) -> Job:
        frame = run_frame(code, name="<program>", stdin=None, cell=False, limit=100)
        return Job(frame, 30.0)

    def execute(self, code: str) -> ExecutionResult:
        return result_of(drive(self.pool, self.job(code)), 30.0, "fresh")

    def execute_batch(self, codes: list[str]) -> list[ExecutionResult]:
        runs = drive_all(self.pool, [self.job(code) for code in codes])
        return [result_of(run, 30.0, "fresh") for run in runs if run is not None]


@contextmanager
def limited(
    size: int = 1,
    *,
    memory: int | None = None,
    disk: int | None = None,
    processes: bool = True,
    preload: tuple[str, ...] = (),
) -> Iterator[Executor]:
    pool = Pool(
        size,
        python=find_python(None),
        preload=preload,
        startup_timeout=60.0,
        limits=Limits(10**6, 10**7, memory=memory, disk=disk, processes=1024 if processes else 0),
        max_pending=None,
        sandbox="off",  # the watchdog alone
    )
    try:
        yield Executor(pool)
    finally:
        pool.close()


GREEDY = {
    "bytes": "x = bytes(b'x' * (200 << 20))",
    "list": "x = [i for i in range(10**7)]",
    "shared": "import mmap\nm = mmap.mmap(-1, 200 << 20)\nm.write(b'x' * (200 << 20))",
    "steps": "x = []\nwhile True:\n    x.append(b'x' * 99999)",
    # Reading a private mapping takes page tables alone: 4 KiB for every 2 MiB.
    "tables": (
        "import mmap\nm = mmap.mmap(-1, 1 << 40, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000,"
        " mmap.PROT_READ)\nfor at in range(0, 1 << 40, 2 << 20): m[at]"
    ),
}
WAIT = "\nprint('here')\nimport time\ntime.sleep(1000)"


@pytest.mark.parametrize("processes", [False, True])
@pytest.mark.parametrize("name", GREEDY)
def test_a_program_that_takes_too_much_memory_is_ended(name: str, processes: bool) -> None:
    with limited(memory=60 * MIB, processes=processes) as executor:
        result = executor.execute(GREEDY[name] + WAIT)
        assert (result["status"], result["returncode"]) == ("memory", -9)
        assert result["error"] is not None
        assert result["error"]["type"] == "MemoryLimitError"
        assert "the limit is 60 MiB" in result["error"]["message"]
        assert executor.execute("1 + 1")["value"] == "2"


def test_the_memory_of_all_processes_counts() -> None:
    code = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            x = bytearray(b'x' * (20 << 20))
            time.sleep(1000)
        os._exit(0)
time.sleep(1000)
"""
    with limited(memory=60 * MIB) as executor:
        result = executor.execute(code)
    assert result["status"] == "memory"


def test_memory_that_processes_share_counts_once() -> None:
    code = """
import os, time
x = bytearray(b'x') * (50 << 20)
for _ in range(4):
    if os.fork() == 0:
        time.sleep(0.5)
        os._exit(0)
for _ in range(4):
    os.wait()
"""
    with limited(memory=90 * MIB) as executor:
        assert executor.execute(code)["status"] == "ok"


def test_memory_of_the_warm_parent_does_not_count() -> None:
    # A module of the standard library that takes more than the limit once it is imported and used.
    with limited(memory=2 * MIB, preload=("unittest.mock", "asyncio", "email.message")) as executor:
        assert memory_of(executor.pool.server.pid) > 4 * MIB  # type: ignore[union-attr]
        assert executor.execute("import time; time.sleep(0.3)")["status"] == "ok"


FILLING = {
    "one file": "with open('x', 'wb') as f:\n    for _ in range(40): f.write(b'x' * (1 << 20))",
    "many files": "for i in range(700):\n    open(f'f{i}', 'w').write('x')",
    "empty files": "for i in range(2500):\n    open(f'f{i}', 'w').close()",
    "folders": "import os\nfor i in range(90):\n    os.mkdir(f'd{i}')\n"
    "    open(f'd{i}/x', 'wb').write(b'x' * (100 << 10))",
    "locked folder": "import os\nos.mkdir('d', 0o300)\nopen('d/x', 'wb').write(b'x' * (40 << 20))",
    "files without a name": (
        "import tempfile\nfiles = [tempfile.TemporaryFile(dir='.') for _ in range(10)]\n"
        "for f in files:\n    f.write(b'x' * (1 << 20)); f.flush()"
    ),
    "nested": "import os\nfor i in range(600):\n    os.mkdir('d'); os.chdir('d')",
}


@pytest.mark.parametrize("name", FILLING)
def test_a_program_that_fills_its_directory_is_ended(name: str) -> None:
    with limited(disk=2 * MIB) as executor:
        result = executor.execute(FILLING[name] + WAIT)
        assert (result["status"], result["returncode"]) == ("output", -9)
        assert result["error"] is not None
        assert result["error"]["type"] == "DiskLimitError"
        assert executor.execute("import os; os.listdir()")["value"] == "[]"


def test_what_stays_within_the_limits_is_left_alone() -> None:
    code = """
import os, time
open('sparse', 'wb').truncate(1 << 40)
open('x', 'wb').write(b'x' * (5 << 20))
for i in range(10):
    os.link('x', f'x{i}')
os.symlink('/', 'root')
os.mkdir('loop')
os.symlink('..', 'loop/loop')
os.mkfifo('pipe')
x = bytearray(30 << 20)
time.sleep(0.3)
"""
    with limited(disk=8 * MIB, memory=60 * MIB) as executor:
        assert executor.execute(code)["status"] == "ok"


@pytest.mark.load
def test_a_batch_of_greedy_programs_does_not_disturb_others() -> None:
    with limited(4, disk=2 * MIB, memory=60 * MIB) as executor:
        results = executor.execute_batch(
            [GREEDY["bytes"] + WAIT, FILLING["many files"] + WAIT, "1 + 1", "2 + 2"] * 2
        )
    statuses = [result["status"] for result in results]
    assert statuses == ["memory", "output", "ok", "ok"] * 2


def test_a_short_program_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr("python_executor._run.Watchdog", made.append)
    monkeypatch.setattr("python_executor._run.INTERVAL", 30.0)
    with limited(disk=MIB, memory=MIB) as executor:
        assert executor.execute("1")["status"] == "ok"
    assert made == []


def measured(path: Path, *, slices: float = 10.0, enough: int = 2**60) -> Measurement:
    measurement = Measurement(str(path))
    while not measurement.done and measurement.total <= enough:
        measurement.advance(slices, enough)
    measurement.close()
    return measurement


def test_a_measurement_in_many_slices_sees_what_one_does(tmp_path: Path) -> None:
    for i in range(20):
        folder = tmp_path / f"{i}" / "a" / "b"
        folder.mkdir(parents=True)
        for j in range(10):
            (folder / f"{j}").write_bytes(b"x" * 5000)
    whole = measured(tmp_path)
    assert whole.total >= 200 * 5000 + 260 * ENTRY_COST
    assert measured(tmp_path, slices=0.0).total == whole.total
    assert not measured(tmp_path, slices=0.0, enough=50_000).done


def test_a_measurement_of_what_is_no_directory_is_empty(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("/")
    for name in ("file", "link", "missing"):
        measurement = measured(tmp_path / name)
        assert (measurement.total, measurement.done) == (0, True)


@pytest.mark.load
def test_a_slice_of_a_huge_directory_is_short(tmp_path: Path) -> None:
    for i in range(5000):
        (tmp_path / f"{i}").touch()
    measurement = Measurement(str(tmp_path))
    measurement.advance(0.0, 2**60)
    assert 0 < measurement.total < 10 * ENTRY_COST
    measurement.close()  # its descriptors too, says the fixture


def test_a_deep_directory_is_measured_or_refused(tmp_path: Path) -> None:
    home = Path.cwd()
    top = tmp_path / "top"
    top.mkdir()
    try:
        os.chdir(top)
        for _ in range(DEPTH_LIMIT):
            os.mkdir("d" * 200)  # noqa: PTH102  (its path is too long)
            os.chdir("d" * 200)
        assert measured(top).total >= DEPTH_LIMIT * ENTRY_COST
        os.mkdir("one too many")  # noqa: PTH102
        with pytest.raises(TooDeepError):
            measured(top)
    finally:
        os.chdir(home)
        directories.remove(str(top))


def test_a_directory_that_changes_meanwhile_neither_hangs_nor_leads_outside(
    tmp_path: Path,
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "large").write_bytes(b"x" * 50 * MIB)
    inside = tmp_path / "inside"
    inside.mkdir()
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for i in range(20):
                (inside / f"{i}" / "deep").mkdir(parents=True)
            for i in range(20):
                (inside / f"{i}" / "deep").rmdir()
                (inside / f"{i}").rmdir()
                (inside / f"{i}").symlink_to(outside)
            for i in range(20):
                (inside / f"{i}").unlink()

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(200):
            assert measured(inside, slices=0.0).total < MIB
    finally:
        stop.set()
        swapper.join()


def test_a_watchdog_of_what_is_gone_says_nothing(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    watchdog = Watchdog(
        pid, family=pid, processes=0, warm=0, memory=0, disk=0, directory=str(tmp_path / "missing")
    )
    assert watchdog.look() is None
    assert memory_of(pid) == 0
    assert descendants(pid) == []
    watchdog.close()


def test_a_look_that_takes_long_happens_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = cost = 0.0

    def slow(*_: object) -> int:
        nonlocal now
        now += cost
        return 0

    monkeypatch.setattr("python_executor._watchdog.growth_of", slow)
    monkeypatch.setattr("python_executor._watchdog.time.perf_counter", lambda: now)
    monkeypatch.setattr("python_executor._watchdog.time.monotonic", lambda: now)
    watchdog = Watchdog(
        1, family=None, processes=0, warm=0, memory=1, disk=None, directory=str(tmp_path)
    )
    pauses = []
    for seconds in (0.0001, 0.01, 10.0):
        cost = seconds
        watchdog.look()
        pauses.append(round(watchdog.due - now, 3))
    assert pauses == [0.05, 0.2, 1.0]


def test_a_process_that_ends_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """To others than root its descriptors are closed from the moment when it begins to end."""

    def refuse(path: str) -> list[str]:
        raise PermissionError(path)

    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", refuse)
        assert deleted_files(pid, 0) == {}
        with pytest.raises(UnseenError):
            deleted_files(os.getpid(), 0)
    os.waitpid(pid, 0)
    assert deleted_files(pid, 0) == {}
