"""Several formats at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llm_transforms.errors import InvalidArgumentError
from llm_transforms.parsing.blocks import CodeBlock, CodeFormat
from llm_transforms.parsing.merging import in_order


class AnyOf:
    r"""The programs that any of several formats finds, in the order of the text.

    Of blocks that overlap the one that starts first is taken. Of those that start at one place, one
    without a problem; then one that names a tool, as its format understood more of the call; then
    that of the format given first.

    Args:
        formats: The formats.
        name: A name for them together; made of theirs if not given.

    Raises:
        InvalidArgumentError: `formats` has no format.

    Example:
        >>> from llm_transforms.parsing import HermesToolCalls, MarkdownFences
        >>> either = AnyOf([MarkdownFences(), HermesToolCalls()])
        >>> text = "```python\n1\n```\n" + HermesToolCalls().render("2")
        >>> [block.code for block in either.blocks({"role": "assistant", "content": text})]
        ['1', '2']
    """

    def __init__(self, formats: Sequence[CodeFormat], *, name: str | None = None) -> None:
        self.formats = tuple(formats)
        if not self.formats:
            raise InvalidArgumentError("formats", formats, "at least one format")
        self.name = "+".join(each.name for each in self.formats) if name is None else name

    def blocks(self, message: Mapping[str, Any]) -> list[CodeBlock]:
        """Return the programs of one assistant message, in their order."""
        found = (block for each in self.formats for block in each.blocks(message))
        blocks = in_order(found, _rank)
        # Some servers leave a call in the text that they have parsed into a field, which has no
        # width there.
        fields = {block.code for block in blocks if block.tool and block.start == block.end}
        return [
            block
            for block in blocks
            if not (block.tool and block.start < block.end and block.code in fields)
        ]

    def parse(self, text: str) -> list[CodeBlock]:
        """Return the programs of a text, in their order."""
        return self.blocks({"role": "assistant", "content": text})

    def __repr__(self) -> str:
        return f"AnyOf({list(self.formats)})"


def _rank(block: CodeBlock) -> tuple[bool, bool]:
    return block.problem is not None, not block.tool
