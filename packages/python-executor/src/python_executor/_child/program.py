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
import traceback
from contextlib import suppress
from types import ModuleType, TracebackType
from typing import Any

from . import linux

# A program may patch ``builtins``, which these functions then don't see.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
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
            if sys.excepthook is sys.__excepthook__:
                lines = traceback.format_exception(type(error), error, trace)
                print("".join(lines), end="", file=sys.stderr)
            else:
                sys.excepthook(type(error), error, trace)
        except BaseException:  # noqa: BLE001  (a hook or a stream of the program's own; it failed anyway)
            _complain()
        return {
            "type": shorten(_name_of(type(error)), ERROR_LIMIT)[0],
            "message": shorten(_text_of(error), ERROR_LIMIT)[0],
            "traceback": shorten(self._own_frames(error, trace), ERROR_LIMIT)[0],
        }

    def _own_frames(self, error: BaseException, trace: TracebackType | None) -> str:
        """Format the traceback without the frames of libraries, here and in what caused it."""
        try:
            whole = traceback.TracebackException(type(error), error, trace, lookup_lines=False)
            part: traceback.TracebackException | None = whole
            while part is not None:
                part.stack[:] = [frame for frame in part.stack if frame.filename == self._name]
                part = part.__cause__ or part.__context__
            return "".join(whole.format())
        except BaseException:  # noqa: BLE001  (the program patched what formats it)
            _complain()
            return ""


def _complain() -> None:
    """Print the exception that is being handled, if the program left the means."""
    with suppress(BaseException):  # the program patched what prints it, and failed before
        traceback.print_exc(file=sys.__stderr__)


def _name_of(kind: type[BaseException]) -> str:
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    return module + kind.__qualname__


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001  (a __str__ of the program's own)
        return "<exception str() failed>"


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
    # Not imported before a program does: its hook after a fork touches a hundred pages.
    threading = sys.modules.get("threading")
    for step in (getattr(threading, "_shutdown", None), atexit._run_exitfuncs):  # noqa: SLF001
        try:
            if step is not None:
                step()
        except BaseException:  # noqa: BLE001
            _complain()
    flush()


def flush() -> None:
    """Flush the text streams, whatever the program made of them, and those of C code."""
    for stream in (sys.stdout, sys.__stdout__, sys.stderr, sys.__stderr__):
        try:
            stream.flush()  # type: ignore[union-attr]
        except BaseException:  # noqa: BLE001, S112  (closed, replaced or None: the program's own doing)
            continue
    linux.flush_c_streams()
