"""Where the classes of earlier cells stand, for ``inspect``.

A function knows its file, and a class only its module, whose file is the cell that runs.
"""

from __future__ import annotations

import ast
import builtins
import functools
import linecache
import sys
from typing import Any

from .failures import CELL

# A program may patch ``builtins``.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]


@functools.cache  # once is enough, and before a program could break it
def adapt() -> None:
    """Have ``inspect.getfile`` name the cell that defined a class, in place of the last one."""
    inspect: Any = sys.modules.get("inspect")  # dataclasses imports it
    if inspect is None:
        return
    original = inspect.getfile

    @functools.wraps(original)
    def getfile(object: Any) -> Any:  # noqa: A002  (it may be given by that name)
        return _cell_of(object) or original(object)

    inspect.getfile = getfile


def _cell_of(thing: object) -> str | None:
    """Return the last cell with a definition of a class, None if there is none."""
    if not isinstance(thing, type) or thing.__module__ != "__main__":
        return None
    first = vars(thing).get("__firstlineno__")  # since Python 3.13
    for name, entry in reversed(list(linecache.cache.items())):
        if name.startswith(CELL) and _defines("".join(entry[2]), thing.__name__, first):  # type: ignore[misc]
            return name
    return None


def _defines(code: str, name: str, first: int | None) -> bool:
    """Whether there is a class of that name, with its first line where it is said to be."""
    if name not in code:
        return False
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return False
    return any(
        isinstance(node, ast.ClassDef) and node.name == name and first in (None, _first_line(node))
        for node in ast.walk(tree)
    )


def _first_line(node: ast.ClassDef) -> int:
    return node.decorator_list[0].lineno if node.decorator_list else node.lineno
