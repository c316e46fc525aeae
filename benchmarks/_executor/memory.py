"""What 32 interpreters take, in proportional set size: a page that n share counts for 1/n each."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from _figures import Against, Figure
from _timing import Block

from _executor.limits import cores
from _executor.ours import SANDBOXES, new_pool
from _executor.preloads import Preload
from python_executor import Execution, PythonExecutorService
from python_executor._environment import child_environment

POOL_SIZE = 32
# Seconds that a program stays, so that it can be looked at.
LONG = 600.0

# What a program does with libraries, where they are preloaded.
_USES = {
    "numpy": """
rng = numpy.random.default_rng(0)
square = rng.random((100, 100))
numpy.linalg.solve(square, square.sum(axis=1)), numpy.linalg.svd(square), numpy.sort(square)
""",
    "sympy": """
x = sympy.symbols("x")
sympy.integrate(sympy.sin(x) ** 2, x), sympy.solve(x**3 - 2 * x + 1), sympy.simplify(x / x**2)
""",
    "pandas": """
frame = pandas.DataFrame({"a": range(1000), "b": [i % 7 for i in range(1000)]})
str(frame.groupby("b").mean()), str(frame.describe()), frame.merge(frame.head(), on="a")
""",
}


@contextmanager
def memory(wanted: list[str], preload: Preload) -> Iterator[list[Figure]]:
    """Interpreters that are ready, and such as have used what is preloaded and still run."""
    del wanted  # who takes part is plain
    use = preload.imports + "".join(_USES[name] for name in preload.modules)
    separate = f"{POOL_SIZE} processes"
    blocks: dict[str, Block] = {}
    comparisons = []
    with ExitStack() as stack:
        for name in SANDBOXES:
            pool = stack.enter_context(new_pool(name, POOL_SIZE, preload))
            blocks[f"{name}, idle"] = partial(_idle, pool)
            blocks[f"{name}, after use"] = partial(_after_use, pool, use)
            comparisons += [
                Against(f"{name}, idle", f"{separate}, idle", 0.1),
                Against(f"{name}, after use", f"{separate}, after use", 0.2),
            ]
        processes = stack.enter_context(_processes(preload, use))
        pids = [process.pid for process in processes]
        blocks[f"{separate}, idle"] = lambda: [_settled(lambda: pids)]
        blocks[f"{separate}, after use"] = partial(_have_used, processes)
        title = f"Memory (PSS) of {POOL_SIZE} interpreters, servers included, {preload.title}"
        # One round: a block changes what the next one finds.
        yield [
            Figure(
                title,
                blocks,
                comparisons,
                second="",
                warm_up=False,
                every=sys.maxsize,
                least=1,
                unit="bytes",
            )
        ]


def _idle(pool: PythonExecutorService) -> list[float]:
    return [_settled(lambda: _tree(_root(pool)))]


def _after_use(pool: PythonExecutorService, use: str) -> list[float]:
    """Have every interpreter run a program, and look while all of them are at its end."""
    code = f"{use}print('used', flush=True)\nimport time\ntime.sleep({LONG})"
    programs = [Execution(code, LONG, execution_id=str(n)) for n in range(POOL_SIZE)]
    with ThreadPoolExecutor(1) as caller:
        results = caller.submit(pool.execute_batch, programs)
        while pool.stats()["running"] < POOL_SIZE:
            time.sleep(0.05)
        size = _settled(lambda: _tree(_root(pool)))
        for program in programs:
            assert program.execution_id is not None
            pool.cancel(program.execution_id)
        assert all(result["stdout"] == "used\n" for result in results.result()), results.result()
    return [size]


_SEPARATE = """
import sys
{imports}
for part in ({use!r}, ""):
    print("ready", flush=True)
    sys.stdin.readline()
    exec(part)
"""


@contextmanager
def _processes(preload: Preload, use: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that share nothing but what the kernel shares by itself."""
    code = _SEPARATE.format(imports=preload.imports, use=use)
    with ExitStack() as stack:
        processes: list[subprocess.Popen[str]] = []
        for number in range(POOL_SIZE):
            if number >= 2 * cores():
                _await_line(processes[number - 2 * cores()])
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=child_environment(processes=True),
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        for process in processes[-2 * cores() :]:
            _await_line(process)
        yield processes


def _have_used(processes: Iterable[subprocess.Popen[str]]) -> list[float]:
    processes = list(processes)
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _await_line(process)
    return [_settled(lambda: [process.pid for process in processes])]


def _await_line(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def _root(pool: PythonExecutorService) -> int:
    server = pool.info()["server"]
    assert server is not None
    return server


def _tree(pid: int) -> list[int]:
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(inner for child in children for inner in _tree(int(child)))]


def _settled(pids: Callable[[], list[int]]) -> float:
    """The sum of all, once all sleep and nothing changes: interpreters get ready by themselves."""
    last: list[tuple[int, int, bool]] = []
    while True:
        seen = [_look(pid) for pid in pids()]
        if seen == last and not any(busy for _, _, busy in seen):
            return float(sum(size for size, _, _ in seen))
        last = seen
        time.sleep(0.5)


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
