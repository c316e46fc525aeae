"""A pool of sandboxed Python interpreters: every program in a pristine process, forked ahead.

Start with ``PythonExecutorService``, the pool: ``execute`` and ``execute_batch`` run programs and
return plain results. ``PersistentPythonProcess`` is one interpreter that keeps its state.
"""

from python_executor._keys import session_key
from python_executor._reports import PoolInfo, PoolStats
from python_executor._statistics import Percentiles
from python_executor.errors import (
    CheckpointNotFoundError,
    ExecutionExistsError,
    FileNameError,
    FilesTooLargeError,
    ForkServerError,
    InvalidArgumentError,
    InvalidArgumentTypeError,
    PoolClosedError,
    PoolForkedError,
    PoolSaturatedError,
    PythonExecutorError,
    SandboxUnavailableError,
    SessionCopyError,
    SessionExistsError,
    SessionNotFoundError,
)
from python_executor.persistent import PersistentPythonProcess
from python_executor.results import (
    ErrorInfo,
    Execution,
    ExecutionResult,
    SessionInfo,
    State,
    Status,
)
from python_executor.sandbox import LayerReport, SandboxInfo, SandboxPolicy
from python_executor.service import PythonExecutorService

__all__ = [
    "CheckpointNotFoundError",
    "ErrorInfo",
    "Execution",
    "ExecutionExistsError",
    "ExecutionResult",
    "FileNameError",
    "FilesTooLargeError",
    "ForkServerError",
    "InvalidArgumentError",
    "InvalidArgumentTypeError",
    "LayerReport",
    "Percentiles",
    "PersistentPythonProcess",
    "PoolClosedError",
    "PoolForkedError",
    "PoolInfo",
    "PoolSaturatedError",
    "PoolStats",
    "PythonExecutorError",
    "PythonExecutorService",
    "SandboxInfo",
    "SandboxPolicy",
    "SandboxUnavailableError",
    "SessionCopyError",
    "SessionExistsError",
    "SessionInfo",
    "SessionNotFoundError",
    "State",
    "Status",
    "session_key",
]
