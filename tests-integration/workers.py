"""What tests run in other workers: threads, processes or Ray tasks, as the backend has them."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from llm_transforms import ChatEnv, PythonInterpreter
from python_executor import Execution, ExecutionResult, PythonExecutorService, session_key
from services_core import Handle, call_by_key, get_services
from services_core.testing.observing import eventually

T = TypeVar("T")

_WORKER = """
import pickle, sys
function, args = pickle.load(sys.stdin.buffer)
sys.stdout.buffer.write(pickle.dumps(function(*args)))
"""


def run_in_worker(backend: str, function: Callable[..., T], *args: Any) -> T:
    """Run a function of this module in another worker of the backend, and return its value."""
    if backend == "ray":
        import ray

        result: T = ray.get(ray.remote(num_cpus=0)(function).remote(*args))
        return result
    if backend == "inline":
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(function, *args).result()
    done = subprocess.run(
        [sys.executable, "-c", _WORKER],
        input=pickle.dumps((function, args)),
        stdout=subprocess.PIPE,
        check=True,
    )
    value: T = pickle.loads(done.stdout)
    return value


def execute_programs(backend: str, namespace: str, programs: list[str]) -> list[dict[str, Any]]:
    """Find the executor and execute programs, in one call."""
    services = get_services(backend=backend, namespace=namespace)
    results: list[dict[str, Any]] = services["python_executor"].execute_batch(programs)
    services.close()
    return results


def execute_cells(
    backend: str, namespace: str, cells: list[tuple[str, str]]
) -> list[tuple[str | None, str]]:
    """Find the executor and execute cells, each with its session, in one call a replica.

    Returns:
        The value of each, and what it started from.
    """
    services = get_services(backend=backend, namespace=namespace)
    results = call_by_key(
        services["python_executor"].execute_batch,
        [Execution(code, session=name) for name, code in cells],
        [session_key(name) for name, _ in cells],
    )
    services.close()
    return [(result["value"], result["state"]) for result in results]


def close_sessions(executor: Handle, names: list[str]) -> list[bool]:
    """Close sessions, all at the same time; whether each was there."""
    close = executor.close_session
    futures = [close.options(key=session_key(name)).submit(name) for name in names]
    return [bool(future.result()) for future in futures]


def cancel_execution(backend: str, namespace: str, execution_id: str) -> bool:
    """Find the executor and cancel an execution as soon as there is one of that name."""
    services = get_services(backend=backend, namespace=namespace)
    executor = services["python_executor"]
    cancelled = eventually(lambda: executor.cancel(execution_id))
    services.close()
    return cancelled


def descendants(pid: int) -> set[int]:
    """A process and all that descend from it."""
    found = {pid}
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in children:
            found |= descendants(child)
    return found


class CountingExecutor(PythonExecutorService):
    """The executor, which remembers the calls to it."""

    def __init__(self, pool_size: int, timeout: float) -> None:
        super().__init__(pool_size, timeout)
        self._calls: list[tuple[str, int]] = []

    def execute(self, code: str, **options: Any) -> ExecutionResult:
        """Execute one program, and remember it."""
        self._calls.append(("execute", 1))
        return super().execute(code, **options)

    def execute_batch(self, executions: Sequence[Execution | str]) -> list[ExecutionResult]:
        """Execute programs, and remember how many."""
        self._calls.append(("execute_batch", len(executions)))
        return super().execute_batch(executions)

    def calls(self) -> list[tuple[str, int]]:
        """The calls so far: the method, and how many programs it was given."""
        return self._calls


def play_environments(interpreter: PythonInterpreter, rank: int, count: int) -> list[str]:
    """Play one turn of environments that each print the rank and their number."""
    with ChatEnv(count).append_transform(interpreter) as env:
        env.reset(["Print."] * count)
        chats = env.step([f"```python\nprint({rank}, {n})\n```" for n in range(count)])
        return [str(chat[-1]["content"]) for chat in chats]


def keep_numbers(interpreter: PythonInterpreter, rank: int, count: int) -> list[str]:
    """Have environments remember the rank and their number, and print them a turn later."""
    with ChatEnv(count).append_transform(interpreter) as env:
        env.reset(["Remember."] * count)
        env.step([f"```python\nrank, n = {rank}, {n}\n```" for n in range(count)])
        chats = env.step(["```python\nprint(rank, n)\n```"] * count)
        return [str(chat[-1]["content"]) for chat in chats]
