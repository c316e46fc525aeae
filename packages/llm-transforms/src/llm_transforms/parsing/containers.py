"""Block quotes and list items: what a line must begin with to belong to an open one.

After CommonMark 0.31, "Container blocks" and the parsing strategy of its appendix.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from llm_transforms.parsing.lines import Line

# Deeper nesting is text. It bounds the work for each line; nobody writes code thirty lists deep.
MAX_DEPTH = 32

# An indentation from which on a line is no marker but indented code (columns).
CODE_INDENT = 4

_MARKER = re.compile(r"(?:[-+*]|(?P<number>[0-9]{1,9})[.)])(?=[ \t]|\Z)")


class Quote:
    """A block quote: each line has its `>`."""

    __slots__ = ()

    def take(self, line: Line) -> bool:
        """Take the marker if the line has it."""
        return take_quote(line)


@dataclass(slots=True)
class Item:
    """A list item: its lines are indented as far as its first line's text.

    Attributes:
        width: That indentation in columns.
        empty: Whether it began with a blank line and nothing came since.
    """

    width: int
    empty: bool

    def take(self, line: Line) -> bool:
        """Take the indentation if the line has it."""
        if line.blank and not self.empty:
            line.skip(min(line.indent, self.width))
            return True
        if line.blank or line.indent < self.width:
            return False
        line.skip(self.width)
        return True


Container = Quote | Item


def take_quote(line: Line) -> bool:
    """Take the marker of a block quote, and the space after it, if the line begins with one."""
    if line.blank or line.indent >= CODE_INDENT or line.text[line.next] != ">":
        return False
    line.consume(1)
    line.skip(min(1, line.indent))
    return True


def take_item(line: Line, *, interrupts: bool) -> Item | None:
    """Take the marker of a list item if the line begins with one.

    Args:
        line: The line, not blank and indented by less than `CODE_INDENT`.
        interrupts: Whether it would end a paragraph: only an item that has text, and is the first
            if it is numbered, may do that.
    """
    marker = _MARKER.match(line.text, line.next)
    if marker is None:
        return None
    if interrupts:
        number = marker["number"]
        if line.text[marker.end() :].strip(" \t") == "" or (number and int(number) != 1):
            return None
    width = line.indent + len(marker[0])
    line.consume(len(marker[0]))
    if line.blank:
        return Item(width + 1, empty=True)
    # From five columns on the text is indented code, one column after the marker.
    padding = line.indent if line.indent <= CODE_INDENT else 1
    line.skip(padding)
    return Item(width + padding, empty=False)
