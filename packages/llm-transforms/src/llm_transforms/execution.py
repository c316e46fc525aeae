"""Where programs run: a shared service, fresh processes, or one process for each environment.

PythonInterpreter --> SharedService        --> handle.execute_batch  (one call a step and replica)
                      SharedSessions       --> the same, each environment in a session of its own
                  --> FreshProcesses       --> a small pool of its own
                  --> PersistentProcesses  --> environment 0: a process with a memory
                                               environment 1: ...
"""

from __future__ import annotations

import os
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, ClassVar

from llm_transforms.errors import ClosedError, NotAnExecutorError
from llm_transforms.outages import OUTAGES, outage
from llm_transforms.results.outcomes import crashed
from python_executor import (
    Execution,
    ExecutionResult,
    PersistentPythonProcess,
    PythonExecutorService,
)
from services_core import (
    Handle,
    ServiceBase,
    ServiceDiedError,
    ServiceNotFoundError,
    call_by_key,
    group_by_replica,
    native,
)

# Interpreters of the pool that a transform makes for itself. More than CPUs, as programs wait too.
_LEAST_INTERPRETERS = 4
_MOST_INTERPRETERS = 32
# Persistent processes that start or run at the same time; each is driven by a thread.
_THREADS = 32

Programs = Mapping[int, Sequence[Execution]]
"""The programs of each environment that has any, by its number."""

Results = dict[int, list[ExecutionResult]]


class Executor(ABC):
    """Runs the programs of one step.

    Attributes:
        begun: Environments that have had results since their reset, where names last; empty where
            they don't. Names of an environment that is put here stayed elsewhere, and its first
            result says so.
    """

    def __init__(self) -> None:
        self.begun: set[int] = set()

    @abstractmethod
    def run(self, programs: Programs) -> Results:
        """Run the programs of each environment; results in the order of the programs."""

    def reset(self, environments: Collection[int]) -> None:  # noqa: B027 - most hold no state
        """Forget the state of some environments."""

    def close(self) -> None:  # noqa: B027 - not all hold something
        """Let go of what is held. May be called again."""


class SharedService(Executor):
    """Programs of all environments in one call to a service that others use too.

    A service with replicas gets one call a replica; an environment's programs are on one of them.

    Args:
        services: The registry that has it.
        name: Its name.
        close_registry: Whether the registry was opened for this alone.
        tells_outages: Whether an error of some replicas is a result of their programs, as the
            others have run.

    Raises:
        ServiceNotFoundError: There is none of that name.
        NotAnExecutorError: It lacks a method that is needed.
    """

    needs: ClassVar[tuple[str, ...]] = ("execute_batch",)
    """The methods that the service must have."""

    def __init__(
        self,
        services: ServiceBase,
        name: str,
        *,
        close_registry: bool,
        tells_outages: bool = False,
    ) -> None:
        super().__init__()
        self._services = services
        self._close_registry = close_registry
        self._tells_outages = tells_outages
        self._name = name
        self._prefix = uuid.uuid4().hex
        self._died = False
        self._service = self._found()

    def _found(self) -> Any:
        """The service as it is now: a handle, or the client of an owner."""
        service = self._services[self._name]
        for method in self.needs:
            if not hasattr(service, method):
                raise NotAnExecutorError(self._name, self._services.namespace, method)
        return service

    def name_of(self, environment: int) -> str:
        """A name of an environment that no other transform's has; without "/", as branches have."""
        return f"{self._prefix}-{environment}"

    def run(self, programs: Programs) -> Results:
        """Run all programs in one call, or one a replica.

        Of a service with replicas one may die and the others go on: its programs have crashed. If
        it died whole, one that was registered anew under its name runs them: what they may have
        done before went with the former one.

        Raises:
            ServiceDiedError: The service is gone, and no replica of it lives.
        """
        if self._died:
            self._find_again()
        try:
            return self._run(programs)
        except ServiceDiedError:
            if not (self._died and self._find_again()):
                raise
        return self._run(programs)

    def _run(self, programs: Programs) -> Results:
        try:
            return _run_as_batch(lambda batch: self._execute(batch, programs), programs)
        except ServiceDiedError as error:
            self._died = not error.restarting
            raise

    def _find_again(self) -> bool:
        """Look for the service under its name, and say whether it is another one now."""
        with suppress(ServiceNotFoundError):
            former, self._service = self._service, self._found()
            self._died = False
            # Handles of one incarnation are equal. It may be there after all, as after a connection
            # that broke: what it has run is not to be run twice.
            return isinstance(self._service, Handle) and self._service != former
        return False

    def _execute(self, batch: list[Execution], programs: Programs) -> list[ExecutionResult]:
        execute_batch = self._service.execute_batch
        if not isinstance(self._service, Handle):
            results: list[ExecutionResult] = execute_batch(batch)
            return results
        keys = [self.name_of(environment) for environment, each in programs.items() for _ in each]
        outcomes = call_by_key(execute_batch, batch, keys, return_exceptions=True)
        errors = {id(each): each for each in outcomes if isinstance(each, Exception)}  # one a call
        told: dict[int, ExecutionResult] = {}
        for call, error in errors.items():
            if self._goes_on_after(error, keys):
                told[call] = crashed()
            elif (
                self._tells_outages
                and isinstance(error, OUTAGES)
                and len(errors) < len(set(map(id, outcomes)))
            ):
                told[call] = outage(error)
            else:
                raise error
        return [told.get(id(each), each) for each in outcomes]

    def _goes_on_after(self, error: Exception, keys: list[str]) -> bool:
        """Whether an error is the death of a replica, and others live."""
        if not isinstance(error, ServiceDiedError) or not isinstance(native(self._service), list):
            return False
        group_by_replica(self._service, keys)  # raises if all of them died
        return True

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
        super().__init__()
        self._timeout = timeout
        self._lock = threading.Lock()  # threads that come first at the same time make one pool
        self._pool: PythonExecutorService | None = None
        self._closed = False

    def run(self, programs: Programs) -> Results:
        """Run all programs in parallel.

        Raises:
            ClosedError: This is closed, perhaps by another thread just now.
        """
        with self._lock:
            if self._closed:
                raise ClosedError(self)
            if self._pool is None:
                size = max(_LEAST_INTERPRETERS, min(_MOST_INTERPRETERS, os.cpu_count() or 1))
                self._pool = PythonExecutorService(pool_size=size, timeout=self._timeout)
        return _run_as_batch(self._pool.execute_batch, programs)

    def close(self) -> None:
        """End the pool for good."""
        with self._lock:
            self._closed = True
            if self._pool is not None:
                self._pool.close()


class PersistentProcesses(Executor):
    """One process for each environment, from its first program to its reset.

    Args:
        timeout: Seconds that a program may run.
    """

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self._timeout = timeout
        self._processes: dict[int, PersistentPythonProcess] = {}

    def run(self, programs: Programs) -> Results:
        """Run the programs of each environment one after the other, environments in parallel."""

        def run_one(environment: int) -> list[ExecutionResult]:
            process = self._processes.get(environment)
            if process is None:
                process = self._processes[environment] = PersistentPythonProcess(self._timeout)
            return [
                process.execute(
                    program.code,
                    timeout=program.timeout,
                    stdin=program.stdin,
                    files=program.files,
                    seed=program.seed,
                )
                for program in programs[environment]
            ]

        with ThreadPoolExecutor(min(_THREADS, len(programs))) as threads:
            results = dict(zip(programs, threads.map(run_one, programs), strict=True))
        tell_what_is_lost(results, self.begun)
        self.begun |= programs.keys()
        return results

    def reset(self, environments: Collection[int]) -> None:
        """End the processes of some environments."""
        self.begun.difference_update(environments)
        ended = [self._processes.pop(number, None) for number in environments]
        processes = [process for process in ended if process is not None]
        if processes:
            with ThreadPoolExecutor(min(_THREADS, len(processes))) as threads:
                list(threads.map(PersistentPythonProcess.cleanup, processes))

    def close(self) -> None:
        """End all processes."""
        self.reset(list(self._processes))


def tell_what_is_lost(results: Results, begun: Collection[int]) -> None:
    """Have the first result of an environment say `lost` if its names are gone.

    Who opens a fresh state for a program doesn't always know that there was another one before: it
    died with a replica or a service, or stayed where an environment was pickled.

    Args:
        results: The results of a step; changed.
        begun: Environments that have had results before it.
    """
    for environment in results.keys() & set(begun):
        first = results[environment][0]
        if first["state"] == "fresh":
            results[environment][0] = {**first, "state": "lost"}


def _run_as_batch(
    execute_batch: Callable[[list[Execution]], list[ExecutionResult]], programs: Programs
) -> Results:
    batch = [program for each in programs.values() for program in each]
    results = iter(execute_batch(batch))
    return {number: [next(results) for _ in each] for number, each in programs.items()}
