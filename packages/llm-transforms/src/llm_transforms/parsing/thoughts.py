"""What a model thinks aloud before it answers: programs are spoken of there."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

from llm_transforms.parsing.blocks import CodeBlock
from llm_transforms.parsing.mentions import in_quotes

# Qwen, DeepSeek, GLM, Kimi and MiniMax; Seed-OSS has a prefix.
_TAG = re.compile(r"<(?P<closing>/)?(?:seed:)?think(?:ing)?>")
# Chat templates open the thought in the prompt, so that a reply has the closing tag alone. One that
# is written in a program has other neighbours.
_ENDS = re.compile(r"[ \t]*+(?:[\r\n<`]|\Z)")
_IN_CODE = re.compile(r"[\"')\\]|`(?!``)")


class Thoughts:
    r"""The thoughts of a reply that are over: up to `</think>`.

    One starts at its `<think>`; the first one of a reply at the start of the text, if it has none.

    Args:
        text: The reply.

    Example:
        >>> thoughts = Thoughts("Hm.\n</think>\nSo.")
        >>> [thoughts.end_of(index) for index in (0, 15)]
        [4, None]
    """

    def __init__(self, text: str) -> None:
        self._starts: Final[list[int]] = []
        self._ends: Final[list[int]] = []
        start = None
        for tag in _TAG.finditer(text):
            if in_quotes(text, *tag.span()):
                continue
            if not tag["closing"]:
                start = tag.start() if start is None else start
            elif start is not None and not _IN_CODE.match(text, tag.end()):
                self._starts.append(start)
                self._ends.append(tag.start())
                start = None
            elif start is None and not self._starts and _ENDS.match(text, tag.end()):
                self._starts.append(0)
                self._ends.append(tag.start())

    def end_of(self, index: int) -> int | None:
        """Return where the thought ends that this index of the text is in; None if in none."""
        last = bisect_right(self._starts, index) - 1
        if last < 0 or index >= self._ends[last]:
            return None
        return self._ends[last]

    def end_between(self, start: int, end: int) -> bool:
        """Whether a thought that has begun before `start` ends before `end`."""
        over = self.end_of(start)
        return over is not None and over < end

    def without_mentions(self, blocks: Iterable[CodeBlock]) -> list[CodeBlock]:
        """Return the blocks that are meant: in a thought those that are well-formed and closed."""
        return [
            block
            for block in blocks
            if (over := self.end_of(block.start)) is None
            or (block.problem is None and block.end <= over)
        ]
