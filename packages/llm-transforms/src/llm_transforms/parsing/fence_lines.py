"""The lines of a text that hold fences, for those who must look ahead, in linear time."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

# Behind words a fence must name a language: "Here: ```python".
BEHIND_WORDS = re.compile(r"(?<!`)(?P<fence>`{3,}+)[ \t]*+(?P<info>[^`\s]++)[ \t]*+\Z")
_FENCE = re.compile(r"[ \t>]*+(?P<fence>`{3,}+|~{3,}+)")


class FenceLines:
    """Finds the next line with a fence that is long enough, from any line.

    A search goes from a fence to the next longer one. So it takes no more steps than the fence that
    is looked for has characters, and the text is at least as long as all of those together.

    Args:
        lines: The lines of the text.

    Example:
        >>> FenceLines(["a", "```", "> ````", "b"]).after(0, "`", 4)
        2
    """

    def __init__(self, lines: Sequence[str]) -> None:
        # For each mark the lines, the lengths of their fences, and which has the next longer one.
        self._lines: Final[dict[str, list[int]]] = {"`": [], "~": []}
        self._lengths: Final[dict[str, list[int]]] = {"`": [], "~": []}
        self._longer: Final[dict[str, list[int]]] = {"`": [], "~": []}
        for number, line in enumerate(lines):
            found = _FENCE.match(line) or ("```" in line and BEHIND_WORDS.search(line))
            if found:
                mark = found["fence"][0]
                self._lines[mark].append(number)
                self._lengths[mark].append(len(found["fence"]))
        for mark, lengths in self._lengths.items():
            longer = [len(lengths)] * len(lengths)
            waiting: list[int] = []
            for index, length in enumerate(lengths):
                while waiting and lengths[waiting[-1]] < length:
                    longer[waiting.pop()] = index
                waiting.append(index)
            self._longer[mark] = longer

    def after(self, number: int, mark: str, length: int) -> int | None:
        """Return the next line behind this one with a fence of that length or more, or None."""
        lines, lengths, longer = self._lines[mark], self._lengths[mark], self._longer[mark]
        index = bisect_right(lines, number)
        while index < len(lines) and lengths[index] < length:
            index = longer[index]
        return lines[index] if index < len(lines) else None
