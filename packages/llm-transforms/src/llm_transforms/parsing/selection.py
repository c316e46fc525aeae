"""Which of a reply's programs run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

from llm_transforms.errors import InvalidArgumentError
from llm_transforms.parsing.blocks import CodeBlock

Selection: TypeAlias = Literal["all", "last", "joined"]


def select_blocks(blocks: Sequence[CodeBlock], choice: Selection = "all") -> list[CodeBlock]:
    r"""Return the blocks of a reply that are to be run or answered, in their order.

    Every tool call with a `call_id` must be answered. One that isn't run comes back with a
    `problem` that says so. So does what is malformed, whichever run.

    Args:
        blocks: The blocks of one reply.
        choice: "all" of them; "last", the last one alone; "joined", all as one program, one below
            the other. Joined programs have the place, tool and `call_id` of the last; if any block
            is malformed, nothing is run, and the problems are told.

    Raises:
        InvalidArgumentError: There is no such choice.

    Example:
        >>> from llm_transforms.parsing import MarkdownFences
        >>> blocks = MarkdownFences().parse("```py\na = 1\n```\nThen:\n```py\nprint(a)\n```")
        >>> [block.code for block in select_blocks(blocks, "joined")]
        ['a = 1\nprint(a)']
    """
    if choice not in get_args(Selection):
        names = ", ".join(map(repr, get_args(Selection)))
        raise InvalidArgumentError("blocks", choice, f"one of {names}")
    if choice == "all" or len(blocks) < 2:
        return list(blocks)
    *others, last = blocks
    if choice == "last":
        why = "Not run: only the last program of a reply is run."
        return [*_answered(others, why), last]
    if any(block.problem is not None for block in blocks):
        why = "Not run: another program of the reply is malformed, and all are run as one."
        return [
            answered
            for block in blocks
            for answered in ([block] if block.problem is not None else _answered([block], why))
        ]
    joined = replace(last, code="\n".join(block.code for block in blocks), start=blocks[0].start)
    why = "Run together with the last program of the reply: see its result."
    return [*_answered(others, why), joined]


def _answered(blocks: Sequence[CodeBlock], why: str) -> list[CodeBlock]:
    """Return those that must be answered, with the reason unless they have one of their own."""
    return [
        block if block.problem is not None else replace(block, problem=why)
        for block in blocks
        if block.call_id is not None or block.problem is not None
    ]
