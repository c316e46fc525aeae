"""``PythonExecutorService``: a pool of interpreters, shared by many threads or callers."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Literal, Self

from python_executor._arguments import (
    POOL_LIMIT,
    check_choice,
    check_count,
    check_flag,
    check_modules,
    check_name,
    check_seconds,
    check_seed,
)
from python_executor._drive import Echo, Job, branch, drive, drive_all, in_turn, roll_back
from python_executor._forkserver import find_python
from python_executor._frames import MAX_FILES, VALUE_LIMIT, run_frame
from python_executor._outcome import rejected, result_of
from python_executor._pool import Pool
from python_executor._reports import PoolInfo, PoolStats
from python_executor._run import Limits, Run
from python_executor._statistics import Recorder
from python_executor.errors import (
    InvalidArgumentError,
    InvalidArgumentTypeError,
    PoolClosedError,
)
from python_executor.results import Execution, ExecutionResult, SessionInfo
from python_executor.sandbox import SandboxMode, SandboxPolicy

ISOLATIONS = ("process", "namespace")
# How much memory of its own a session's process may have to be copied (bytes).
CHECKPOINTS: dict[Literal["auto"] | bool, int | None] = {
    "auto": 64 * 1024 * 1024,
    True: 2**62,
    False: None,
}
# How many sessions may have a process unless a pool says otherwise, or has more interpreters.
MAX_SESSIONS = 128
# How many checkpoints a session may keep beside the last one.
MAX_ROLLBACK = 1000
ASSIGNMENTS = ("idle-first", "round-robin")


class PythonExecutorService:
    r"""A pool of Python interpreters: every program runs in a process that nobody used before.

    The processes are forked ahead of time from a warm parent, so isolation costs a message and not
    the start of an interpreter. Each runs in a sandbox that works in an ordinary container: see
    ``SandboxPolicy``, and what ``info()["sandbox"]`` says of this machine.

    Thread-safe. The thread that calls drives its own programs; there is no thread in the
    background, but for the one that ``idle_timeout`` asks for. If the process that owns the pool
    ends, even by SIGKILL, every program, server and temporary file goes too.

    Args:
        pool_size: how many programs run at the same time.
        timeout: seconds that a program may run, counted from its start; a call can give its own.
        isolation: ``process``: each program in a process that nobody used before; ``namespace``:
            for trusted programs that are to start within microseconds: the process is used again
            with a fresh ``__main__``. All else that a program changes stays for the next: imported
            modules and what was done to them, ``builtins``, the working directory and its files,
            the environment, open files, threads, signal handlers. Exit functions don't run. A
            program that crashes, is ended or floods costs the process, and the next has a new one.
        assignment: ``idle-first``: an execution gets whichever slot is free; ``round-robin``:
            execution k, in the order of calls, gets slot k modulo ``pool_size`` and waits for it.
            With both, callers take turns: a large batch doesn't keep others waiting.
        merge_stderr: whether what a program writes to stderr goes to stdout, in the exact order in
            which it writes; then nothing is buffered, and each ``print`` costs a little more.
        max_pending: how many executions may wait for an interpreter; None is no limit.
        max_sessions: how many sessions may have a process, at least ``pool_size``. One more takes
            that of the least recently used one, whose next result then says ``lost``.
        idle_timeout: seconds after which a session that nobody uses, or waits for, loses its
            process, so that its memory is free again: its next result says ``lost``. None is
            never. Otherwise the pool has a thread of its own from its first session on.
        checkpoint: whether sessions survive their cells: after each cell, off the path, its process
            leaves a copy of itself behind, to which the session goes back if a later cell crashes
            or has to be ended. ``"auto"``: if it has at most 64 MiB of memory of its own, because
            work in place on large arrays is several times slower in a process that was copied;
            ``True``: always; ``False``: never. What a copy can't have (threads, child processes)
            leaves the next cell without one, and its result says so (``unprotected``).
        rollback_cells: how many cells back ``rollback`` can take a session. For each the checkpoint
            stays, with the memory that cells have changed since; 0 keeps just the last one.
        interrupt_grace: seconds that a cell of a session may take to end when it is interrupted,
            at its timeout or by ``cancel``; then it is ended, and the session lost.
        preload: names of modules that programs find already imported.
        python: interpreter to run programs with, for example that of another virtual environment,
            with nothing of ours installed; None takes this process's own.
        max_output: bytes of stdout and of stderr that a result keeps, half from the head and half
            from the tail; also the longest ``value`` in characters, up to 1 MiB.
        max_total_output: bytes that a program may write to both; past it the program ends with
            status ``output``.
        max_files: bytes of files that a result brings back, and characters of displays; what
            doesn't fit is left out, and ``truncated`` says so.
        sandbox: ``"auto"`` takes every layer of protection that this machine gives, ``"strict"``
            insists on those that matter, ``"off"`` is for trusted code; or a ``SandboxPolicy``.
        startup_timeout: seconds that the fork server may take to start, imports of ``preload``
            included.
        hash_seed: what programs hash strings with (PYTHONHASHSEED), and with it the order of sets:
            from 0 to 2**32 - 1, equal over pools with the same; None leaves it random.

    Raises:
        InvalidArgumentError: a value is impossible (a ``ValueError``).
        InvalidArgumentTypeError: a value has the wrong type (a ``TypeError``).
        ForkServerError: the interpreter can't be started, or a module of ``preload`` can't be
            imported.
        SandboxUnavailableError: a layer of the sandbox that is insisted on can't be had.

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
        isolation: Literal["process", "namespace"] = "process",
        assignment: Literal["idle-first", "round-robin"] = "idle-first",
        merge_stderr: bool = False,
        max_pending: int | None = None,
        max_sessions: int | None = None,
        idle_timeout: float | None = None,
        checkpoint: Literal["auto"] | bool = "auto",
        rollback_cells: int = 0,
        interrupt_grace: float = 1.0,
        preload: Sequence[str] = (),
        python: str | os.PathLike[str] | None = None,
        max_output: int = 1024 * 1024,
        max_total_output: int = 64 * 1024 * 1024,
        max_files: int = MAX_FILES,
        sandbox: SandboxMode | SandboxPolicy = "auto",
        startup_timeout: float = 60.0,
        hash_seed: int | None = None,
    ) -> None:
        check_count("pool_size", pool_size, least=1, most=POOL_LIMIT)
        self._timeout = check_seconds("timeout", timeout)
        if max_pending is not None:
            check_count("max_pending", max_pending, least=0)
        self._max_pending = max_pending
        if max_sessions is None:
            max_sessions = max(pool_size, MAX_SESSIONS)
        check_count("max_sessions", max_sessions, least=pool_size, most=POOL_LIMIT)
        if idle_timeout is not None:
            idle_timeout = check_seconds("idle_timeout", idle_timeout)
        self._checkpoint = check_choice("checkpoint", checkpoint, CHECKPOINTS)
        check_count("rollback_cells", rollback_cells, least=0, most=MAX_ROLLBACK)
        self._grace = check_seconds("interrupt_grace", interrupt_grace)
        self._isolation = check_choice("isolation", isolation, ISOLATIONS)
        self._reuse = isolation == "namespace"
        self._assignment = check_choice("assignment", assignment, ASSIGNMENTS)
        self._merge_stderr = check_flag("merge_stderr", merge_stderr)
        check_count("max_output", max_output, least=1)
        check_count("max_total_output", max_total_output, least=max_output)
        self._max_files = check_count("max_files", max_files, least=0)
        self._preload = check_modules(preload)
        self._python = find_python(python)
        self._value_limit = min(max_output, VALUE_LIMIT)
        self._startup_timeout = check_seconds("startup_timeout", startup_timeout)
        self._pool = Pool(
            pool_size,
            python=self._python,
            preload=self._preload,
            startup_timeout=self._startup_timeout,
            limits=Limits(max_output, max_total_output, max_files=max_files),
            max_pending=max_pending,
            sandbox=sandbox,
            merge_stderr=merge_stderr,
            in_turn=assignment == "round-robin",
            max_sessions=max_sessions,
            history=rollback_cells + 1,
            idle_timeout=idle_timeout,
            hash_seed=check_seed("hash_seed", hash_seed),
        )
        self._recorder = Recorder()

    def execute(
        self,
        code: str,
        *,
        timeout: float | None = None,
        stdin: str | None = None,
        files: Mapping[str, bytes] | None = None,
        execution_id: str | None = None,
        session: str | None = None,
        seed: int | None = None,
    ) -> ExecutionResult:
        """Execute one program and wait for its result.

        Args:
            code: Python source, run as a script's ``__main__``. If its last statement is an
                expression, the result has the value's ``repr``.
            timeout: seconds; None takes the pool's.
            stdin: text of the standard input; without it, ``input()`` raises EOFError.
            files: what the program finds in its working directory, by name: relative, with ``/``
                for files in subdirectories.
            execution_id: a name for ``cancel``.
            session: has the program run as the next cell of the session of that name, which keeps
                its names, modules, files and working directory from cell to cell. A session is
                opened by its first cell. Its cells run one after the other, in the order of calls.
            seed: of the global random generators (see ``Execution``); None draws other numbers each
                time, and in a session goes on from the cell before.

        Returns:
            The result. A program that fails, crashes or runs too long is a result as well.

        Raises:
            InvalidArgumentError: ``code`` holds a NUL, ``timeout`` is not positive and finite,
                ``seed`` is out of bounds.
            InvalidArgumentTypeError: an argument has the wrong type.
            FileNameError: a name of ``files`` is absolute, leads elsewhere, or can't be that of a
                file (an InvalidArgumentError).
            FilesTooLargeError: ``files`` are too many or too large (an InvalidArgumentError).
            PoolClosedError: the pool is closed, before or during the call; the program was ended.
            PoolSaturatedError: more than ``max_pending`` would wait.
            ExecutionExistsError: an execution of the same ``execution_id`` waits or runs.
            ForkServerError: the fork server died and could not be brought back.
        """
        execution = Execution(code, timeout, stdin, files, execution_id, session, seed)
        return self._execute(execution, None)

    def _execute(self, execution: Execution, echo: Echo | None) -> ExecutionResult:
        """Execute a program whose output is also passed on as it comes, for the command line."""
        self._pool.check()
        job = self._job(execution, echo)
        called = time.monotonic()
        run = drive(self._pool, job) if job.name is None else drive_all(self._pool, [job])[0]
        return self._result(run, job, called)

    def execute_batch(self, executions: Sequence[Execution | str]) -> list[ExecutionResult]:
        """Execute programs in parallel over the pool; one call for as many as there are.

        Args:
            executions: programs, as text or with their own timeout, stdin and files. More than
                ``pool_size`` wait for their turn; other callers get theirs in between.

        Returns:
            The results, in the order of the programs.

        Raises:
            InvalidArgumentError: as for ``execute``; nothing was run.
            InvalidArgumentTypeError: as for ``execute``; nothing was run.
            PoolClosedError: the pool is closed, before or during the call; all programs were ended.
            PoolSaturatedError: more than ``max_pending`` would wait; nothing was run.
            ExecutionExistsError: an ``execution_id`` is that of an execution that waits or runs, or
                is there twice; nothing was run.
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
        called = time.monotonic()
        runs = drive_all(self._pool, jobs)
        return [self._result(run, job, called) for run, job in zip(runs, jobs, strict=True)]

    def _job(self, execution: Execution, echo: Echo | None = None) -> Job:
        timeout = self._timeout if execution.timeout is None else execution.timeout
        in_session = execution.session is not None
        keep = in_session or self._reuse
        frame = run_frame(
            execution.code,
            name=None if in_session else "<program>",
            stdin=execution.stdin,
            cell=keep,
            fresh=keep and not in_session,
            limit=self._value_limit,
            files=execution.files,
            max_files=self._max_files,
            seconds=None if keep else timeout,  # a used process has used some
            seed=execution.seed,
        )
        return Job(
            frame,
            timeout,
            keep=keep,
            quiet=keep and not in_session,
            name=execution.execution_id,
            echo=echo,
            session=execution.session,
            grace=self._grace if in_session else None,
            checkpoint=CHECKPOINTS[self._checkpoint] if in_session else None,
        )

    def close_session(self, session: str) -> bool:
        """End a session's process, when the cells that were called before have ended.

        A later cell opens a fresh one.

        Args:
            session: its name.

        Returns:
            Whether there was one.

        Raises:
            InvalidArgumentError: it is empty.
            InvalidArgumentTypeError: it is not a string.
            PoolClosedError: the pool is closed.
        """
        self._pool.check()
        check_name("session", session)
        return in_turn(self._pool, [session], lambda: self._pool.sessions.close(session))

    def rollback(self, session: str, to: int) -> None:
        """Have a session go back to what it was after one of its last cells.

        The state of its process, that is: files in its working directory stay as they are. Waits
        for the cells that were called before. The next cell has the number after ``to``.

        Args:
            session: its name.
            to: the number of the cell, as tracebacks have it (``<cell 3>``): at most
                ``rollback_cells`` before the last one.

        Raises:
            CheckpointNotFoundError: there is no checkpoint of that cell; nothing has changed.
            SessionNotFoundError: the session has no process.
            InvalidArgumentError: the name is empty, or ``to`` is not positive.
            InvalidArgumentTypeError: an argument has the wrong type.
            PoolClosedError: the pool is closed.

        Example:
            >>> with PythonExecutorService(pool_size=1, rollback_cells=2) as executor:
            ...     for code in ("x = 1", "x = 2", "x = 3"):
            ...         _ = executor.execute(code, session="a")
            ...     executor.rollback("a", to=1)
            ...     executor.execute("x", session="a")["value"]
            '1'
        """
        self._pool.check()
        check_name("session", session)
        check_count("to", to, least=1)
        in_turn(self._pool, [session], lambda: roll_back(self._pool, session, to))

    def fork_session(self, src: str, dst: str) -> None:
        """Copy a session: another goes on from its state, with copies of its files.

        The memory is shared until one of both changes it. Waits for the cells of both that were
        called before; takes no interpreter of the pool. ``random`` and the other generators go on
        in both from where they are: give ``seed=`` to the next cells if they are to differ.

        What a copy can't have, for which it is refused: other threads, child processes, open pipes
        and sockets, files that are mapped to be written to (which without a sandbox nobody sees:
        they stay one for both). Open files are opened anew in the copy, at the same position;
        absolute paths into the working directory that the program has stored still name the
        source's, and can't be reached.

        Args:
            src: the session.
            dst: the name of the copy.

        Raises:
            SessionNotFoundError: ``src`` has no process: there was no cell yet, or it is lost.
            SessionExistsError: ``dst`` has one (a ``ValueError``).
            SessionCopyError: ``src`` can't be copied, and goes on as it was.
            InvalidArgumentError: a name is empty, or both are the same.
            InvalidArgumentTypeError: a name is not a string.
            PoolClosedError: the pool is closed.
            ForkServerError: no descriptors are to be had.

        Example:
            >>> with PythonExecutorService(pool_size=1) as executor:
            ...     _ = executor.execute("x = 1", session="root")
            ...     executor.fork_session("root", "branch")
            ...     _ = executor.execute("x = 2", session="root")
            ...     executor.execute("x", session="branch")["value"]
            '1'
        """
        pool = self._pool
        pool.check()
        check_name("src", src)
        check_name("dst", dst)
        if src == dst:
            raise InvalidArgumentError("dst", dst, "another name than src")
        checkpoint = CHECKPOINTS[self._checkpoint]
        in_turn(pool, [src, dst], lambda: branch(pool, src, dst, checkpoint))

    def list_sessions(self) -> list[SessionInfo]:
        """Return the sessions that have a process, the least recently used first.

        Raises:
            PoolClosedError: the pool is closed.
        """
        self._pool.check()
        if self._pool.queue.closed:
            raise PoolClosedError
        return self._pool.sessions.living()

    def cancel(self, execution_id: str) -> bool:
        """Cancel an execution, from any thread; returns at once.

        One that waits never begins: its result has status ``rejected``. One that runs is ended with
        all its processes: status ``cancelled``, return code -9, and what it had written. A cell of
        a session is interrupted first, and ended only if it goes on.

        Args:
            execution_id: what the execution was given.

        Returns:
            Whether it is cancelled; False if no execution of that name waits or runs.

        Raises:
            InvalidArgumentError: it is empty.
            InvalidArgumentTypeError: it is not a string.
        """
        self._pool.check()
        return self._pool.queue.cancel(check_name("execution_id", execution_id))

    def _result(self, run: Run | None, job: Job, called: float) -> ExecutionResult:
        session = job.session
        result = rejected(session) if run is None else result_of(run, job.timeout, session)
        wait = None if run is None or run.started_at is None else run.started_at - called
        self._recorder.add(result["status"], wait, result["duration"])
        return result

    def stats(self) -> PoolStats:
        """Return what the pool has done, and what goes on now. Cheap: ask as often as you like."""
        self._pool.check()
        by_status, wait, run = self._recorder.summary()
        queue = self._pool.queue
        idle = queue.idle
        return {
            "pool_size": self._pool.size,
            "idle": idle,
            "running": 0 if queue.closed else self._pool.size - idle,
            "pending": queue.pending,
            "pending_peak": queue.peak,
            "executions": sum(by_status.values()),
            "by_status": by_status,
            "wait": wait,
            "run": run,
            "restarts": self._pool.restarts,
            "root_restarts": self._pool.root_restarts,
            "sessions": len(self._pool.sessions),
            "evictions": self._pool.sessions.evictions,
            "expirations": self._pool.sessions.expirations,
            "uptime": self._recorder.uptime,
        }

    def info(self) -> PoolInfo:
        """Return what the pool is made of."""
        self._pool.check()
        server = self._pool.server
        slots = self._pool.slots
        limits = self._pool.limits
        return {
            "pool_size": self._pool.size,
            "timeout": self._timeout,
            "isolation": self._isolation,
            "assignment": self._assignment,
            "merge_stderr": self._merge_stderr,
            "hash_seed": self._pool.hash_seed,
            "max_pending": self._max_pending,
            "max_sessions": self._pool.sessions.most,
            "idle_timeout": self._pool.sessions.idle_timeout,
            "checkpoint": self._checkpoint,
            "rollback_cells": self._pool.history - 1,
            "interrupt_grace": self._grace,
            "max_output": limits.max_output,
            "max_total_output": limits.max_total_output,
            "max_files": limits.max_files,
            "startup_timeout": self._startup_timeout,
            "preload": list(self._preload),
            "python": self._python,
            "python_version": "" if server is None else server.python,
            "owner": self._pool.owner,
            "server": None if server is None else server.pid,
            "slot_servers": [pid for slot in slots if (pid := slot.server) is not None],
            "directory": None if server is None or server.hidden else server.directory,
            "sandbox": self._pool.sandbox(),
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
