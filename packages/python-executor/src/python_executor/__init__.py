"""A pool of isolated Python interpreters: every program in a pristine process, forked ahead.

Start with ``PythonExecutorService``, the pool: ``execute`` and ``execute_batch`` run programs and
return plain results. ``PersistentPythonProcess`` is one interpreter that keeps its state.
"""

from python_executor.errors import (
    ForkServerError,
    InvalidArgumentError,
    InvalidArgumentTypeError,
    PoolClosedError,
    PoolForkedError,
    PoolSaturatedError,
    PythonExecutorError,
)
from python_executor.persistent import PersistentPythonProcess
from python_executor.results import ErrorInfo, Execution, ExecutionResult, State, Status
from python_executor.service import PoolInfo, PoolStats, PythonExecutorService

__all__ = [
    "ErrorInfo",
    "Execution",
    "ExecutionResult",
    "ForkServerError",
    "InvalidArgumentError",
    "InvalidArgumentTypeError",
    "PersistentPythonProcess",
    "PoolClosedError",
    "PoolForkedError",
    "PoolInfo",
    "PoolSaturatedError",
    "PoolStats",
    "PythonExecutorError",
    "PythonExecutorService",
    "State",
    "Status",
]
