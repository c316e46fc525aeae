"""``PythonExecutorService``: a pool of interpreters, shared by many threads or callers."""

from __future__ import annotations

import os
import threading
import warnings
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TypedDict

from python_executor._arguments import POOL_LIMIT, check_count, check_modules, check_seconds
from python_executor._drive import Job, drive, drive_all
from python_executor._forkserver import find_python
from python_executor._frames import run_frame
from python_executor._outcome import result_of
from python_executor._pool import Pool
from python_executor._run import Limits, Run
from python_executor.errors import InvalidArgumentTypeError
from python_executor.results import Execution, ExecutionResult

# Longest value (characters), whatever max_output is: it must fit into a frame.
VALUE_LIMIT = 1024 * 1024


class PoolStats(TypedDict):
    """What a pool has done and is doing."""

    pool_size: int
    idle: int
    running: int
    pending: int
    """Executions that wait for an interpreter."""
    executions: int
    """Executions that ended."""
    by_status: dict[str, int]
    restarts: int
    """Slot servers that had to be replaced."""


class PoolInfo(TypedDict):
    """What a pool is made of."""

    pool_size: int
    timeout: float
    preload: list[str]
    python: str
    """Path of the interpreter that runs programs."""
    python_version: str
    server: int | None
    """Pid of the root fork server."""
    slot_servers: list[int]
    """Pids, as far as known: a server says its own once it has forked."""
    directory: str | None
    """The pool's temporary directory, in which each program has its own."""
    isolation: str
    closed: bool


class PythonExecutorService:
    r"""A pool of Python interpreters: every program runs in a process that nobody used before.

    The processes are forked ahead of time from a warm parent, so isolation costs a message and not
    the start of an interpreter. It is isolation of processes, not yet a security boundary: a
    program can read what the user of this process can.

    Thread-safe. The thread that calls drives its own programs; there is no thread in the
    background. If the process that owns the pool ends, even by SIGKILL, every program, server and
    temporary file goes too.

    Args:
        pool_size: how many programs run at the same time.
        timeout: seconds that a program may run, counted from its start; a call can give its own.
        max_pending: how many executions may wait for an interpreter; None is no limit.
        preload: names of modules that programs find already imported.
        python: interpreter to run programs with, for example that of another virtual environment,
            with nothing of ours installed; None takes this process's own.
        max_output: bytes of stdout and of stderr that a result keeps, half from the head and half
            from the tail; also the longest ``value`` in characters, up to 1 MiB.
        max_total_output: bytes that a program may write to both; past it the program ends with
            status ``output``.
        startup_timeout: seconds that the fork server may take to start, imports of ``preload``
            included.

    Raises:
        InvalidArgumentError: a value is impossible (a ``ValueError``).
        InvalidArgumentTypeError: a value has the wrong type (a ``TypeError``).
        ForkServerError: the interpreter can't be started, or a module of ``preload`` can't be
            imported.

    Example:
        >>> with PythonExecutorService(pool_size=2) as executor:
        ...     result = executor.execute("print('hello'); 6 * 7")
        >>> result["stdout"], result["value"]
        ('hello\n', '42')
    """

    def __init__(
        self,
        pool_size: int = 32,
        timeout: float = 10.0,
        *,
        max_pending: int | None = None,
        preload: Sequence[str] = (),
        python: str | os.PathLike[str] | None = None,
        max_output: int = 1024 * 1024,
        max_total_output: int = 64 * 1024 * 1024,
        startup_timeout: float = 60.0,
    ) -> None:
        check_count("pool_size", pool_size, least=1, most=POOL_LIMIT)
        self._timeout = check_seconds("timeout", timeout)
        if max_pending is not None:
            check_count("max_pending", max_pending, least=0)
        check_count("max_output", max_output, least=1)
        check_count("max_total_output", max_total_output, least=max_output)
        self._preload = check_modules(preload)
        self._python = find_python(python)
        self._value_limit = min(max_output, VALUE_LIMIT)
        self._counts: Counter[str] = Counter()
        self._counts_lock = threading.Lock()
        self._pool = Pool(
            pool_size,
            python=self._python,
            preload=self._preload,
            startup_timeout=check_seconds("startup_timeout", startup_timeout),
            limits=Limits(max_output, max_total_output),
            max_pending=max_pending,
        )

    def execute(
        self, code: str, *, timeout: float | None = None, stdin: str | None = None
    ) -> ExecutionResult:
        """Execute one program and wait for its result.

        Args:
            code: Python source, run as a script's ``__main__``. If its last statement is an
                expression, the result has the value's ``repr``.
            timeout: seconds; None takes the pool's.
            stdin: text of the standard input; without it, ``input()`` raises EOFError.

        Returns:
            The result. A program that fails, crashes or runs too long is a result as well.

        Raises:
            InvalidArgumentError: ``code`` holds a NUL, ``timeout`` is not positive and finite.
            InvalidArgumentTypeError: an argument has the wrong type.
            PoolClosedError: the pool is closed, before or during the call; the program was ended.
            PoolSaturatedError: more than ``max_pending`` would wait.
            ForkServerError: the fork server died and could not be brought back.
        """
        self._pool.check()
        job = self._job(Execution(code, timeout, stdin))
        return self._result(drive(self._pool, job), job)

    def execute_batch(self, executions: Sequence[Execution | str]) -> list[ExecutionResult]:
        """Execute programs in parallel over the pool; one call for as many as there are.

        Args:
            executions: programs, as text or with their own timeout and stdin. More than
                ``pool_size`` wait for their turn; other callers get theirs in between.

        Returns:
            The results, in the order of the programs.

        Raises:
            InvalidArgumentError: as for ``execute``; nothing was run.
            InvalidArgumentTypeError: as for ``execute``; nothing was run.
            PoolClosedError: the pool is closed, before or during the call; all programs were ended.
            PoolSaturatedError: more than ``max_pending`` would wait; nothing was run.
            ForkServerError: the fork server died and could not be brought back; all programs were
                ended.

        Example:
            >>> with PythonExecutorService(pool_size=2) as executor:
            ...     programs = ["1 + 1", Execution("input()", stdin="x"), "1 / 0"]
            ...     results = executor.execute_batch(programs)
            >>> [result["value"] for result in results], results[2]["error"]["type"]
            (['2', "'x'", None], 'ZeroDivisionError')
        """
        self._pool.check()
        jobs = [self._job(_as_execution(item)) for item in _as_items(executions)]
        if not jobs:
            return []
        runs = drive_all(self._pool, jobs)
        return [self._result(run, job) for run, job in zip(runs, jobs, strict=True)]

    def _job(self, execution: Execution) -> Job:
        timeout = self._timeout if execution.timeout is None else execution.timeout
        frame = run_frame(
            execution.code,
            name="<program>",
            stdin=execution.stdin,
            cell=False,
            limit=self._value_limit,
        )
        return Job(frame, timeout)

    def _result(self, run: Run, job: Job) -> ExecutionResult:
        result = result_of(run, job.timeout, "fresh")
        with self._counts_lock:
            self._counts[result["status"]] += 1
        return result

    def stats(self) -> PoolStats:
        """Return counts of executions and of what goes on now."""
        self._pool.check()
        with self._counts_lock:
            by_status = dict(self._counts)
        queue = self._pool.queue
        idle = queue.idle
        return {
            "pool_size": self._pool.size,
            "idle": idle,
            "running": 0 if queue.closed else self._pool.size - idle,
            "pending": queue.pending,
            "executions": sum(by_status.values()),
            "by_status": by_status,
            "restarts": self._pool.restarts,
        }

    def info(self) -> PoolInfo:
        """Return what the pool is made of."""
        self._pool.check()
        server = self._pool.server
        return {
            "pool_size": self._pool.size,
            "timeout": self._timeout,
            "preload": list(self._preload),
            "python": self._python,
            "python_version": "" if server is None else server.python,
            "server": None if server is None else server.pid,
            "slot_servers": [slot.server for slot in self._pool.slots if slot.server is not None],
            "directory": None if server is None else server.directory,
            "isolation": "process",
            "closed": self._pool.queue.closed,
        }

    def close(self) -> None:
        """End all programs and servers, and return when they are gone.

        Calls that run in other threads raise PoolClosedError. May be called again. In a process
        forked from the owner it does nothing.
        """
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._pool.queue.closed else f"{self._pool.queue.idle} idle"
        return f"<PythonExecutorService of {self._pool.size} interpreters, {state}>"

    def __del__(self) -> None:
        pool: Pool | None = getattr(self, "_pool", None)
        if pool is not None and pool.owned and not pool.queue.closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            pool.close()


def _as_items(executions: object) -> list[object]:
    if isinstance(executions, str | bytes) or not isinstance(executions, Sequence):
        raise InvalidArgumentTypeError("executions", executions, "a sequence of programs")
    return list(executions)


def _as_execution(item: object) -> Execution:
    if isinstance(item, str):
        return Execution(item)
    if not isinstance(item, Execution):
        raise InvalidArgumentTypeError("executions", item, "strings and Execution objects")
    return item
