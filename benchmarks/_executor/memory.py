"""What 32 interpreters take, ready and after use, beside as many processes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

from _figures import Against, Figure
from _timing import Block

from _executor import footprints
from _executor.ours import SANDBOXES, new_pool
from _executor.preloads import Preload
from python_executor import Execution, PythonExecutorService

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
        processes = stack.enter_context(footprints.processes(POOL_SIZE, preload.imports, use))
        pids = [process.pid for process in processes]
        blocks[f"{separate}, idle"] = lambda: [footprints.settled(lambda: pids)]
        blocks[f"{separate}, after use"] = partial(_have_used, processes)
        title = f"Memory (PSS) of {POOL_SIZE} interpreters, servers included, {preload.title}"
        # Once: a block changes what the next one finds.
        yield [footprints.figure(title, blocks, comparisons)]


def _idle(pool: PythonExecutorService) -> list[float]:
    return [footprints.of_pool(pool)]


def _after_use(pool: PythonExecutorService, use: str) -> list[float]:
    """Have every interpreter run a program, and look while all of them are at its end."""
    code = f"{use}print('used', flush=True)\nimport time\ntime.sleep({LONG})"
    programs = [Execution(code, LONG, execution_id=str(n)) for n in range(POOL_SIZE)]
    with ThreadPoolExecutor(1) as caller:
        results = caller.submit(pool.execute_batch, programs)
        while pool.stats()["running"] < POOL_SIZE:
            time.sleep(0.05)
        size = footprints.of_pool(pool)
        for program in programs:
            assert program.execution_id is not None
            pool.cancel(program.execution_id)
        assert all(result["stdout"] == "used\n" for result in results.result()), results.result()
    return [size]


def _have_used(processes: Iterable[subprocess.Popen[str]]) -> list[float]:
    processes = list(processes)
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        footprints.await_line(process)
    return [footprints.settled(lambda: [process.pid for process in processes])]
