"""Running a program as a script's ``__main__``, or a cell in one, and telling how it went."""

from __future__ import annotations

import ast
import atexit
import builtins
import linecache
import re
import sys
from functools import partial
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from . import failures, linux, magics, sources
from .awaiting import cell_loop
from .figures import show_left_open

if TYPE_CHECKING:
    from collections.abc import Callable

# A program may patch ``builtins``, which these functions then don't see.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
# With one of these in a program, lines depend on others in more ways, or warn when compiled twice.
_search = re.compile(r"__future__|[\\\r\f]").search
_TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_CO_COROUTINE = 0x80  # of inspect
_run_exit_functions = atexit._run_exitfuncs  # noqa: SLF001


class Program:
    """One program, or one cell of a session.

    Args:
        main: the module whose names it defines.
        frame: ``code``, ``name`` (what tracebacks call the file), ``limit`` (characters of the
            value), ``cell`` and ``fresh``: it is a cell if its interpreter goes on with its names.
    """

    def __init__(self, main: ModuleType, frame: dict[str, Any]) -> None:
        self._main = main
        self._code: str = frame["code"].removeprefix("\ufeff")  # as of a file
        self._name: str = frame["name"]
        self._limit: int = frame["limit"]
        self._is_cell: bool = frame["cell"] and not frame["fresh"]

    def run(self) -> dict[str, Any]:
        """Run it to its last line. Returns the result frame; nothing is flushed or joined yet."""
        outcome = _outcome()
        try:
            outcome["value"], outcome["truncated"] = self.evaluate()
        except SystemExit as stop:
            outcome["returncode"], outcome["error"] = _exit_status(stop)
        except BaseException as error:  # noqa: BLE001  (whatever it raises is its result)
            outcome["returncode"] = -2 if isinstance(error, KeyboardInterrupt) else 1
            outcome["error"] = failures.report(error, self._name)
        return outcome

    def evaluate(self) -> tuple[str | None, bool]:
        """Run it; returns its value, and whether that was cut. Raises what the program raises."""
        self._announce()
        apart = None if self._may_await() else _compile_apart(self._code, self._name)
        statements, expression = self._compile() if apart is None else apart
        # Makes the objects of the frames that an exception passes. CPython 3.11 loses a MemoryError
        # if it must make them then (take_ownership() in Python/frame.c clears what it raises).
        for depth in (0, 1):
            sys._getframe(depth)  # noqa: SLF001
        value: object = None
        names = self._main.__dict__
        if _is_coroutine(statements) or _is_coroutine(expression):
            # Both in the loop: what goes before or after an ``await`` may need that it runs.
            value = cell_loop.run(partial(_run_in_loop, statements, expression, names))
        else:
            if statements is not None:
                exec(statements, names)  # noqa: S102
            if expression is not None:
                value = eval(expression, names)  # noqa: S307
        return (None, False) if value is None else failures.shorten(repr(value), self._limit)

    def _announce(self) -> None:
        """Make the module look as a script's, its source known to tracebacks and ``inspect``."""
        names = self._main.__dict__
        names["__file__"] = self._name
        names["__builtins__"] = builtins
        names.setdefault("__annotations__", {})
        sys.argv = [self._name]
        lines = list(map("{}\n".format, self._code.removesuffix("\n").split("\n")))
        # An entry without a modification time is never dropped by linecache.checkcache.
        linecache.cache[self._name] = (len(self._code), None, lines, self._name)
        if self._is_cell:
            sources.adapt()

    def _may_await(self) -> bool:
        """Whether to compile it as a cell that awaits: what is compiled twice may warn twice."""
        return self._is_cell and ("await" in self._code or "async" in self._code)

    def _compile(self) -> tuple[CodeType | None, CodeType | None]:
        tree = self._parse()
        flags = _TOP_LEVEL_AWAIT if self._is_cell else 0
        last = tree.body[-1] if tree.body else None
        if not isinstance(last, ast.Expr):
            return compile(tree, self._name, "exec", flags, dont_inherit=True), None
        del tree.body[-1]
        statements = compile(tree, self._name, "exec", flags, dont_inherit=True)
        flags |= _future_flags(tree)
        expression = compile(
            ast.Expression(last.value), self._name, "eval", flags, dont_inherit=True
        )
        return statements, expression

    def _parse(self) -> ast.Module:
        try:
            tree = compile(self._code, self._name, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
        except SyntaxError as error:
            if not magics.is_at(self._code, error.lineno or 0):
                raise
            raise SyntaxError(magics.ADVICE, *error.args[1:]) from None
        assert isinstance(tree, ast.Module)
        return tree


def _compile_apart(code: str, name: str) -> tuple[CodeType | None, CodeType] | None:
    """Compile the last line of a program as an expression, and all above as statements.

    Most programs end with one, and are compiled so without a syntax tree, most of the pages of
    which a forked process would have to copy. What compiles apart means the same together: a line
    that begins with no blank continues nothing, unless what is above it is incomplete.

    Returns:
        What ``exec`` and ``eval`` take; None if the program doesn't end so, or may not.
    """
    code = code.rstrip("\n")
    begin = code.rfind("\n") + 1
    if code[begin : begin + 1].isspace() or _search(code) is not None:
        return None
    last = "\n" * code.count("\n", 0, begin) + code[begin:]  # on its own line
    try:
        expression = compile(last, name, "eval", dont_inherit=True)
        return compile(code[:begin], name, "exec", dont_inherit=True) if begin else None, expression
    except SyntaxError:
        return None


def _is_coroutine(code: CodeType | None) -> bool:
    return code is not None and code.co_flags & _CO_COROUTINE != 0


async def _run_in_loop(
    statements: CodeType | None, expression: CodeType | None, names: dict[str, Any]
) -> object:
    """Run a cell of which a part awaits; returns its value."""
    value: object = None
    for code in (statements, expression):
        if code is not None:
            value = eval(code, names)  # noqa: S307  (runs it, or makes a coroutine of it)
            if _is_coroutine(code):
                value = await value  # type: ignore[misc]
    return value


def _outcome() -> dict[str, Any]:
    return {"kind": "result", "returncode": 0, "value": None, "error": None, "truncated": False}


def refuse(problem: str) -> dict[str, Any]:
    """Return the result frame of a program that could not have its files or input."""
    return _outcome() | {"returncode": 1, "error": _error("InputError", problem)}


def out_of_memory() -> dict[str, Any]:
    """Return the result frame of a program that left no memory to tell more."""
    error = _error("MemoryError", "no memory was left to tell more") | {"memory": True}
    return _outcome() | {"returncode": 1, "error": error}


def _error(kind: str, message: str) -> dict[str, Any]:
    message = failures.shorten(message, failures.LIMIT)[0]
    return {"type": kind, "message": message, "traceback": ""}


def _future_flags(tree: ast.Module) -> int:
    """The compiler flags of the ``from __future__`` imports in a program."""
    import __future__

    return sum(
        getattr(__future__, alias.name).compiler_flag
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    )


def _exit_status(stop: SystemExit) -> tuple[int, dict[str, Any] | None]:
    """Return code and error of ``sys.exit``, as the interpreter treats its argument."""
    code = stop.code
    if code is None:
        return 0, None
    if isinstance(code, int):
        # More than the C long that it goes through counts as -1.
        returncode = int(code) & 0xFF if -(1 << 63) <= code < 1 << 63 else 0xFF
        if returncode == 0:
            return 0, None
        return returncode, _error("SystemExit", failures.text_of(code))
    try:
        print(code, file=sys.__stderr__ if sys.stderr is None else sys.stderr)
    except BaseException:  # noqa: BLE001  (a __str__ or a stream of the program's own)
        failures.complain()
    return 1, _error("SystemExit", failures.text_of(code))


def finish(*, to_go_on: bool) -> None:
    """End as the interpreter does: wait for threads, show figures, run exit functions, flush.

    What goes wrong here is printed, as at a script's end, and doesn't change the outcome.

    Args:
        to_go_on: whether it was a cell, and another may follow: threads and exit functions wait.
    """
    # Not imported before a program does: its hook after a fork touches a hundred pages.
    if not to_go_on and (threading := sys.modules.get("threading")) is not None:
        _try(getattr(threading, "_shutdown", None))
    # Before the exit functions, of which one of matplotlib's closes them.
    _try(show_left_open)
    if not to_go_on:
        _try(_run_exit_functions)
    flush()


def _try(step: Callable[[], object] | None) -> None:
    try:
        if step is not None:
            step()
    except BaseException:  # noqa: BLE001  (of the program's own doing)
        failures.complain()


def flush() -> None:
    """Flush the text streams, whatever the program made of them, and those of C code."""
    for stream in (sys.stdout, sys.__stdout__, sys.stderr, sys.__stderr__):
        try:
            stream.flush()  # type: ignore[union-attr]
        except BaseException:  # noqa: BLE001, S112  (closed, replaced or None: the program's own doing)
            continue
    linux.flush_c_streams()
