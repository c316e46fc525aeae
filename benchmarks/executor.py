"""Time the executor beside ``subprocess.run`` and its limit, a bare fork of the same warm parent.

    python benchmarks/executor.py [--rounds N] [--data FOLDER] [--preload MODULE ...]

Everything is measured in one run, in turns, so that a noisy machine disturbs all alike: compare the
ratios, not the times. "paced" leaves 20 ms between calls, as a caller that thinks does.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from _timing import quantile, times_of

from python_executor import PythonExecutorService
from python_executor._child.root import WARM_MODULES

PACE = 0.02
ONE_LINE = "print(1 + 1)"
TEN_LINES = "for i in range(10):\n    print(i)"

BARE_FORK = f"""
import gc, importlib, json, os, sys, time
for name in {WARM_MODULES!r}:
    importlib.import_module(name)
import ctypes, socket, traceback, linecache, threading, atexit, ast
gc.collect(); gc.disable(); gc.freeze()
for line in sys.stdin:
    count, pace = json.loads(line)
    times = []
    for _ in range(count):
        start = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        times.append(time.perf_counter() - start)
        if pace:
            time.sleep(pace)
    print(json.dumps(times), flush=True)
"""


class BareFork:
    """A process as warm as the fork server that forks, lets the child exit, and waits."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", BARE_FORK],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def times(self, count: int, pace: float) -> list[float]:
        """Seconds of each of ``count`` forks."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([count, pace]) + "\n")
        self._process.stdin.flush()
        times: list[float] = json.loads(self._process.stdout.readline())
        return times

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def fresh_process(code: str) -> None:
    """What everybody does without a pool."""
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def row(name: str, seconds: list[float], unit: float) -> str:
    """One line of a table: p50, p95, and p50 in units of ``unit``."""
    p50 = statistics.median(seconds)
    p95 = quantile(seconds, 0.95)
    return f"  {name:<44}{p50 * 1e3:9.2f} ms{p95 * 1e3:9.2f} ms{p50 / unit:9.2f} x"


def latency(rounds: int) -> None:
    """One line and ten lines, paced and back to back."""
    bare = BareFork()
    samples: dict[str, list[float]] = {}
    with PythonExecutorService(pool_size=4) as executor:
        for _ in range(rounds):
            for key, call, count, pace in (
                ("executor, one line, paced", lambda: executor.execute(ONE_LINE), 10, PACE),
                ("executor, ten lines, paced", lambda: executor.execute(TEN_LINES), 10, PACE),
                ("executor, one line, back to back", lambda: executor.execute(ONE_LINE), 50, 0.0),
                ("subprocess.run, one line", lambda: fresh_process(ONE_LINE), 3, 0.0),
                ("subprocess.run, ten lines", lambda: fresh_process(TEN_LINES), 3, 0.0),
            ):
                samples.setdefault(key, []).extend(times_of(call, count, pace))
            samples.setdefault("bare fork, paced", []).extend(bare.times(10, PACE))
            samples.setdefault("bare fork, back to back", []).extend(bare.times(50, 0.0))
    bare.close()
    unit = statistics.median(samples["bare fork, paced"])
    print("Latency                                                p50         p95   of a bare fork")
    for key, seconds in samples.items():
        print(row(key, seconds, unit))


def throughput(rounds: int, callers: int) -> None:
    """Many callers, beside as many bare-fork loops as there are cores."""
    cores = os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()
    count = 30
    bares = [BareFork() for _ in range(cores or 1)]
    ours, bare_rates = [], []
    with PythonExecutorService(pool_size=32) as executor:

        def at_once(call: Callable[[int], object], workers: int) -> float:
            threads = [threading.Thread(target=call, args=(index,)) for index in range(workers)]
            start = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return time.perf_counter() - start

        for _ in range(rounds):
            wall = at_once(
                lambda _: times_of(lambda: executor.execute(ONE_LINE), count, 0), callers
            )
            ours.append(callers * count / wall)
            wall = at_once(lambda index: bares[index].times(500, 0), len(bares))
            bare_rates.append(len(bares) * 500 / wall)
    for bare in bares:
        bare.close()
    mine, limit = statistics.median(ours), statistics.median(bare_rates)
    print(f"\nThroughput, {callers} callers, one line, back to back, {len(bares)} cores")
    print(f"  executor                                    {mine:9.0f} /s{mine / limit:9.2f} x")
    print(f"  bare fork loops, one a core                 {limit:9.0f} /s")


def human_eval(data: Path) -> None:
    """All programs of HumanEval, sequentially in fresh processes and as one batch."""
    with gzip.open(data / "HumanEval.jsonl.gz", "rt") as file:
        problems = [json.loads(line) for line in file]
    programs = [
        f"{p['prompt']}{p['canonical_solution']}\n{p['test']}\ncheck({p['entry_point']})"
        for p in problems
    ]
    start = time.perf_counter()
    for program in programs:
        fresh_process(program)
    sequential = time.perf_counter() - start
    pools = []
    with PythonExecutorService(pool_size=32) as executor:
        for _ in range(5):
            start = time.perf_counter()
            results = executor.execute_batch(programs)
            pools.append(time.perf_counter() - start)
            assert all(result["success"] for result in results)
    ours = statistics.median(pools)
    print(f"\nHumanEval, {len(programs)} programs")
    print(f"  executor, one batch over 32                 {ours:9.2f} s {sequential / ours:9.1f} x")
    print(f"  subprocess.run, one after the other         {sequential:9.2f} s")


def batch_of_128() -> None:
    """A step of 128 environments."""
    programs = [f"print({i})" for i in range(128)]
    with PythonExecutorService(pool_size=32) as executor:
        executor.execute_batch(programs)
        seconds = times_of(lambda: executor.execute_batch(programs), 20, 0.1)
    print(f"\nBatch of 128 one-liners over 32: p50 {statistics.median(seconds) * 1e3:.0f} ms")


def start_up(rounds: int) -> None:
    """A pool of 32, from nothing to 32 results, and its end."""
    ready, served, closed = [], [], []
    for _ in range(rounds):
        start = time.perf_counter()
        executor = PythonExecutorService(pool_size=32)
        ready.append(time.perf_counter() - start)
        executor.execute_batch(["1"] * 32)
        served.append(time.perf_counter() - start)
        start = time.perf_counter()
        executor.close()
        closed.append(time.perf_counter() - start)
    print("\nPool of 32, nothing preloaded")
    for name, seconds in (
        ("constructed", ready),
        ("32 programs served", served),
        ("closed", closed),
    ):
        print(f"  {name:<44}{statistics.median(seconds):9.3f} s")


def pss(pid: int) -> int:
    """Proportional set size of a process (kB): a shared page counts in part (proc(5))."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError(pid)


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(inner for child in children for inner in tree(int(child)))]


def memory(preload: list[str]) -> None:
    """32 interpreters of a pool, idle, beside 32 separate processes."""
    imports = "".join(f"import {name}\n" for name in preload)
    with PythonExecutorService(pool_size=32, preload=preload) as executor:
        executor.execute_batch([f"{imports}import time; time.sleep(0.2)"] * 32)
        time.sleep(1.0)  # the next interpreters are being forked
        server = executor.info()["server"]
        assert server is not None
        ours = sum(pss(pid) for pid in tree(server))
    code = f"{imports}import sys; print(1, flush=True); sys.stdin.read()"
    separate = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(32)
    ]
    for process in separate:
        assert process.stdout is not None
        process.stdout.readline()
    theirs = sum(pss(process.pid) for process in separate)
    for process in separate:
        process.communicate()
    what = ", ".join(preload) or "nothing"
    print(f"\nMemory (PSS) of 32 idle interpreters, {what} preloaded")
    print(f"  executor, servers included                  {ours / 1024:9.0f} MB")
    ratio = theirs / ours
    print(f"  separate processes                          {theirs / 1024:9.0f} MB{ratio:9.1f} x")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SHARED_DATA", beside)))
    parser.add_argument("--preload", nargs="*", default=[])
    arguments = parser.parse_args()
    latency(arguments.rounds)
    throughput(max(3, arguments.rounds // 3), 32)
    batch_of_128()
    human_eval(arguments.data)
    start_up(max(3, arguments.rounds // 3))
    memory(arguments.preload)


if __name__ == "__main__":
    main()
