"""Recognising IPython's magics in what doesn't compile: programs are plain Python."""

from __future__ import annotations

import builtins
import re

# A program may patch ``builtins``.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
ADVICE = (
    "`%` magics, `!` commands and `?` are IPython's, and this is plain Python: "
    "use modules and functions instead, such as timeit, os and help()"
)
# ``%x``, ``!x``, ``?x`` and ``x?``; neither ``% x`` nor ``!= x``, which are the rest of an
# expression that was broken in two.
_is_magic = re.compile(r"\s*(?:%%?\w|!(?!=)|\?|%?[\w.*\[\]]+\?\??\s*$)").match
# The magic of a whole cell, in which an error of syntax may be anywhere.
_is_of_whole_cell = re.compile(r"\s*%%\w").match


def is_at(code: str, line: int) -> bool:
    """Whether what failed to compile failed because it is IPython's.

    Args:
        code: what doesn't compile.
        line: where, from 1.
    """
    if _is_of_whole_cell(code) is not None:
        return True
    lines = code.split("\n")
    if not 0 < line <= len(lines) or _is_magic(lines[line - 1]) is None:
        return False
    return _is_complete(lines[: line - 1])


def _is_complete(lines: list[str]) -> bool:
    """Whether a statement may begin below some lines: they leave no bracket or string open."""
    import tokenize  # there already: tracebacks need it

    if lines and lines[-1].endswith("\\"):
        return False
    source = iter([f"{line}\n" for line in lines] + ["pass\n"])
    try:
        for _ in tokenize.generate_tokens(source.__next__):
            continue
    except (SyntaxError, tokenize.TokenError):
        return False
    return True
