"""The lines of Markdown, each read from the left: its indentation in columns, then its markers."""

from __future__ import annotations

import re

# CommonMark 0.31, "Tabs": a tab reaches to the next multiple of four columns.
_TAB = 4
_LINE_END = re.compile(r"\r\n?|\n")
_HEADING = re.compile(r"#{1,6}(?:[ \t]|\Z)")
_UNDERLINE = re.compile(r"(?:=++|-++)[ \t]*+\Z")
_BREAK = re.compile(r"([-_*])[ \t]*+(?:\1[ \t]*+){2,}+\Z")


class Line:
    """A line without its line end, and how much of it the containers have taken.

    Attributes:
        text: The line.
        next: Index of the first character that is neither taken nor a space or a tab.
        indent: Columns of white space that are left before it.
    """

    __slots__ = ("_column", "_next_column", "_start", "indent", "next", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._start = 0
        self._column = 0
        self._look()

    @property
    def blank(self) -> bool:
        """Whether nothing but white space is left."""
        return self.next == len(self.text)

    def skip(self, columns: int) -> None:
        """Take columns of white space, at most `indent`."""
        self.indent -= columns

    def consume(self, length: int) -> None:
        """Take the white space and a marker of that many characters."""
        self._start = self.next + length
        self._column = self._next_column + length
        self._look()

    def rest(self, drop: int = 0) -> str:
        """Return what is left, without up to `drop` columns of white space.

        A tab that is taken in part leaves spaces.
        """
        target = self._next_column - self.indent + min(drop, self.indent)
        index, column = self._start, self._column
        while column < target:
            column += _width(self.text[index], column)
            index += 1
        return " " * (column - target) + self.text[index:]

    def _look(self) -> None:
        index, column, text = self._start, self._column, self.text
        while index < len(text) and text[index] in " \t":
            column += _width(text[index], column)
            index += 1
        self.next = index
        self._next_column = column
        self.indent = column - self._column


def _width(character: str, column: int) -> int:
    return _TAB - column % _TAB if character == "\t" else 1


def ends_paragraph(line: Line, *, underline: bool) -> bool:
    """Whether a line is a heading, the underline of one, or a thematic break."""
    patterns = [_HEADING, _BREAK, _UNDERLINE] if underline else [_HEADING, _BREAK]
    return any(pattern.match(line.text, line.next) for pattern in patterns)


def split_lines(text: str) -> tuple[list[str], list[int]]:
    """Split a text into lines and the indices at which they start."""
    lines, starts, start = [], [], 0
    for end in _LINE_END.finditer(text):
        lines.append(text[start : end.start()])
        starts.append(start)
        start = end.end()
    if start < len(text):
        lines.append(text[start:])
        starts.append(start)
    return lines, starts
