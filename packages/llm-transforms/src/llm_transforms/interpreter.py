"""`PythonInterpreter`: runs the programs of the replies and answers with what they printed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

from llm_transforms.errors import ClosedError, InvalidArgumentError
from llm_transforms.execution import Executor, FreshProcesses, PersistentProcesses, SharedService
from llm_transforms.messages import Message
from llm_transforms.parsing import CodeBlock, CodeFormat, code_format
from llm_transforms.results import Outcome, ResultFormatter, rejected, result_formatter
from llm_transforms.sessions import SharedSessions
from llm_transforms.transform import Transform
from python_executor import Execution
from python_executor import InvalidArgumentError as InvalidExecutionError
from services_core import ServiceBase, get_services

_DEFAULT_NAMESPACE = "services"


class PythonInterpreter(Transform):
    r"""Executes the Python blocks of assistant messages, and of nothing else.

    Where programs run depends on `services` and `persistent`:

    - A service: on its interpreters, shared with everybody who uses it. The programs of a whole
      step are one `execute_batch` call, or one a replica. Each starts afresh.
    - A service and `persistent=True`: the same, and each environment is a session of the service,
      which keeps its names until the environment is reset. No two transforms share a session.
    - No service, `persistent=False`: each in a fresh process.
    - No service, `persistent=True`: in one process for each environment, which keeps its names
      until the environment is reset.

    A program that fails, crashes or runs too long is answered with a message, and so is one that
    can't be run at all, and one whose replica died. The model is told when names of earlier
    programs are gone.

    Args:
        tool_name: Role of the answers.
        persistent: Whether names last from one program of an environment to the next.
        timeout: Seconds that one program may run.
        services: Name of a backend ("local", "ray", "inline", ...), or an open registry. None runs
            programs without a service.
        service_name: Name of the executor among the services; not looked at without `services`.
        namespace: Namespace of a backend's services, "services" if None; with an open registry
            None or the registry's own. Not looked at without `services`.
        code_format: Which blocks are programs: a name in `CODE_FORMATS`, or a format.
        results: How they are answered: a name in `RESULT_FORMATTERS`, or a formatter.

    Raises:
        UnknownBackendError: There is no backend of that name (`BackendNotInstalledError`: it is
            known, and the error says what to install).
        ServiceNotFoundError: The namespace has no service of that name.
        NotAnExecutorError: It has one, which is no executor, or with `persistent` one that has no
            sessions.
        UnknownNameError: There is no such format or formatter.
        InvalidArgumentError: Any other argument that can't be used; `timeout` raises the
            executor's error, a `ValueError` as well.

    Example:
        >>> from python_executor import PythonExecutorService
        >>> from services_core import get_services
        >>> services = get_services(backend="inline", namespace="doctest")
        >>> handle = services.register("python_executor", PythonExecutorService, pool_size=2)
        >>> with PythonInterpreter(services=services) as interpreter:
        ...     reply = {"role": "assistant", "content": "```python\nprint(6 * 7)\n```"}
        ...     interpreter.step([[reply]], [reply])
        [[{'role': 'tool', 'content': 'Code block 1 executed successfully:\n42\n'}]]
        >>> services.shutdown()
    """

    def __init__(
        self,
        *,
        tool_name: str = "tool",
        persistent: bool = False,
        timeout: float = 10.0,
        services: str | ServiceBase | None = None,
        service_name: str = "python_executor",
        namespace: str | None = None,
        code_format: str | CodeFormat = "markdown",
        results: str | ResultFormatter = "code_blocks",
    ) -> None:
        if not tool_name:
            raise InvalidArgumentError("tool_name", tool_name, "a role such as 'tool' or 'user'")
        self._settings: dict[str, Any] = {
            "tool_name": tool_name,
            "persistent": persistent,
            "timeout": timeout,
            "services": services,
            "service_name": service_name,
            "namespace": namespace,
            "code_format": code_format,
            "results": results,
        }
        # Checks the timeout at the door, with the executor's own words.
        Execution("", timeout)
        self._timeout = timeout
        self._tool_name = tool_name
        self._format = _choose_format(code_format)
        self._formatter = result_formatter(results)
        self._closed = False
        self._executor = _make_executor(
            services, service_name, namespace, persistent=persistent, timeout=timeout
        )

    def step(
        self, chats: Sequence[Sequence[Message]], replies: Sequence[Message | None]
    ) -> list[list[Message]]:
        """Run the programs of the replies and answer them.

        Raises:
            ServiceError: The service is gone, or the call to it failed. If it has replicas and one
                of them died, its programs are answered: they have crashed.
            ClosedError: This transform is closed.
        """
        if self._closed:
            raise ClosedError(self)
        outcomes = self._run([self._blocks(reply) for reply in replies])
        return [
            self._formatter.messages(each, self._tool_name) if each else [] for each in outcomes
        ]

    def reset(self, environments: Collection[int]) -> None:
        """Forget the names of some environments; nothing to do unless `persistent`.

        Their processes or sessions are ended at the same time. Those that ran nothing have none.
        """
        self._executor.reset(environments)

    def clone(self) -> Self:
        """Return an interpreter with the same settings, which shares no state with this one."""
        return type(self)(**self._settings)

    def close(self) -> None:
        """End the processes and sessions that belong to this interpreter; a service runs on."""
        self._closed = True
        self._executor.close()

    def __reduce__(self) -> tuple[Any, ...]:
        # Processes, sessions and connections stay here: what is unpickled opens its own.
        return _remake, (type(self), self._settings)

    def __repr__(self) -> str:
        given = {name: value for name, value in self._settings.items() if value != _DEFAULTS[name]}
        arguments = ", ".join(f"{name}={value!r}" for name, value in given.items())
        return f"{type(self).__name__}({arguments})"

    def _blocks(self, reply: Message | None) -> Sequence[CodeBlock]:
        if reply is None or reply.get("role") != "assistant":
            return []
        return self._format.blocks(reply)

    def _run(self, blocks: Sequence[Sequence[CodeBlock]]) -> list[list[Outcome]]:
        """Run what can be run, in one go, and put the results back where the blocks stood."""
        programs: dict[int, list[Execution]] = {}
        problems: dict[tuple[int, int], str] = {}
        for environment, each in enumerate(blocks):
            for place, block in enumerate(each):
                program = self._program(block)
                if isinstance(program, Execution):
                    programs.setdefault(environment, []).append(program)
                else:
                    problems[environment, place] = program
        results = self._executor.run(programs) if programs else {}
        queues = {environment: iter(each) for environment, each in results.items()}
        return [
            [
                Outcome(
                    place + 1,
                    block,
                    rejected(problems[environment, place])
                    if (environment, place) in problems
                    else next(queues[environment]),
                )
                for place, block in enumerate(each)
            ]
            for environment, each in enumerate(blocks)
        ]

    def _program(self, block: CodeBlock) -> Execution | str:
        """A block as a program, or what is wrong with it in words for the model."""
        if block.problem is not None:
            return block.problem
        try:
            return Execution(block.code, self._timeout)
        except InvalidExecutionError as error:
            return str(error)


_DEFAULTS: Mapping[str, Any] = PythonInterpreter.__init__.__kwdefaults__ or {}

# The parameter of the constructor has the same name.
_choose_format = code_format


def _make_executor(
    services: str | ServiceBase | None,
    service_name: str,
    namespace: str | None,
    *,
    persistent: bool,
    timeout: float,
) -> Executor:
    if services is None:
        return PersistentProcesses(timeout) if persistent else FreshProcesses(timeout)
    shared = SharedSessions if persistent else SharedService
    if isinstance(services, ServiceBase):
        if namespace not in (None, services.namespace):
            expected = f"None or the registry's own, {services.namespace!r}"
            raise InvalidArgumentError("namespace", namespace, expected)
        return shared(services, service_name, close_registry=False)
    if not isinstance(services, str):
        raise InvalidArgumentError(
            "services", services, "the name of a backend, an open registry, or None"
        )
    opened = get_services(services, _DEFAULT_NAMESPACE if namespace is None else namespace)
    try:
        return shared(opened, service_name, close_registry=True)
    except BaseException:
        opened.close()
        raise


def _remake(cls: type[PythonInterpreter], settings: dict[str, Any]) -> PythonInterpreter:
    return cls(**settings)
