"""What tests run in other workers: threads, processes or Ray tasks, as the backend has them."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from services_core import get_services

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


def is_running(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet reaped doesn't."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
