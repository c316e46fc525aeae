"""What ``PythonExecutorService`` tells of itself."""

from __future__ import annotations

from typing import Literal, TypedDict

from python_executor._statistics import Percentiles
from python_executor.sandbox import SandboxInfo


class PoolStats(TypedDict):
    """What a pool has done since it was made, and is doing now."""

    pool_size: int
    idle: int
    """Interpreters that wait for a program."""
    running: int
    """Interpreters that a program has, or is about to get."""
    pending: int
    """Executions that wait for an interpreter."""
    pending_peak: int
    """The most that ever waited at the same time."""
    executions: int
    """Executions that ended; those whose call raised an error are not among them."""
    by_status: dict[str, int]
    """The same by ``status`` of the result."""
    wait: Percentiles
    """Seconds from the call until the program began: queueing, and getting an interpreter."""
    run: Percentiles
    """Seconds from then until it ended."""
    restarts: int
    """Slot servers that had to be replaced."""
    root_restarts: int
    """Fork servers that had to be replaced, with all slot servers."""
    sessions: int
    """Sessions that have a process."""
    evictions: int
    """Sessions that lost their process to another, because there were ``max_sessions``."""
    expirations: int
    """Sessions that lost their process because nobody used them for ``idle_timeout``."""
    uptime: float
    """Seconds since the pool was ready."""


class PoolInfo(TypedDict):
    """What a pool is made of."""

    pool_size: int
    timeout: float
    """Seconds that a program may run if its call doesn't say."""
    isolation: str
    sandbox: SandboxInfo
    assignment: str
    merge_stderr: bool
    hash_seed: int | None
    """What programs hash strings with; None if it is random."""
    max_pending: int | None
    max_sessions: int
    idle_timeout: float | None
    """Seconds after which a session that nobody uses loses its process; None is never."""
    checkpoint: Literal["auto"] | bool
    rollback_cells: int
    """How many cells back a session can be taken."""
    interrupt_grace: float
    """Seconds that an interrupted cell may take to end."""
    max_output: int
    """Bytes of each stream that a result keeps."""
    max_total_output: int
    """Bytes that a program may write to both."""
    max_files: int
    """Bytes of files that a result may hold."""
    startup_timeout: float
    """Seconds that the fork server may take to start."""
    preload: list[str]
    python: str
    """Path of the interpreter that runs programs."""
    python_version: str
    owner: int
    """Pid of the process that made the pool."""
    server: int | None
    """Pid of the root fork server; None if there is none, as after ``close``."""
    slot_servers: list[int]
    """Pids, as far as known: a server says its own once it has forked."""
    directory: str | None
    """The pool's temporary directory, in which each program has its own; None if they have theirs
    in a namespace, where this process can't see them."""
    closed: bool
