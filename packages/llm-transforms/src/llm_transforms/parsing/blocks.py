"""What a reply holds for us, and the protocol of the formats that find it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from llm_transforms.messages import text_of


@dataclass(frozen=True, slots=True)
class CodeBlock:
    r"""One program that a reply asks to be run, or one attempt at it.

    Attributes:
        code: The program, with `\n` at the line ends; of a malformed call, what could be read.
        start: Where the block starts in the text (characters), delimiters included.
        end: Where it ends.
        language: Its language as the reply names it, lower-cased; empty if it doesn't.
        info: All that the reply says beside the code: a fence's info string.
        problem: What is malformed, in words for the model; None for a block that can be run.
        call_id: Identifier of the tool call, for the formats that have one.
        tool: Name of the tool that the call names; empty for what is no tool call.
        function_call: Whether it is the field `function_call`, which OpenAI's messages had before
            `tool_calls`, and which is answered in another way.
    """

    code: str
    start: int
    end: int
    language: str = ""
    info: str = ""
    problem: str | None = None
    call_id: str | None = None
    tool: str = ""
    function_call: bool = False


@runtime_checkable
class CodeFormat(Protocol):
    """A way in which models write programs.

    A format that reads the text alone derives from `TextFormat`. One that reads other fields of the
    message (OpenAI's `tool_calls`) implements `blocks` directly.
    """

    @property
    def name(self) -> str:
        """The name by which it can be chosen."""
        ...

    def blocks(self, message: Mapping[str, Any]) -> Sequence[CodeBlock]:
        """Return the programs of one assistant message, in their order.

        Must take any message, and time linear in its length. What is malformed comes back as a
        block with a `problem`.
        """
        ...


class TextFormat(ABC):
    """A format that finds programs in a message's text."""

    name: str

    @abstractmethod
    def parse(self, text: str) -> list[CodeBlock]:
        """Return the programs of a text, in their order."""

    @abstractmethod
    def render(self, code: str) -> str:
        r"""Return a text that `parse` reads as this program (line ends become `\n`)."""

    def blocks(self, message: Mapping[str, Any]) -> list[CodeBlock]:
        """Return the programs of one assistant message, in their order."""
        return self.parse(text_of(message))
