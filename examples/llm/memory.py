"""How much memory processes take, from /proc (Linux)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# Processes that stand for one interpreter an environment.
_SAMPLE = 8


@dataclass(frozen=True)
class Memory:
    """Memory of some processes, in bytes.

    Attributes:
        processes: How many there are.
        private: What each has to itself, added up.
        proportional: PSS: what is shared counts in parts, one for each process that shares it.
    """

    processes: int
    private: int
    proportional: int

    def scaled(self, processes: int) -> int:
        """What that many processes of this kind would take: what they share counts once."""
        shared = self.proportional - self.private
        return self.private * processes // self.processes + shared


def descendants(pid: int) -> set[int]:
    """A process and all that descend from it."""
    found = {pid}
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has ended
        for child in children:
            found |= descendants(int(child))
    return found


def memory_of(pids: Iterable[int]) -> Memory:
    """Measure processes; those that have ended are not counted.

    Raises:
        PermissionError: A process belongs to somebody else.
    """
    count = private = proportional = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = (line.partition(":") for line in lines)
        sizes = {name: int(value.split()[0]) * 1024 for name, _, value in fields}
        count += 1
        private += sizes["Private_Clean"] + sizes["Private_Dirty"]
        proportional += sizes["Pss"]
    return Memory(count, private, proportional)


def memory_of_separate_processes(modules: Iterable[str]) -> Memory:
    """Start a few separate Python processes that have imported modules, measure, end them."""
    imports = "".join(f"import {module}\n" for module in modules)
    code = f"import sys\n{imports}print('ready', flush=True)\nsys.stdin.read()"
    processes = [
        subprocess.Popen(  # noqa: S603 - our own interpreter, modules that are installed
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(_SAMPLE)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        return memory_of(process.pid for process in processes)
    finally:
        for process in processes:
            process.communicate()  # closes its stdin, which ends it
