"""Telling how a program failed: as a script does on stderr, and shorter in the result."""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH120
from __future__ import annotations

import builtins
import errno
import os
import sys
import traceback
from types import TracebackType
from typing import Any

from . import limits

# A program may patch ``builtins``, which these functions then don't see.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
_HERE = os.path.dirname(__file__)
# Longest text of an error's message or traceback (characters); the whole traceback is on stderr.
LIMIT = 65536
# What tracebacks call a cell begins so: ``<cell 3>``.
CELL = "<cell "
CUT = "\n... [{} characters cut] ...\n"
# The most frames in a row that a result has: a recursion through several functions is long.
FRAMES = 40
CUT_FRAMES = "  ... [{} frames cut] ...\n"
# Of an exception group, whatever a subclass makes of it. Python 3.9 and 3.10 have no groups.
_GROUP: Any = getattr(builtins, "BaseExceptionGroup", None)
_members: Any = _GROUP and _GROUP.exceptions.__get__
_number_of: Any = vars(OSError)["errno"].__get__


def report(error: BaseException, name: str) -> dict[str, Any]:
    """Print the traceback as a script does, without our frames; return what the host gets.

    Args:
        error: what the program raised.
        name: what tracebacks call its file.
    """
    if isinstance(error, MemoryError):
        limits.use_reserve()
    memory = is_of_memory(error)
    trace = _without_ours(error.__traceback__)
    error = error.with_traceback(trace)
    try:
        if sys.excepthook is sys.__excepthook__:
            lines = traceback.format_exception(type(error), error, trace)
            print("".join(lines), end="", file=sys.stderr)
        else:
            sys.excepthook(type(error), error, trace)
    except BaseException:  # noqa: BLE001  (a hook or a stream of the program's own; it failed anyway)
        complain()
    return {
        "type": shorten(_name_of(type(error)), LIMIT)[0],
        "message": shorten(text_of(error), LIMIT)[0],
        "traceback": shorten(_own_frames(error, trace, name), LIMIT)[0],
        "memory": memory,
    }


def is_of_memory(error: BaseException) -> bool:
    """Whether an exception is of memory, was raised over one that is, or is a group with one.

    Of memory is a MemoryError, or an OSError for it, as ``mmap`` raises.
    """
    waiting = [error]
    seen = set()
    while waiting:
        part = waiting.pop()
        if isinstance(part, MemoryError) or _errno(part) == errno.ENOMEM:
            return True
        seen.add(id(part))
        others = [part.__cause__, None if part.__suppress_context__ else part.__context__]
        if _GROUP is not None and isinstance(part, _GROUP):
            others += _members(part)
        waiting += [other for other in others if other is not None and id(other) not in seen]
    return False


def _errno(error: BaseException) -> object:
    # Not the attribute, which may be code of the program's own.
    return _number_of(error) if isinstance(error, OSError) else None


def complain() -> None:
    """Print the exception that is being handled, if the program left the means."""
    # contextlib.suppress would ask the builtins that the program has patched.
    try:
        kind, error, trace = sys.exc_info()
        traceback.print_exception(kind, error, _without_ours(trace), file=sys.__stderr__)
    except BaseException:  # noqa: BLE001, S110  (the program patched what prints it)
        pass


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of this package: they come first, and where it takes a part."""
    while trace is not None and _is_ours(trace):
        trace = trace.tb_next
    part = trace
    while part is not None:
        while part.tb_next is not None and _is_ours(part.tb_next):
            part.tb_next = part.tb_next.tb_next
        part = part.tb_next
    return trace


def _is_ours(trace: TracebackType) -> bool:
    return trace.tb_frame.f_code.co_filename.startswith(_HERE)


def _own_frames(error: BaseException, trace: TracebackType | None, name: str) -> str:
    """Format the traceback without the frames of libraries, here and in what it comes from."""
    try:
        whole = traceback.TracebackException(type(error), error, trace, lookup_lines=False)
        waiting = [whole]
        while waiting:
            part = waiting.pop()
            part.stack[:] = [frame for frame in part.stack if _is_own(frame.filename, name)]
            others = (part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ()))
            waiting += [other for other in others if other is not None]
        return "".join(_cut_frames(list(whole.format())))
    except BaseException:  # noqa: BLE001  (the program patched what formats it)
        complain()
        return ""


def _is_own(file: str, name: str) -> bool:
    """Whether a file is the program, or an earlier cell, which belongs to the program as well."""
    return file == name or (file.startswith(CELL) and name.startswith(CELL))


def _cut_frames(items: list[str]) -> list[str]:
    """Leave out the middle of what is a long row of frames, an item each."""
    kept: list[str] = []
    row: list[str] = []
    for item in [*items, ""]:
        if item.lstrip(" |+-").startswith('File "'):
            row.append(item)
            continue
        if len(row) > FRAMES:
            half = FRAMES // 2
            row[half:-half] = [CUT_FRAMES.format(len(row) - FRAMES)]
        kept += [*row, item]
        row = []
    return kept


def _name_of(kind: type[BaseException]) -> str:
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    return module + kind.__qualname__


def text_of(value: object) -> str:
    """Return ``str`` of an exception or what it holds, whatever that does."""
    try:
        return str(value)
    except BaseException:  # noqa: BLE001  (a __str__ of the program's own)
        return f"<{'exception' if isinstance(value, BaseException) else 'object'} str() failed>"


def shorten(text: str, limit: int) -> tuple[str, bool]:
    """Keep head and tail of a text, and see that it can be encoded; says whether it was cut."""
    short = _cut(text, limit)
    escaped = short.encode("utf-8", "backslashreplace").decode()
    # Lone surrogates take six times as much then. What was cut once has the mark in it.
    shown = _cut(escaped, limit + 2 * len(CUT))
    return shown, short is not text or shown is not escaped


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    head = limit // 2
    return text[:head] + CUT.format(len(text) - limit) + text[head - limit :]
