r"""JSON as models write it, read in linear time and, beyond what is well-formed, without recursion.

RFC 8259, and beside it the slips that have one meaning: line ends and tabs within strings; closing
brackets that are missing at the end or before an outer one; a comma before a closing bracket; an
escape that JSON doesn't know (`\d` is a backslash and a d); and a mapping in Python's way (single
quotes, True, False, None).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

# Deeper nesting is a mistake: arguments of a tool have two levels or three.
MAX_DEPTH = 200

# The delimiter of a text that is all JSON.
NEVER = re.compile(r"(?!)")

_SPACE = re.compile(r"[ \t\r\n]*+")
_STRINGS = {
    '"': re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL),
    "'": re.compile(r"'((?:[^'\\]++|\\.)*+)'", re.DOTALL),
}
_PAIR = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE = re.compile(rf"{_PAIR}|\\u[0-9a-fA-F]{{4}}|\\.", re.DOTALL)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "/": "/"}
_NUMBER = re.compile(r"[-+]?[0-9][0-9.eE+-]*+")
_WORD = re.compile(r"(?:true|false|null|True|False|None)\b")
_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_OPENING: dict[str, type[Any]] = {"}": dict, "]": list}
_STRICT = json.JSONDecoder(strict=False)


@dataclass(slots=True)
class Reading:
    """What was read.

    Attributes:
        value: The value; as much of it as could be read if there is a problem.
        end: Index after what was read.
        problem: What is wrong, in words; None if nothing is.
        at: Where it is wrong.
    """

    value: Any
    end: int
    problem: str | None = None
    at: int = 0


class JSONReader:
    """Reads values of one text, each up to where it ends.

    A string may hold a delimiter of the format around it, so what has no end before the next
    delimiter is read beyond it. That is done as long as it costs no more than the text's length
    altogether: time is linear whatever the text.

    Args:
        text: The text.
        delimiter: What can't stand in JSON outside of strings. It ends a value that has brackets
            missing. After a value that can't be read, the next one is to be read behind it.
    """

    def __init__(self, text: str, delimiter: re.Pattern[str] = NEVER) -> None:
        self._text: Final = text
        self._delimiter: Final = delimiter
        self._spare = len(text)
        self._spare_errors = len(text)
        # What stands between two delimiters, and where it begins: several values may stand there.
        self._region = ""
        self._region_start = -1

    def read(self, start: int) -> Reading:
        r"""Read the value that starts there.

        Example:
            >>> JSONReader('{"code": "a\n"</x>', re.compile("</x>")).read(0).value
            {'code': 'a\n'}
        """
        limit = self._find_region(start)
        # Most of what models write is well-formed, and the standard library is far faster. Its
        # error counts the lines up to it, so it may fail until that has cost a text's length.
        if self._spare_errors >= 0:
            try:
                value, end = _STRICT.raw_decode(self._region, start - self._region_start)
                return Reading(value, self._region_start + end)
            except json.JSONDecodeError as error:
                self._spare_errors -= error.pos
            except RecursionError:
                self._spare_errors -= len(self._region)
        if limit < len(self._text) and self._spare > 0:
            reading = _read(self._text, start, len(self._text), self._delimiter)
            if reading.problem is None:
                return reading
            self._spare -= reading.end - start
        return _read(self._text, start, limit, self._delimiter)

    def _find_region(self, start: int) -> int:
        """Let the region be the one that this index is in; returns where it ends."""
        end = self._region_start + len(self._region)
        if self._region_start < 0 or not self._region_start <= start < end:
            delimiter = self._delimiter.search(self._text, start)
            end = delimiter.start() if delimiter else len(self._text)
            self._region, self._region_start = self._text[start:end], start
        return end


def _read(text: str, start: int, limit: int, delimiter: re.Pattern[str]) -> Reading:
    return _Reader(text, start, limit, delimiter).read()


class _ReadingError(Exception):
    """What is wrong, where, and how far was read."""

    def __init__(self, what: str, at: int, end: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.at = at
        self.end = at if end is None else end


class _Reader:
    """One value: the containers that are open, and for each the key that waits for its value."""

    def __init__(self, text: str, start: int, limit: int, delimiter: re.Pattern[str]) -> None:
        self._text = text
        self._position = start
        self._limit = limit
        self._delimiter = delimiter
        self._root: Any = None
        self._open: list[dict[str, Any] | list[Any]] = []
        self._keys: list[str] = []
        # Whether the innermost container has no member yet.
        self._first = False

    def read(self) -> Reading:
        try:
            self._read_value()
            while self._open:
                self._go_on()
        except _ReadingError as problem:
            return Reading(self._root, problem.end, problem.what, problem.at)
        return Reading(self._root, self._position)

    def _go_on(self) -> None:
        """Read the next member of the innermost container, or its end."""
        character = self._skip_space()
        first, self._first = self._first, False
        if character in _OPENING:
            self._close(character)
        elif not character:
            self._open.clear()  # closing brackets are missing, and nothing else
        elif first:
            self._read_member()
        elif character != ",":
            closing = "}" if isinstance(self._open[-1], dict) else "]"
            raise _ReadingError(f"a comma or {closing} is expected", self._position)
        else:
            self._position += 1
            character = self._skip_space()
            if character in _OPENING:
                self._close(character)
            else:
                self._read_member()

    def _read_member(self) -> None:
        if isinstance(self._open[-1], dict):
            if self._skip_space() not in _STRINGS:
                raise _ReadingError("a key in double quotes is expected", self._position)
            self._keys[-1] = self._read_string()
            if self._skip_space() != ":":
                raise _ReadingError("a colon is expected after the key", self._position)
            self._position += 1
        self._read_value()

    def _read_value(self) -> None:
        character = self._skip_space()
        if character in ("{", "["):
            self._open_container({} if character == "{" else [])
        elif character in _STRINGS:
            self._add(self._read_string())
        elif number := _NUMBER.match(self._text, self._position, self._limit):
            self._position = number.end()
            self._add(0)  # what number it is doesn't matter to anybody
        elif word := _WORD.match(self._text, self._position, self._limit):
            self._position = word.end()
            self._add(_WORDS[word[0]])
        elif character:
            raise _ReadingError("a value is expected", self._position)
        else:
            raise _ReadingError("it ends in the middle", self._position)

    def _open_container(self, container: dict[str, Any] | list[Any]) -> None:
        if len(self._open) == MAX_DEPTH:
            raise _ReadingError("it is nested too deeply", self._position)
        self._add(container)
        self._open.append(container)
        self._keys.append("")
        self._position += 1
        self._first = True

    def _close(self, bracket: str) -> None:
        """Close the innermost container that the bracket fits, and those within it."""
        while self._open:
            container = self._open.pop()
            self._keys.pop()
            if isinstance(container, _OPENING[bracket]):
                self._position += 1
                return
        raise _ReadingError(f"nothing is open that {bracket} could close", self._position)

    def _add(self, value: Any) -> None:
        if not self._open:
            self._root = value
        elif isinstance(container := self._open[-1], dict):
            container[self._keys[-1]] = value
        else:
            container.append(value)

    def _read_string(self) -> str:
        quote = self._text[self._position]
        string = _STRINGS[quote].match(self._text, self._position, self._limit)
        if string is None:
            raise _ReadingError("a string begins that never ends", self._position, self._limit)
        self._position = string.end()
        return _unescaped(string[1], quote)

    def _skip_space(self) -> str:
        """Go to the next character and return it; empty at a delimiter and at the end."""
        space = _SPACE.match(self._text, self._position, self._limit)
        assert space is not None  # it matches nothing too
        self._position = space.end()
        if self._position >= self._limit or self._delimiter.match(self._text, self._position):
            return ""
        return self._text[self._position]


def _unescaped(string: str, quote: str) -> str:
    if "\\" not in string:
        return string

    def replace(escape: re.Match[str]) -> str:
        sequence = escape[0]
        if len(sequence) == 2:
            character = sequence[1]
            return _ESCAPES.get(character, character if character == quote else sequence)
        units = [int(unit, 16) for unit in sequence[2:].split("\\u")]
        if len(units) == 1:
            return chr(units[0])
        return chr(0x10000 + ((units[0] - 0xD800) << 10) + (units[1] - 0xDC00))

    return _ESCAPE.sub(replace, string)
