"""Running one program as a script's ``__main__``, and telling how it went."""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH120
from __future__ import annotations

import ast
import atexit
import builtins
import io
import linecache
import os
import sys
import threading
import traceback
from types import ModuleType
from typing import Any

from . import linux

_HERE = os.path.dirname(__file__)
# Longest text of an error's message or traceback (characters); the whole traceback is on stderr.
ERROR_LIMIT = 65536
CUT = "\n... [{} characters cut] ...\n"


class Program:
    """One program, or one cell of a session.

    Args:
        main: the module whose names it defines.
        frame: ``code``, ``name`` (what tracebacks call the file), ``limit`` (characters of the
            value).
    """

    def __init__(self, main: ModuleType, frame: dict[str, Any]) -> None:
        self._main = main
        self._code: str = frame["code"]
        self._name: str = frame["name"]
        self._limit: int = frame["limit"]

    def run(self) -> dict[str, Any]:
        """Run it to its last line. Returns the result frame; nothing is flushed or joined yet."""
        outcome: dict[str, Any] = {
            "kind": "result", "returncode": 0, "value": None, "error": None, "truncated": False,
        }  # fmt: skip
        self._announce()
        try:
            value = self._execute()
            if value is not None:
                outcome["value"], outcome["truncated"] = shorten(repr(value), self._limit)
        except SystemExit as stop:
            outcome["returncode"], outcome["error"] = _exit_status(stop)
        except BaseException as error:  # noqa: BLE001  (whatever it raises is its result)
            outcome["returncode"] = -2 if isinstance(error, KeyboardInterrupt) else 1
            outcome["error"] = self._report(error)
        return outcome

    def _announce(self) -> None:
        """Make the module look as a script's, its source known to tracebacks and ``inspect``."""
        names = self._main.__dict__
        names["__file__"] = self._name
        names["__builtins__"] = builtins
        names.setdefault("__annotations__", {})
        sys.argv = [self._name]
        lines = io.StringIO(self._code).readlines()
        # An entry without a modification time is never dropped by linecache.checkcache.
        linecache.cache[self._name] = (len(self._code), None, lines, self._name)

    def _execute(self) -> object:
        """Execute the statements and return the value of the last one if it is an expression."""
        tree = compile(self._code, self._name, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
        assert isinstance(tree, ast.Module)
        last = tree.body[-1] if tree.body else None
        if not isinstance(last, ast.Expr):
            exec(compile(tree, self._name, "exec", dont_inherit=True), self._main.__dict__)  # noqa: S102
            return None
        del tree.body[-1]
        statements = compile(tree, self._name, "exec", dont_inherit=True)
        expression = compile(
            ast.Expression(last.value), self._name, "eval", _future_flags(tree), dont_inherit=True
        )
        exec(statements, self._main.__dict__)  # noqa: S102
        value: object = eval(expression, self._main.__dict__)  # noqa: S307
        return value

    def _report(self, error: BaseException) -> dict[str, str]:
        """Print the traceback as a script does, without our frames; return what the host gets."""
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_HERE):
            trace = trace.tb_next
        error = error.with_traceback(trace)
        try:
            if sys.excepthook is not sys.__excepthook__:
                sys.excepthook(type(error), error, trace)
            else:
                print(
                    "".join(traceback.format_exception(type(error), error, trace)),
                    end="",
                    file=sys.stderr,
                )
        except BaseException:  # noqa: BLE001  (a hook or a stream of the program's own; it failed anyway)
            traceback.print_exc(file=sys.__stderr__)
        summary = traceback.TracebackException(type(error), error, trace, lookup_lines=False)
        _keep_frames_of(summary, self._name)
        kind = type(error)
        module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
        return {
            "type": shorten(module + kind.__qualname__, ERROR_LIMIT)[0],
            "message": shorten(_text_of(error), ERROR_LIMIT)[0],
            "traceback": shorten("".join(summary.format()), ERROR_LIMIT)[0],
        }


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001  (a __str__ of the program's own)
        return "<exception str() failed>"


def _keep_frames_of(summary: traceback.TracebackException | None, name: str) -> None:
    """Drop the frames of libraries from a traceback and from those that it was caused by."""
    while summary is not None:
        summary.stack[:] = [frame for frame in summary.stack if frame.filename == name]
        summary = summary.__cause__ or summary.__context__


def _future_flags(tree: ast.Module) -> int:
    """The compiler flags of the ``from __future__`` imports in a program."""
    import __future__

    return sum(
        getattr(__future__, alias.name).compiler_flag
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    )


def _exit_status(stop: SystemExit) -> tuple[int, dict[str, str] | None]:
    """Return code and error of ``sys.exit``, as the interpreter treats its argument."""
    code = stop.code
    if code is None:
        return 0, None
    if isinstance(code, int):
        returncode = code & 0xFF
    else:
        print(code, file=sys.stderr)
        returncode = 1
    if returncode == 0:
        return 0, None
    return returncode, {
        "type": "SystemExit",
        "message": shorten(str(code), ERROR_LIMIT)[0],
        "traceback": "",
    }


def shorten(text: str, limit: int) -> tuple[str, bool]:
    """Keep head and tail of a text, and see that it can be encoded; says whether it was cut."""
    cut = len(text) > limit
    if cut:
        head = limit // 2
        text = text[:head] + CUT.format(len(text) - limit) + text[head - limit :]
    return text.encode("utf-8", "backslashreplace").decode(), cut


def finish() -> None:
    """End as the interpreter does: wait for threads, run exit functions, flush.

    What goes wrong here is printed, as at a script's end, and doesn't change the outcome.
    """
    for step in (threading._shutdown, atexit._run_exitfuncs):  # type: ignore[attr-defined]  # noqa: SLF001
        try:
            step()
        except BaseException:  # noqa: BLE001
            traceback.print_exc(file=sys.__stderr__)
    flush()


def flush() -> None:
    """Flush the text streams, whatever the program made of them, and those of C code."""
    for stream in (sys.stdout, sys.__stdout__, sys.stderr, sys.__stderr__):
        try:
            stream.flush()  # type: ignore[union-attr]
        except BaseException:  # noqa: BLE001, S112  (closed, replaced or None: the program's own doing)
            continue
    linux.flush_c_streams()
