"""Where a Python program is inside a triple-quoted string, line by line."""

from __future__ import annotations

import re

# Anything up to what opens a string or a comment; strings on one line are passed over whole. An
# unfinished one ends with its line, as the compiler would say too.
_OUTSIDE = re.compile(
    r"""
    (?P<code>[^'"\#]++)
    | \#.*+
    | (?P<open>\"\"\"|''')
    | "(?:[^"\\]|\\.)*+"
    | '(?:[^'\\]|\\.)*+'
    | (?P<unfinished>["'].*+)
    """,
    re.VERBOSE | re.DOTALL,
)
_INSIDE = {
    '"""': re.compile(r'(?:[^"\\]++|\\(?:.|\Z)|"(?!""))*+"""', re.DOTALL),
    "'''": re.compile(r"(?:[^'\\]++|\\(?:.|\Z)|'(?!''))*+'''", re.DOTALL),
}


class Strings:
    """Tells after each line of a program whether a triple-quoted string is still open.

    Args:
        inside: The delimiter of a string that is open at the start, or None.

    Example:
        >>> strings = Strings()
        >>> strings.feed("text = '''first")
        [(0, 7)]
        >>> strings.inside
        "'''"
    """

    __slots__ = ("inside",)

    def __init__(self, inside: str | None = None) -> None:
        self.inside = inside

    def feed(self, line: str) -> list[tuple[int, int]]:
        """Read the next line of the program, given without its line end.

        Returns:
            Where in the line there is code: neither strings nor comments. A string that begins on
            it and never ends counts as code, as it is none.
        """
        code: list[tuple[int, int]] = []
        position = 0
        while position < len(line):
            if self.inside is not None:
                end = _INSIDE[self.inside].match(line, position)
                if end is None:
                    return code
                self.inside = None
                position = end.end()
                continue
            token = _OUTSIDE.match(line, position)
            if token is None:  # can't be: the alternatives cover every character
                return code
            if token["code"] or (token["unfinished"] and not line.endswith("\\")):
                code.append(token.span())
            self.inside = token["open"]
            position = token.end()
        return code
