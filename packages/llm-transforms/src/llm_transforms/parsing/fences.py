"""Fenced code blocks of a Markdown text, in one pass over its lines.

CommonMark 0.31 with its containers (block quotes, list items), lazy lines and tabs, without its
HTML blocks: a model that writes `<answer>` above a fence means the fence. What else `lenient` does
is told in `MarkdownFences`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from llm_transforms.parsing.containers import (
    CODE_INDENT,
    MAX_DEPTH,
    Container,
    Item,
    Quote,
    take_item,
    take_quote,
)
from llm_transforms.parsing.fence_lines import BEHIND_WORDS, FenceLines
from llm_transforms.parsing.lines import Line, ends_paragraph, split_lines
from llm_transforms.parsing.strings import Strings
from llm_transforms.parsing.thoughts import Thoughts

_OPENING = re.compile(
    r"(?P<fence>`{3,}+)(?P<info>[^`]*+)\Z|(?P<tildes>~{3,}+)(?P<rest>.*+)\Z", re.DOTALL
)
_CLOSING = re.compile(r"(?P<fence>`{3,}+|~{3,}+)[ \t]*+\Z")
# Special tokens and tags that stick to a fence: "</think>```python", "```<|im_end|>".
_TAGS = r"(?:<[^<>`]{1,60}+>[ \t]*+)"
_TAGS_BEFORE = re.compile(_TAGS + "++")
_CLOSING_TAGS = re.compile(rf"(?P<fence>`{{3,}}+|~{{3,}}+)[ \t]*+{_TAGS}*+\Z")
_RUN = re.compile(r"(?<!`)`{3,}+")
# "``` This prints 1."
_CLOSING_AND_WORDS = re.compile(r"(?P<fence>`{3,}+)[ \t]")
# What stands behind a fence that ends a block within a line of code: nothing, tags or words.
_BEHIND_CODE = re.compile(rf"[ \t]|{_TAGS}*+\Z")
_MARKERS = " \t>"


@dataclass(slots=True)
class Fence:
    """A fenced block.

    Attributes:
        info: Its info string, stripped.
        lines: Its lines, without the indentation of the fence and its containers.
        raw: The same lines as they stand in the text.
        start: Index of the first character of its first line.
        end: Index after the last character of its last line.
        ragged: Whether a line is indented less than the fence.
        quoted: Whether it stands in a block quote.
        closed: Whether a fence ends it, not the text or its container.
        cut: Whether it was never closed in what a model thought aloud.
    """

    mark: str
    length: int
    indent: int
    info: str
    start: int
    end: int = 0
    ragged: bool = False
    quoted: bool = False
    closed: bool = False
    cut: bool = False
    lines: list[str] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)


def find_fences(text: str, is_python: Callable[[str], bool], *, lenient: bool) -> Iterator[Fence]:
    """Find the fenced blocks of a text; one without an end reaches to that of its container.

    Args:
        text: Any text.
        is_python: Tells from an info string whether the block holds Python, whose strings then
            may hold fences (only if lenient).
        lenient: Whether to read what models mean (see `MarkdownFences`), or what CommonMark says.
    """
    return _Scanner(text, is_python, lenient=lenient).scan()


class _Scanner:
    """The state between two lines: open containers, then a paragraph, a fence or nothing."""

    def __init__(self, text: str, is_python: Callable[[str], bool], *, lenient: bool) -> None:
        self._lines, self._starts = split_lines(text)
        self._thoughts = Thoughts(text) if lenient else None
        self._is_python = is_python
        self._lenient: Final = lenient
        self._containers: list[Container] = []
        self._paragraph = False
        self._fence: Fence | None = None
        # For a fence that holds Python: its strings, and whether a fence is open within one.
        self._strings: Strings | None = None
        self._nested = False
        # Lines up to this one are known to belong to a string.
        self._string_end = -1
        # A search for the end of a string that failed here is not repeated before: linear time.
        self._searched = -1
        self._fence_lines: FenceLines | None = None

    def scan(self) -> Iterator[Fence]:
        for number, text in enumerate(self._lines):
            ended = self._read(number, Line(text))
            if ended is not None:
                yield ended
        if self._fence is not None:
            yield self._end_fence(len(self._lines) - 1)

    def _read(self, number: int, line: Line) -> Fence | None:
        """Read one line; returns the fence that ends with it or before it."""
        matched = 0
        for container in self._containers:
            if not container.take(line):
                break
            matched += 1
        ended = None
        if self._fence is not None:
            left = self._containers[matched:]
            belongs = not left or (self._lenient and all(isinstance(c, Item) for c in left))
            if belongs and not self._is_left_open(number, line):
                return self._read_code(number, line, ragged=bool(left))
            ended = self._end_fence(number - 1)
        self._read_markers(number, line, matched)
        return ended

    # -- outside of fences -----------------------------------------------------------------------

    def _read_markers(self, number: int, line: Line, matched: int) -> None:
        whole = matched == len(self._containers)
        continues = self._paragraph and whole
        lazy = self._paragraph and not whole
        while not line.blank:
            indented = line.indent >= CODE_INDENT
            if self._open_fence(number, line, matched, indented=indented):
                self._settle(matched, paragraph=False)
                return
            if indented:
                break
            heading = ends_paragraph(line, underline=continues)
            opened = None if heading else self._open_container(line, interrupts=continues)
            if opened is None and self._open_fence_behind(number, line, matched):
                self._settle(matched, paragraph=False)
                return
            if heading:
                self._settle(matched, paragraph=False)
                return
            if opened is None:
                break
            self._settle(matched, paragraph=False)
            self._containers.append(opened)
            matched += 1
            continues = lazy = False
        if line.blank:
            del self._containers[matched:]
            self._paragraph = False
        elif not lazy:  # a lazy line continues the paragraph of an inner container
            self._settle(matched, paragraph=continues or line.indent < CODE_INDENT)

    def _settle(self, matched: int, *, paragraph: bool) -> None:
        """Close the containers that the line isn't part of; the innermost left has content."""
        del self._containers[matched:]
        self._paragraph = paragraph
        if self._containers and isinstance(inner := self._containers[-1], Item):
            inner.empty = False

    def _open_container(self, line: Line, *, interrupts: bool) -> Container | None:
        if len(self._containers) >= MAX_DEPTH:
            return None
        return Quote() if take_quote(line) else take_item(line, interrupts=interrupts)

    def _open_fence(self, number: int, line: Line, matched: int, *, indented: bool) -> bool:
        start = line.next
        if self._lenient and (tags := _TAGS_BEFORE.match(line.text, start)):
            start = tags.end()
        opening = _OPENING.match(line.text, start)
        if opening is None:
            return False
        mark = opening["fence"] or opening["tildes"]
        info = (opening["info"] if opening["fence"] else opening["rest"]).strip()
        # An indented fence is code to CommonMark. With a language it is meant as a fence.
        if (indented or start > line.next) and not (self._lenient and info):
            return False
        self._begin(number, line, matched, mark, info)
        return True

    def _open_fence_behind(self, number: int, line: Line, matched: int) -> bool:
        """Open a fence that stands behind words, if what it opens is closed on a line of its own.

        CommonMark has inline code there, which ends nowhere or in the middle of the next block.
        """
        opening = BEHIND_WORDS.search(line.text, line.next) if self._lenient else None
        if opening is None or not self._is_python(opening["info"]):
            return False
        inline = len(_RUN.findall(line.text, line.next, opening.start())) % 2 == 1
        following = self._lines[number + 1 : number + 2]
        if inline or not following or not following[0].strip(_MARKERS):
            return False
        self._begin(number, line, matched, opening["fence"], opening["info"])
        if self._fence is not None and self._is_closed_after(number, self._fence):
            self._fence.start += opening.start()
            return True
        self._fence = self._strings = None
        return False

    def _begin(self, number: int, line: Line, matched: int, mark: str, info: str) -> None:
        self._fence = Fence(
            mark[0],
            len(mark),
            line.indent,
            info,
            self._starts[number],
            quoted=any(isinstance(c, Quote) for c in self._containers[:matched]),
        )
        self._strings = Strings() if self._lenient and self._is_python(info) else None
        self._nested = False

    # -- inside of a fence -----------------------------------------------------------------------

    def _read_code(self, number: int, line: Line, *, ragged: bool) -> Fence | None:
        fence = self._fence
        assert fence is not None
        closes = number > self._string_end and self._closes(fence, line)
        if closes and not self._is_in_string(number, fence):
            return self._close_fence(number)
        if self._closes_before_words(number, line):
            return self._close_fence(number)
        fence.ragged |= not line.blank and (ragged or line.indent < fence.indent)
        code = line.rest(fence.indent)
        if (end := self._end_in_code(code)) is not None:
            behind = len(code) - end.start()
            fence.lines.append(code[: end.start()].rstrip(" \t"))
            fence.raw.append(line.text[:-behind].rstrip(" \t"))
            self._close_fence(number)
            fence.end -= len(code) - end.end()
            return fence
        fence.lines.append(code)
        fence.raw.append(line.text)
        if self._strings is not None:
            if self._strings.inside and number > self._string_end:
                self._nested |= _opens_like(fence, line.text)
            self._strings.feed(code)
            self._nested &= self._strings.inside is not None
        return None

    @property
    def _in_code(self) -> bool:
        """Whether the lines before are Python, and the next one begins in none of its strings.

        No program has backticks there, so a fence of them ends the block whatever CommonMark says.
        """
        fence = self._fence
        if self._strings is None or self._strings.inside or fence is None or fence.mark != "`":
            return False
        return not (fence.lines and fence.lines[-1].endswith("\\"))

    def _is_left_open(self, number: int, line: Line) -> bool:
        """Whether a block ends before a line: a thought ends there, or another block begins."""
        fence = self._fence
        if fence is None or self._thoughts is None or (self._strings and self._strings.inside):
            return False
        thought_end = self._thoughts.end_of(fence.start)
        start = self._starts[number]
        if thought_end is not None and start <= thought_end < start + len(line.text):
            closed = self._closes(fence, line) or self._end_in_code(line.text) is not None
            fence.cut = not closed and not self._is_closed_after(number - 1, fence)
            return fence.cut
        if not self._in_code or not line.text.startswith("```", line.next):
            return False
        opening = _OPENING.match(line.text, line.next)
        if opening is None or not _continues(fence, opening["fence"]):
            return False
        info = opening["info"]
        # With a space between it may be a closing fence and words.
        return info[:1].isalpha() or (info.strip() != "" and self._is_python(info.strip()))

    def _closes_before_words(self, number: int, line: Line) -> bool:
        """Whether a line is a closing fence with words behind it ("``` This prints 1").

        It is code if the block is closed later.
        """
        fence = self._fence
        if fence is None or not self._in_code:
            return False
        closing = _CLOSING_AND_WORDS.match(line.text, line.next)
        if closing is None or not _continues(fence, closing["fence"]):
            return False
        return not self._is_closed_after(number, fence)

    def _end_in_code(self, code: str) -> re.Match[str] | None:
        """Find the fence that ends a block behind code on its line: "print(1)```"."""
        fence = self._fence
        if fence is None or self._strings is None or "```" not in code:
            return None
        if fence.mark != "`" or not (self._in_code or self._strings.inside):
            return None
        first = len(code) - len(code.lstrip())
        for start, end in Strings(self._strings.inside).feed(code):
            for run in _RUN.finditer(code, max(start, first + 1), end):
                if _continues(fence, run[0]) and _BEHIND_CODE.match(code, run.end()):
                    return run
        return None

    def _is_closed_after(self, number: int, fence: Fence) -> bool:
        """Whether the next fence like this one, behind a line, closes and stands on its own."""
        if self._fence_lines is None:
            self._fence_lines = FenceLines(self._lines)
        following = self._fence_lines.after(number, fence.mark, fence.length)
        if following is None:
            return False
        return _CLOSING_TAGS.match(self._lines[following].lstrip(_MARKERS)) is not None

    def _closes(self, fence: Fence, line: Line) -> bool:
        outer = 0 if fence.indent < CODE_INDENT else fence.indent
        if line.indent >= outer + CODE_INDENT and not self._in_code:
            return False
        pattern = _CLOSING_TAGS if self._lenient else _CLOSING
        closing = pattern.match(line.text, line.next)
        return closing is not None and _continues(fence, closing["fence"])

    def _is_in_string(self, number: int, fence: Fence) -> bool:
        """Whether a fence that would end the block is part of a string that holds whole blocks.

        Looks ahead for the string's end. The fences up to it must come in pairs, as in a string
        that holds Markdown. Otherwise the string was never closed, and the block ends here.
        """
        if self._strings is None or not self._strings.inside or number < self._searched:
            return False
        strings = Strings(self._strings.inside)
        nested = self._nested
        end = len(self._lines)
        for ahead in range(number, len(self._lines)):
            text = self._lines[ahead]
            if _is_bare(fence, text):
                nested = not nested
            elif _opens_like(fence, text):
                if nested:
                    end = ahead
                    break
                nested = True
            strings.feed(text)
            if not strings.inside:
                if not nested:
                    self._string_end = ahead
                    return True
                end = ahead
                break
        self._searched = end
        return False

    def _close_fence(self, last: int) -> Fence:
        fence = self._end_fence(last)
        fence.closed = True
        return fence

    def _end_fence(self, last: int) -> Fence:
        fence = self._fence
        assert fence is not None
        fence.end = self._starts[last] + len(self._lines[last])
        self._fence = self._strings = None
        self._paragraph = False
        return fence


def _continues(fence: Fence, mark: str) -> bool:
    return mark[0] == fence.mark and len(mark) >= fence.length


def _opens_like(fence: Fence, text: str) -> bool:
    """Whether a line within a fence looks like the start of another, with a language."""
    opening = _OPENING.match(text.strip(" \t"))
    if opening is None or not (opening["info"] or opening["rest"]):
        return False
    return _continues(fence, opening["fence"] or opening["tildes"])


def _is_bare(fence: Fence, text: str) -> bool:
    """Whether a line within a fence is a fence without a language."""
    bare = _CLOSING.match(text.strip(" \t"))
    return bare is not None and _continues(fence, bare["fence"])
