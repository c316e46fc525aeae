"""`PythonTool`: a function that runs one program and returns text, for trainers that call tools."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from llm_transforms.errors import ClosedError, InvalidArgumentError
from llm_transforms.lifetime import Closing, Configured
from llm_transforms.placement import check_timeout, make_executor
from llm_transforms.results import CharacterLimit, limited, plain_text, rejected
from python_executor import Execution, ExecutionResult, InvalidArgumentTypeError
from python_executor import InvalidArgumentError as InvalidExecutionError
from services_core import ServiceBase

_Result = TypeVar("_Result")

# A tool is one environment of its executor.
_ENVIRONMENT = 0

_DESCRIPTION = "Run a Python program and return what it prints."
_KEPT = "Names, imports and files are kept from one call to the next."
_FRESH = "Each program starts afresh."
_CODE = "The program."
_RETURNS = "What it printed, or why it failed."


class PythonTool(Configured, Closing):
    r"""A function that runs one program and returns what a model should read of it.

    Trainers that take functions alone get `function`, which has a name, type hints and a docstring
    in Google style, from which they make what the model is told.

    Where programs run depends on `services` and `persistent`, as for `PythonInterpreter`. With
    `persistent=True` the tool is one session, whose calls are served one after the other, and each
    rollout needs a tool of its own (`clone`). Otherwise calls are independent, and threads may make
    as many at once as there are interpreters.

    Args:
        name: What models call it by.
        description: What models are told it does; None says what there is to say.
        persistent: Whether names last from one call to the next, until `reset`.
        timeout: Seconds that one program may run.
        services: Name of a backend ("local", "ray", "inline", ...), or an open registry. None runs
            programs without a service.
        service_name: Name of the executor among the services.
        namespace: Namespace of a backend's services, "services" if None.
        max_output_chars: Characters of a program's stdout, of its stderr and of its value that the
            text holds; the middle of what is longer is left out. None for all.

    Raises:
        UnknownBackendError: There is no backend of that name.
        ServiceNotFoundError: The namespace has no service of that name.
        NotAnExecutorError: It has one, which is no executor, or with `persistent` one that has no
            sessions.
        InvalidArgumentError: Any other argument that can't be used; `timeout` raises the
            executor's error, a `ValueError` as well.

    Example:
        >>> with PythonTool(persistent=True) as python:
        ...     python("x = 6\nprint('set')"), python("x * 7")
        ('set\n', '42\n')
    """

    def __init__(
        self,
        *,
        name: str = "python",
        description: str | None = None,
        persistent: bool = False,
        timeout: float = 10.0,
        services: str | ServiceBase | None = None,
        service_name: str = "python_executor",
        namespace: str | None = None,
        max_output_chars: int | None = None,
    ) -> None:
        if not name or not name.isidentifier():
            raise InvalidArgumentError("name", name, "an identifier such as 'python'")
        self._settings: dict[str, Any] = {
            "name": name,
            "description": description,
            "persistent": persistent,
            "timeout": timeout,
            "services": services,
            "service_name": service_name,
            "namespace": namespace,
            "max_output_chars": max_output_chars,
        }
        check_timeout(timeout)
        self._timeout = timeout
        self._limit = None if max_output_chars is None else CharacterLimit(max_output_chars)
        self.name = name
        self.description = describe(persistent=persistent) if description is None else description
        self._executor = make_executor(
            services, service_name, namespace, persistent=persistent, timeout=timeout
        )
        self._closed = False
        # Cells of a session take turns; the others need none.
        self._turn: AbstractContextManager[object] = (
            threading.Lock() if persistent else nullcontext()
        )

    def __call__(self, code: str) -> str:
        """Run a program and return what a model should read of it.

        A program that fails, crashes, runs too long or can't be run at all is told in the text.

        Raises:
            ServiceError: The service is gone, or the call to it failed.
            ClosedError: This tool is closed.
        """
        return self.tell(self.run(code))

    def tell(self, result: ExecutionResult) -> str:
        """Return what a model should read of a result, within the limit."""
        return plain_text(result if self._limit is None else limited(result, self._limit))

    @property
    def function(self) -> Callable[[str], str]:
        r"""This tool as a plain function, for `GRPOTrainer(tools=[...])` and whoever inspects it.

        Example:
            >>> with PythonTool() as python:
            ...     python.function.__name__, python.function("6 * 7")
            ('python', '42\n')
        """

        def function(code: str) -> str:
            return self(code)

        function.__name__ = function.__qualname__ = self.name
        function.__doc__ = _docstring(self.description)
        # As types, not text: whoever inspects it has no need of this module's names.
        function.__annotations__ = {"code": str, "return": str}
        return function

    async def aio(self, code: str) -> str:
        """Do what a call does, in a thread of its own: the event loop goes on.

        Cancelling it abandons the program, which ends by itself, at its timeout at the latest.
        """
        return await asyncio.wrap_future(start_thread(lambda: self(code)))

    def run(self, program: str | Execution) -> ExecutionResult:
        """Run a program and return all that is known of it.

        Args:
            program: Its source, or an `Execution` without a session.

        Raises:
            ServiceError: The service is gone, or the call to it failed.
            ClosedError: This tool is closed.
        """
        try:
            execution = (
                program if isinstance(program, Execution) else Execution(program, self._timeout)
            )
        except (InvalidExecutionError, InvalidArgumentTypeError) as error:
            return rejected(str(error))  # a model may send anything
        with self._turn:
            self._check()
            return self._executor.run({_ENVIRONMENT: [execution]})[_ENVIRONMENT][0]

    def reset(self) -> None:
        """Forget all names; nothing to do unless `persistent`. Waits for a program that runs."""
        with self._turn:
            self._executor.reset([_ENVIRONMENT])

    def close(self) -> None:
        """End the processes and the session that belong to this tool; a service runs on.

        Waits for a program that runs in its session. May be called again.
        """
        with self._turn:
            self._closed = True
            self._executor.close()

    def _check(self) -> None:
        if self._closed:
            raise ClosedError(self)


def describe(*, persistent: bool) -> str:
    """Return what models are told a Python tool does.

    Args:
        persistent: Whether names last from one call to the next.
    """
    return f"{_DESCRIPTION} {_KEPT if persistent else _FRESH}"


def parameters() -> dict[str, Any]:
    """Return the JSON schema of a tool's arguments.

    Example:
        >>> parameters()["required"]
        ['code']
    """
    return {
        "type": "object",
        "properties": {"code": {"type": "string", "description": _CODE}},
        "required": ["code"],
        "additionalProperties": False,
    }


def start_thread(function: Callable[[], _Result]) -> Future[_Result]:
    """Call a function in a thread of its own, not in a loop's pool, which is as small as the CPU.

    Args:
        function: It runs to its end, whatever becomes of the future.
    """
    future: Future[_Result] = Future()
    future.set_running_or_notify_cancel()

    def work() -> None:
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=work, name="python-tool").start()
    return future


def _docstring(description: str) -> str:
    return f"{description}\n\nArgs:\n    code: {_CODE}\n\nReturns:\n    {_RETURNS}"
