"""What came of a reply's programs, and the protocol of what tells the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from llm_transforms.messages import Message
from llm_transforms.parsing import CodeBlock
from python_executor import ExecutionResult


@dataclass(frozen=True, slots=True)
class Outcome:
    """One block of a reply and what came of it.

    Attributes:
        number: Which block of the reply it was, from 1.
        block: The block.
        result: What the executor said, within the limits that were asked for. A block that was
            never run has the status "rejected".
        images: The images to show beside the text, as data URLs.
    """

    number: int
    block: CodeBlock
    result: ExecutionResult
    images: tuple[str, ...] = ()


@runtime_checkable
class ResultFormatter(Protocol):
    """A way of telling a model what its programs did."""

    @property
    def name(self) -> str:
        """The name by which it can be chosen."""
        ...

    def messages(self, outcomes: Sequence[Outcome], role: str) -> list[Message]:
        """Return the messages that answer one reply.

        Args:
            outcomes: At least one, in the order of the blocks.
            role: Role of the messages, for the formats that leave it open.
        """
        ...


def rejected(message: str) -> ExecutionResult:
    """Return the result of a program that was refused before it ran.

    Args:
        message: Why, in words for the model.
    """
    return {
        "success": False,
        "stdout": "",
        "stderr": "",
        "returncode": -1,
        "status": "rejected",
        "value": None,
        "error": {"type": "RejectedError", "message": message, "traceback": ""},
        "duration": 0.0,
        "truncated": False,
        "files": {},
        "displays": [],
        "session": None,
        "state": "fresh",
        "unprotected": None,
    }


def crashed(
    message: str = "The interpreter was lost before the program had ended.",
) -> ExecutionResult:
    """Return the result of a program whose service died meanwhile, or just before.

    Args:
        message: What happened, in words for the model.
    """
    return {
        **rejected(message),
        "status": "crashed",
        "error": {"type": "ProcessCrashedError", "message": message, "traceback": ""},
        # Nobody knows what it started from: whether it's lost, the next result says.
        "state": "kept",
    }
