"""Results between delimiters that models were trained on: a fence, or a pair of tags."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence

from llm_transforms.errors import InvalidArgumentError
from llm_transforms.messages import Message
from llm_transforms.results.content import content_of
from llm_transforms.results.failures import whole_lines
from llm_transforms.results.outcomes import Outcome
from llm_transforms.results.plain import plain_text

_FENCE_RUN = re.compile(r"`{3,}")
_NAME = re.compile(r"[A-Za-z_][\w.-]*")


class EnclosedResults(ABC):
    """One message a reply, with what each block would show in a notebook between delimiters.

    One message, as many chat templates refuse two of a role in a row.
    """

    name: str

    def messages(self, outcomes: Sequence[Outcome], role: str) -> list[Message]:
        """Return one message with the results of all blocks."""
        text = "\n".join(self.enclose(plain_text(outcome.result)) for outcome in outcomes)
        return [{"role": role, "content": content_of(text, outcomes)}]

    @abstractmethod
    def enclose(self, text: str) -> str:
        """Return a text between the delimiters, which it can't end early."""


class OutputFence(EnclosedResults):
    r"""A Markdown block with the language `output`, as ToRA and its successors read results.

    Example:
        >>> OutputFence().enclose("42\n")
        '```output\n42\n```'
    """

    name = "output_fence"

    def enclose(self, text: str) -> str:
        """Return the text in a fence that is longer than any within it."""
        fence = "`" * (max(map(len, _FENCE_RUN.findall(text)), default=2) + 1)
        return f"{fence}output\n{whole_lines(text)}{fence}"

    def __repr__(self) -> str:
        return "OutputFence()"


class TaggedResults(EnclosedResults):
    r"""A pair of tags: `<interpreter>` (ReTool), `<tool_response>` (Hermes, Qwen), `<output>`.

    Qwen's chat template writes `<tool_response>` around messages of the role "tool" by itself; this
    is for chats that have the role "user" there.

    Args:
        tag: Name of the tag. A closing tag of that name within the output gets a backslash.

    Raises:
        InvalidArgumentError: `tag` is no name.

    Example:
        >>> TaggedResults("interpreter").enclose("42\n")
        '<interpreter>\n42\n</interpreter>'
    """

    def __init__(self, tag: str) -> None:
        if not _NAME.fullmatch(tag):
            raise InvalidArgumentError("tag", tag, "a name, such as 'interpreter'")
        self.name = self.tag = tag
        self._closing = re.compile(rf"<(?=/{re.escape(tag)}(?![\w.-]))", re.IGNORECASE)

    def enclose(self, text: str) -> str:
        """Return the text on lines of its own between the tags."""
        inside = self._closing.sub(r"<\\", text)
        return f"<{self.tag}>\n{whole_lines(inside)}</{self.tag}>"

    def __repr__(self) -> str:
        return f"TaggedResults({self.tag!r})"
