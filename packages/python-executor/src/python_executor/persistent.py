"""``PersistentPythonProcess``: one interpreter that keeps its state between executions."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from python_executor._arguments import check_count, check_modules, check_seconds, check_seed
from python_executor._drive import Job, drive
from python_executor._forkserver import find_python
from python_executor._frames import MAX_FILES, VALUE_LIMIT, run_frame
from python_executor._outcome import result_of
from python_executor._pool import Pool
from python_executor._run import Limits
from python_executor.results import Execution, ExecutionResult
from python_executor.sandbox import SandboxMode, SandboxPolicy

# The only one of its pool.
_SESSION = "persistent"


class PersistentPythonProcess:
    """One Python interpreter with a memory: names, imports and open files stay from cell to cell.

    A cell that runs too long is interrupted, as by Ctrl-C, and the interpreter goes on. One that
    won't be interrupted, floods or crashes takes the interpreter with it; the next result then says
    ``state="lost"``. ``sys.exit`` ends the cell alone. Thread-safe: callers are served one
    after the other.

    Args:
        timeout: seconds that a cell may run; a call can give its own.
        preload: names of modules that cells find already imported.
        python: interpreter to run cells with; None takes this process's own.
        max_output: bytes of stdout and of stderr that a result keeps.
        max_total_output: bytes that a cell may write to both before it is ended.
        max_files: bytes of files that a result brings back, and characters of displays; what
            doesn't fit is left out, and ``truncated`` says so.
        interrupt_grace: seconds that a cell may take to end when it is interrupted at its timeout;
            then it is ended, and the interpreter's state lost.
        sandbox: ``"auto"`` takes every layer of protection that this machine gives, ``"strict"``
            insists on those that matter, ``"off"`` is for trusted code; or a ``SandboxPolicy``.
        startup_timeout: seconds that the start may take.
        hash_seed: what cells hash strings with, and with it the order of sets (see
            ``PythonExecutorService``); None leaves it random.

    Raises:
        InvalidArgumentError: a value is impossible (a ``ValueError``).
        InvalidArgumentTypeError: a value has the wrong type (a ``TypeError``).
        ForkServerError: the interpreter can't be started, or a module of ``preload`` can't be
            imported.
        SandboxUnavailableError: a layer of the sandbox that is insisted on can't be had.

    Example:
        >>> with PersistentPythonProcess(timeout=5.0) as process:
        ...     first = process.execute("x = 41")
        ...     second = process.execute("x + 1")
        >>> second["value"], first["state"], second["state"]
        ('42', 'fresh', 'kept')
    """

    def __init__(
        self,
        timeout: float = 10.0,
        *,
        preload: Sequence[str] = (),
        python: str | os.PathLike[str] | None = None,
        max_output: int = 1024 * 1024,
        max_total_output: int = 64 * 1024 * 1024,
        max_files: int = MAX_FILES,
        interrupt_grace: float = 1.0,
        sandbox: SandboxMode | SandboxPolicy = "auto",
        startup_timeout: float = 60.0,
        hash_seed: int | None = None,
    ) -> None:
        self._timeout = check_seconds("timeout", timeout)
        check_count("max_output", max_output, least=1)
        check_count("max_total_output", max_total_output, least=max_output)
        self._max_files = check_count("max_files", max_files, least=0)
        self._value_limit = min(max_output, VALUE_LIMIT)
        self._grace = check_seconds("interrupt_grace", interrupt_grace)
        self._cells = 0
        self._pool = Pool(
            1,
            python=find_python(python),
            preload=check_modules(preload),
            startup_timeout=check_seconds("startup_timeout", startup_timeout),
            limits=Limits(max_output, max_total_output, max_files=max_files),
            max_pending=None,
            sandbox=sandbox,
            max_sessions=1,
            eager=False,  # only the session has a process
            hash_seed=check_seed("hash_seed", hash_seed),
        )

    def execute(
        self,
        code: str,
        *,
        timeout: float | None = None,
        stdin: str | None = None,
        files: Mapping[str, bytes] | None = None,
        seed: int | None = None,
    ) -> ExecutionResult:
        """Execute one cell and wait for its result.

        Args:
            code: Python source, which may ``await`` at its top level. Tracebacks call it
                ``<cell 1>``, ``<cell 2>``, ...
            timeout: seconds; None takes the process's own.
            stdin: text of the standard input, for this cell.
            files: what is put into the interpreter's own directory before the cell, by name. They
                replace files of the same names.
            seed: what the global random generators begin the cell with (see ``Execution``); the
                cells after it go on from there. None leaves them as they are.

        Returns:
            The result; ``state`` tells what the cell started from.

        Raises:
            InvalidArgumentError: ``code`` holds a NUL, ``timeout`` is not positive and finite,
                ``seed`` is out of bounds.
            InvalidArgumentTypeError: an argument has the wrong type.
            FileNameError: a name of ``files`` is absolute, leads elsewhere, or can't be that of a
                file (an InvalidArgumentError).
            FilesTooLargeError: ``files`` are too many or too large (an InvalidArgumentError).
            PoolClosedError: cleaned up, before or during the call.
            ForkServerError: the fork server died and could not be brought back.
        """
        self._pool.check()
        execution = Execution(code, timeout, stdin, files, seed=seed)
        seconds = self._timeout if timeout is None else timeout
        frame = run_frame(
            execution.code,
            name=None,
            stdin=execution.stdin,
            cell=True,
            limit=self._value_limit,
            files=execution.files,
            max_files=self._max_files,
            seed=execution.seed,
        )
        run = drive(self._pool, Job(frame, seconds, keep=True, session=_SESSION, grace=self._grace))
        self._cells += 1
        return result_of(run, seconds)

    def cleanup(self) -> None:
        """End the interpreter and all it has started; returns when they are gone. Repeatable."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cleanup()

    def __repr__(self) -> str:
        state = "cleaned up" if self._pool.queue.closed else f"{self._cells} cells"
        return f"<PersistentPythonProcess, {state}>"

    def __del__(self) -> None:
        pool: Pool | None = getattr(self, "_pool", None)
        if pool is not None and pool.owned and not pool.queue.closed:
            warnings.warn(
                f"{self!r} was not cleaned up", ResourceWarning, source=self, stacklevel=2
            )
            pool.close()
