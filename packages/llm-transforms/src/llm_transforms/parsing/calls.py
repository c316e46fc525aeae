"""What the formats of tool calls have in common: which calls hold a program, and where in them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

from llm_transforms.errors import InvalidArgumentError
from llm_transforms.parsing.blocks import CodeBlock, TextFormat
from llm_transforms.parsing.json_text import JSONReader, Reading
from llm_transforms.parsing.programs import program_in, text_of_program, with_newlines
from llm_transforms.parsing.thoughts import Thoughts

PYTHON_TOOLS = (
    "python",
    "execute_python",
    "code_interpreter",
    "python_interpreter",
    "ipython",
    "run_python",
    "execute_code",
    "run_code",
    "python_executor",
    "python_repl",
)
"""The names under which chat models know a tool that runs Python; the first is written."""

CODE_ARGUMENTS = ("code", "source", "script", "input", "program", "python_code")
"""The names of the argument that holds the program; the first is written."""

UnknownTools: TypeAlias = Literal["report", "ignore"]

# The namespace that gpt-oss and Kimi put before the names of tools.
_NAMESPACE = "functions."
# Characters of a text that a message to the model repeats.
_EXCERPT = 40


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call as a text has it, whichever tool it is of.

    Attributes:
        start: Where it starts in the text.
        end: Where it ends.
        name: Name of the tool; empty if there is none or it could not be read.
        arguments: Its arguments: a mapping, or JSON.
        code: The program itself, in formats whose calls have no arguments.
        call_id: Its identifier, if it has one.
        problem: What is malformed; None if nothing is.
        function_call: Whether it is the field `function_call` of OpenAI's older messages.
    """

    start: int
    end: int
    name: str = ""
    arguments: Any = None
    code: str | None = None
    call_id: str | None = None
    problem: str | None = None
    function_call: bool = False


class ToolCalls:
    """Which tool calls hold a program, and which argument it is.

    Args:
        tools: Names of the tools that run Python, as the model calls them. `render` writes the
            first.
        arguments: Names of the argument that holds the program. `render` writes the first.
        unknown_tools: What is done with calls of other tools: "report" gives a block with a
            `problem` that names the tools there are, "ignore" leaves them to somebody else.

    Raises:
        InvalidArgumentError: `tools` or `arguments` is no collection of names, or `unknown_tools`
            is neither of the two.
    """

    def __init__(
        self,
        *,
        tools: Collection[str] = PYTHON_TOOLS,
        arguments: Collection[str] = CODE_ARGUMENTS,
        unknown_tools: UnknownTools = "report",
    ) -> None:
        self.tools = _names("tools", tools)
        self.arguments = _names("arguments", arguments)
        if unknown_tools not in get_args(UnknownTools):
            raise InvalidArgumentError("unknown_tools", unknown_tools, "'report' or 'ignore'")
        self.unknown_tools = unknown_tools

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(tools={self.tools}, arguments={self.arguments}, "
            f"unknown_tools={self.unknown_tools!r})"
        )

    def _block(self, call: Call) -> CodeBlock | None:
        """Return what a call asks to be run; None if it is for somebody else."""
        name = call.name.strip()
        if name not in self.tools:
            name = name.removeprefix(_NAMESPACE)
        known = name in self.tools
        if name and not known and self.unknown_tools == "ignore":
            return None
        code, problem = self._code(call)
        if name and not known:
            problem = f"There is no tool {excerpt(name)!r}; there: {', '.join(self.tools)}."
        elif call.problem is not None:
            problem = call.problem
        elif not name:
            problem = f"The call names no tool. Name one of: {', '.join(self.tools)}."
        if problem is not None:
            problem = f"{problem}{self._example}"
        return CodeBlock(
            code,
            call.start,
            call.end,
            problem=problem,
            call_id=call.call_id,
            tool=name,
            function_call=call.function_call,
        )

    def _code(self, call: Call) -> tuple[str, str | None]:
        """Return the program of a call, and what is wrong with it."""
        if call.code is not None:
            return program_in(call.code), None
        wanted = self.arguments[0]
        arguments = call.arguments
        if isinstance(arguments, str):
            reading = read_alone(arguments)
            if reading.problem is not None:
                return "", f"The arguments are no JSON: {told(reading, arguments)}."
            arguments = reading.value
        if not isinstance(arguments, Mapping):
            return "", f'The arguments must be an object with the program as "{wanted}".'
        found = next((each for each in self.arguments if each in arguments), None)
        if found is None:
            there = ", ".join(excerpt(str(each)) for each in list(arguments)[:5]) or "none"
            return "", f'The program must be the argument "{wanted}"; given: {there}.'
        if not isinstance(arguments[found], str):
            return "", f'The argument "{found}" must be one string with the program.'
        return program_in(arguments[found]), None

    @property
    def _example(self) -> str:
        """An example of a right call, for the end of a message."""
        return ""


class ToolCallFormat(ToolCalls, TextFormat):
    """Base of the formats whose models write tool calls into the text.

    A derived class finds the calls, whichever tool they are of, and writes one. Those that are
    malformed or cut off in a thought that is over (`</think>`) are spoken of, and no blocks.
    """

    @abstractmethod
    def calls(self, text: str) -> Iterable[Call]:
        """Return the calls of a text, in their order, in time linear in its length."""

    @abstractmethod
    def write(self, code: str) -> str:
        r"""Write a call with this program, whose line ends are `\n`."""

    def parse(self, text: str) -> list[CodeBlock]:
        """Return the programs of a text, in their order."""
        blocks = (self._block(call) for call in self.calls(text))
        return Thoughts(text).without_mentions(block for block in blocks if block is not None)

    def render(self, code: str) -> str:
        r"""Return a text that `parse` reads as this program (line ends become `\n`).

        Raises:
            InvalidArgumentError: The format can't carry it: it holds what would end it.
        """
        return rendered(self, code, self.write(text_of_program(code)))

    def _carries(self, text: str, code: str) -> bool:
        """Whether a text is read as one call with this program, of the tool that is written."""
        calls = [(call.name, call.code) for call in self.calls(text)]
        return calls == [(self.tools[0], code)] and not Thoughts(text).end_between(0, len(text))

    @cached_property
    def _example(self) -> str:
        return f" A right call:\n{self.write('print(1)')}"


def rendered(format_: TextFormat, code: str, text: str) -> str:
    """Return a text if the format reads it as this program alone.

    Raises:
        InvalidArgumentError: It doesn't.
    """
    read = [(block.code, block.problem) for block in format_.parse(text)]
    if read != [(with_newlines(code), None)]:
        raise InvalidArgumentError(
            "code", code, f"without the delimiters of the format {format_.name}, which would end it"
        )
    return text


def read_alone(text: str) -> Reading:
    """Read JSON that has a text to itself."""
    start = len(text) - len(text.lstrip())
    reading = JSONReader(text).read(start)
    if reading.problem is None and (more := text[reading.end :].lstrip()):
        end = len(text) - len(more)
        return Reading(reading.value, end, "there is more after its end", end)
    return reading


def told(reading: Reading, text: str) -> str:
    """Say what is wrong with JSON, and where."""
    before = text[max(0, reading.at - _EXCERPT) : reading.at].rpartition("\n")[2]
    after = text[reading.at : reading.at + _EXCERPT].partition("\n")[0]
    where = f"at {excerpt(after)!r}" if after.strip() else "at the end"
    behind = f", after {excerpt(before)!r}" if before.strip() else ""
    return f"{reading.problem} {where}{behind}"


def excerpt(text: str) -> str:
    """Return a piece of a text that can go into a message: short, and no half of a character."""
    short = text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}..."
    return short.encode("utf-8", "replace").decode()


def as_call(value: Any, start: int, end: int) -> Call:
    """Return the call that a JSON value is: a name with arguments or parameters.

    The name of the tool is read wherever it stands: OpenAI's form has it in "function".
    """
    if isinstance(value, Mapping) and isinstance(value.get("function"), Mapping):
        value = value["function"]
    if not isinstance(value, Mapping):
        return Call(start, end, problem='The call must be an object with "name" and "arguments".')
    name = value.get("name")
    arguments = value.get("arguments", value.get("parameters"))
    return Call(start, end, name if isinstance(name, str) else "", arguments)


def _names(parameter: str, names: object) -> tuple[str, ...]:
    if (
        isinstance(names, str)
        or not isinstance(names, Collection)
        or not names
        or not all(isinstance(name, str) and name for name in names)
    ):
        raise InvalidArgumentError(parameter, names, "a collection of names")
    return tuple(names)
