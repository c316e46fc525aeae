"""How much memory processes take, in proportional set size: what n share counts for 1/n each."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from _figures import Against, Figure
from _timing import Block

from _executor.limits import cores
from python_executor import PythonExecutorService
from python_executor._environment import child_environment

_SEPARATE = """
import sys
{begin}
for part in ({use!r}, ""):
    print("ready", flush=True)
    sys.stdin.readline()
    exec(part)
"""


def figure(title: str, blocks: dict[str, Block], comparisons: list[Against]) -> Figure:
    """A figure of bytes, which are the same in each round: one is played."""
    return Figure(
        title,
        blocks,
        comparisons,
        second="",
        warm_up=False,
        every=sys.maxsize,
        least=1,
        unit="bytes",
    )


@contextmanager
def processes(count: int, begin: str, use: str = "") -> Iterator[list[subprocess.Popen[str]]]:
    """Interpreters that share nothing but what the kernel shares by itself.

    Args:
        count: How many.
        begin: What each has done.
        use: What each does when it gets a line.
    """
    code = _SEPARATE.format(begin=begin, use=use)
    with ExitStack() as stack:
        started: list[subprocess.Popen[str]] = []
        for number in range(count):
            if number >= 2 * cores():
                await_line(started[number - 2 * cores()])
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=child_environment(processes=True),
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            started.append(process)
        for process in started[-2 * cores() :]:
            await_line(process)
        yield started


def await_line(process: subprocess.Popen[str]) -> None:
    """Wait until a process is ready for its next line."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def of_pool(pool: PythonExecutorService) -> float:
    """Bytes of all that a pool has started."""
    root = pool.info()["server"]
    assert root is not None
    return settled(lambda: _tree(root))


def settled(pids: Callable[[], list[int]]) -> float:
    """The sum of all, once all sleep and nothing changes: interpreters get ready by themselves."""
    last: list[tuple[int, int, bool]] = []
    while True:
        seen = [_look(pid) for pid in pids()]
        if seen == last and not any(busy for _, _, busy in seen):
            return float(sum(size for size, _, _ in seen))
        last = seen
        time.sleep(0.5)


def _tree(pid: int) -> list[int]:
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(inner for child in children for inner in _tree(int(child)))]


def _look(pid: int) -> tuple[int, int, bool]:
    """Memory and processor time of a process, and whether it has something to do (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return _pss(pid), int(fields[11]) + int(fields[12]), fields[0] in "RD"


def _pss(pid: int) -> int:
    """Bytes of a process (proc_pid_smaps(5))."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ValueError(pid)
