"""Where programs run: a shared service, fresh processes, or one process for each environment.

PythonInterpreter --> SharedService        --> handle.execute_batch  (one call a step)
--> FreshProcesses       --> a small pool of its own
--> PersistentProcesses  --> environment 0: a process with a memory
environment 1: ...
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from llm_transforms.errors import NotAnExecutorError
from python_executor import (
    Execution,
    ExecutionResult,
    PersistentPythonProcess,
    PythonExecutorService,
)
from services_core import Handle, ServiceBase

# Interpreters of the pool that a transform makes for itself. More than CPUs, as programs wait too.
_LEAST_INTERPRETERS = 4
_MOST_INTERPRETERS = 32
# Persistent processes that start or run at the same time; each is driven by a thread.
_THREADS = 32

Programs = Mapping[int, Sequence[Execution]]
"""The programs of each environment that has any, by its number."""

Results = dict[int, list[ExecutionResult]]


class Executor(ABC):
    """Runs the programs of one step."""

    @abstractmethod
    def run(self, programs: Programs) -> Results:
        """Run the programs of each environment; results in the order of the programs."""

    def reset(self, environments: Collection[int]) -> None:  # noqa: B027 - most hold no state
        """Forget the state of some environments."""

    def close(self) -> None:  # noqa: B027 - not all hold something
        """Let go of what is held. May be called again."""


class SharedService(Executor):
    """Programs of all environments in one call to a service that others use too.

    Args:
        services: The registry that has it.
        name: Its name.
        close_registry: Whether the registry was opened for this alone.

    Raises:
        ServiceNotFoundError: There is none of that name.
        NotAnExecutorError: It has no `execute_batch`.
    """

    def __init__(self, services: ServiceBase, name: str, *, close_registry: bool) -> None:
        self._services = services
        self._close_registry = close_registry
        self._handle: Handle = services[name]
        if not hasattr(self._handle, "execute_batch"):
            raise NotAnExecutorError(name, services.namespace)

    def run(self, programs: Programs) -> Results:
        """Run all programs in one call."""
        return _run_as_batch(self._handle.execute_batch, programs)

    def close(self) -> None:
        """Close the registry if it is ours; the service runs on."""
        if self._close_registry:
            self._services.close()


class FreshProcesses(Executor):
    """A pristine process for each program, from a small pool that is made at the first one.

    Args:
        timeout: Seconds that a program may run.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._pool: PythonExecutorService | None = None

    def run(self, programs: Programs) -> Results:
        """Run all programs in parallel."""
        if self._pool is None:
            size = max(_LEAST_INTERPRETERS, min(_MOST_INTERPRETERS, os.cpu_count() or 1))
            self._pool = PythonExecutorService(pool_size=size, timeout=self._timeout)
        return _run_as_batch(self._pool.execute_batch, programs)

    def close(self) -> None:
        """End the pool; a later program makes a new one."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


class PersistentProcesses(Executor):
    """One process for each environment, from its first program to its reset.

    Args:
        timeout: Seconds that a program may run.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._processes: dict[int, PersistentPythonProcess] = {}

    def run(self, programs: Programs) -> Results:
        """Run the programs of each environment one after the other, environments in parallel."""

        def run_one(environment: int) -> list[ExecutionResult]:
            process = self._processes.get(environment)
            if process is None:
                process = self._processes[environment] = PersistentPythonProcess(self._timeout)
            return [process.execute(program.code) for program in programs[environment]]

        with ThreadPoolExecutor(min(_THREADS, len(programs))) as threads:
            results = threads.map(run_one, programs)
            return dict(zip(programs, results, strict=True))

    def reset(self, environments: Collection[int]) -> None:
        """End the processes of some environments."""
        ended = [self._processes.pop(number, None) for number in environments]
        processes = [process for process in ended if process is not None]
        if processes:
            with ThreadPoolExecutor(min(_THREADS, len(processes))) as threads:
                list(threads.map(PersistentPythonProcess.cleanup, processes))

    def close(self) -> None:
        """End all processes."""
        self.reset(list(self._processes))


def _run_as_batch(
    execute_batch: Callable[[list[Execution]], list[ExecutionResult]], programs: Programs
) -> Results:
    batch = [program for each in programs.values() for program in each]
    results = iter(execute_batch(batch))
    return {number: [next(results) for _ in each] for number, each in programs.items()}
