"""`PythonInterpreter`: runs the programs of the replies and answers with what they printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from inspect import signature
from typing import Any, Literal

from llm_transforms.budget import CallBudget
from llm_transforms.errors import ClosedError, InvalidArgumentError
from llm_transforms.execution import Programs, Results
from llm_transforms.lifetime import Configured
from llm_transforms.messages import Message
from llm_transforms.outages import OUTAGES, outage
from llm_transforms.parsing import (
    CodeBlock,
    FormatChoice,
    Selection,
    code_format,
    select_blocks,
)
from llm_transforms.placement import check_timeout, make_executor
from llm_transforms.results import (
    CharacterLimit,
    Outcome,
    OutputLimit,
    ResultFormatter,
    TokenLimit,
    images_of,
    limited,
    rejected,
    result_formatter,
)
from llm_transforms.transform import Transform
from python_executor import Execution, ExecutionResult
from python_executor import InvalidArgumentError as InvalidExecutionError
from services_core import ServiceBase


class PythonInterpreter(Configured, Transform):
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
        tokenizer: Counts the tokens of `max_output_tokens`: a tokenizer of `transformers` or
            `tokenizers`, or anything else with `encode(text)`.
        tool_name: Role of the answers.
        persistent: Whether names last from one program of an environment to the next.
        timeout: Seconds that one program may run.
        services: Name of a backend ("local", "ray", "inline", ...), or an open registry. None runs
            programs without a service.
        service_name: Name of the executor among the services; not looked at without `services`.
        namespace: Namespace of a backend's services, "services" if None; with an open registry
            None or the registry's own. Not looked at without `services`.
        code_format: How programs are written: a name in `CODE_FORMATS`, a format, or several of
            both.
        blocks: Which programs of a reply run: "all" of them, each by itself and in their order;
            the "last"; or all "joined" to one.
        results: How they are answered: a name in `RESULT_FORMATTERS`, or a formatter.
        max_output_chars: Characters of a program's stdout, of its stderr and of its value that the
            model is told; the middle of what is longer is left out. None for all.
        max_output_tokens: The same in tokens of `tokenizer`, which it needs.
        images: Whether matplotlib's figures that programs draw are parts of the answers.
        max_calls_per_turn: Programs of one reply that are run; the others are answered, and not
            run. None for any number.
        max_calls_per_episode: Programs of an environment that are run before it is reset.
        on_service_error: What a service is that died, is restarting or has no room: "raise" for
            its error, which leaves the chats as they were, or "message" for an answer to each
            program. Either way the next step finds it if it is back, or registered anew.

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
        tokenizer: Any = None,
        tool_name: str = "tool",
        persistent: bool = False,  # noqa: FBT001, FBT002 - the order is TorchRL's
        timeout: float = 10.0,
        services: str | ServiceBase | None = None,
        service_name: str = "python_executor",
        namespace: str | None = None,
        *,
        code_format: FormatChoice = "markdown",
        blocks: Selection = "all",
        results: str | ResultFormatter = "code_blocks",
        max_output_chars: int | None = None,
        max_output_tokens: int | None = None,
        images: bool = False,
        max_calls_per_turn: int | None = None,
        max_calls_per_episode: int | None = None,
        on_service_error: Literal["raise", "message"] = "raise",
    ) -> None:
        given = locals()
        self._settings = {name: given[name] for name in signature(PythonInterpreter).parameters}
        role: object = tool_name
        if not (isinstance(role, str) and role):
            raise InvalidArgumentError("tool_name", tool_name, "a role such as 'tool' or 'user'")
        if on_service_error not in ("raise", "message"):
            raise InvalidArgumentError("on_service_error", on_service_error, "'raise' or 'message'")
        check_timeout(timeout)
        self._timeout = timeout
        self._tool_name = tool_name
        self._format = _choose_format(code_format)
        select_blocks((), blocks)  # raises if there is no such choice
        self._selection: Selection = blocks
        self._formatter = result_formatter(results)
        self._limit = _output_limit(tokenizer, max_output_chars, max_output_tokens)
        self._images = images
        self._budget = CallBudget(max_calls_per_turn, max_calls_per_episode)
        self._tells_outages = on_service_error == "message"
        self._closed = False
        self._executor = make_executor(
            services,
            service_name,
            namespace,
            persistent=persistent,
            timeout=timeout,
            tells_outages=self._tells_outages,
        )

    def step(
        self, chats: Sequence[Sequence[Message]], replies: Sequence[Message | None]
    ) -> list[list[Message]]:
        """Run the programs of the replies and answer them.

        Raises:
            ServiceError: The service is gone, or the call to it failed (see `on_service_error`). If
                it has replicas and one of them died, its programs are answered: they have crashed.
            PoolSaturatedError: The service has no room for so many programs.
            ClosedError: This transform is closed.
        """
        if self._closed:
            raise ClosedError(self)
        outcomes = self._run([self._blocks(reply) for reply in replies])
        return [
            self._formatter.messages(each, self._tool_name) if each else [] for each in outcomes
        ]

    def reset(self, environments: Collection[int]) -> None:
        """Forget the names of some environments, and how many programs they ran.

        Their processes or sessions are ended at the same time. Those that ran nothing have none.
        """
        self._budget.reset(environments)
        self._executor.reset(environments)

    def close(self) -> None:
        """End the processes and sessions that belong to this interpreter; a service runs on."""
        self._closed = True
        self._executor.close()

    def __reduce__(self) -> tuple[Any, ...]:
        # Chats go on where their environment was pickled: names and processes stay here, but what
        # was spent is spent, and of the names that are gone the model must be told.
        state = {"begun": set(self._executor.begun), "spent": Counter(self._budget.spent)}
        return *super().__reduce__(), state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._executor.begun.update(state["begun"])
        self._budget.spent.update(state["spent"])

    def _blocks(self, reply: Message | None) -> Sequence[CodeBlock]:
        if reply is None or reply.get("role") != "assistant":
            return []
        return select_blocks(self._format.blocks(reply), self._selection)

    def _run(self, blocks: Sequence[Sequence[CodeBlock]]) -> list[list[Outcome]]:
        """Run what can be run, in one go, and put the results back where the blocks stood."""
        programs: dict[int, list[Execution]] = {}
        problems: dict[tuple[int, int], str] = {}
        for environment, each in enumerate(blocks):
            for place, block in enumerate(each):
                running = len(programs.get(environment, ()))
                program = self._program(block, environment, running)
                if isinstance(program, Execution):
                    programs.setdefault(environment, []).append(program)
                else:
                    problems[environment, place] = program
        results = self._execute(programs) if programs else {}
        queues = {environment: iter(each) for environment, each in results.items()}
        return [
            [
                Outcome(place + 1, block, rejected(problems[environment, place]))
                if (environment, place) in problems
                else self._outcome(place + 1, block, next(queues[environment]))
                for place, block in enumerate(each)
            ]
            for environment, each in enumerate(blocks)
        ]

    def _execute(self, programs: Programs) -> Results:
        try:
            results = self._executor.run(programs)
        except OUTAGES as error:
            if not self._tells_outages:
                raise
            result = outage(error)
            return {environment: [result] * len(each) for environment, each in programs.items()}
        self._budget.spend(programs)
        return results

    def _outcome(self, number: int, block: CodeBlock, result: ExecutionResult) -> Outcome:
        images = images_of(result) if self._images else ()
        if self._limit is not None:
            result = limited(result, self._limit)
        return Outcome(number, block, result, images)

    def _program(self, block: CodeBlock, environment: int, running: int) -> Execution | str:
        """A block as a program, or why it can't be run in words for the model."""
        if block.problem is not None:
            return block.problem
        try:
            program = Execution(block.code, self._timeout)
        except InvalidExecutionError as error:
            return str(error)
        return self._budget.refusal(environment, running) or program


# The parameter of the constructor has the same name.
_choose_format = code_format


def _output_limit(tokenizer: Any, characters: int | None, tokens: int | None) -> OutputLimit | None:
    if characters is not None and tokens is not None:
        raise InvalidArgumentError("max_output_tokens", tokens, "None if max_output_chars is given")
    if tokens is not None:
        return TokenLimit(tokenizer, tokens)
    return None if characters is None else CharacterLimit(characters)
