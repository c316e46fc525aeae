"""A branch's new working directory: whatever names the old one, and is known to, names it then."""

# Plain paths: pathlib would be imported into every program.
from __future__ import annotations

import builtins
import os
import sys
from typing import Any

# A cell may patch ``builtins`` and ``os``.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
_chdir, _getcwd = os.chdir, os.getcwd


def move(source: str, target: str) -> None:
    """Go from a directory to its copy.

    Absolute paths in the program's own variables stay as they are.

    Args:
        source: where this process was.
        target: where it is to be.
    """
    names = (source, os.path.realpath(source))

    def moved(path: object) -> Any:
        for old in names:
            if isinstance(path, str) and (path == old or path.startswith(f"{old}/")):
                return target + path[len(old) :]
        return path

    try:
        _chdir(moved(_getcwd()))
    except OSError:  # it was in a directory that is removed
        _chdir(target)
    for variable in ("HOME", "TMPDIR", "PWD"):
        if variable in os.environ:
            os.environ[variable] = moved(os.environ[variable])
    sys.path[:] = [moved(path) for path in sys.path]
    for path in [path for path in sys.path_importer_cache if moved(path) != path]:
        del sys.path_importer_cache[path]
    if (tempfile := sys.modules.get("tempfile")) is not None:
        tempfile.__dict__["tempdir"] = moved(tempfile.__dict__.get("tempdir"))
    for module in list(sys.modules.values()):
        _move_module(getattr(module, "__dict__", {}), moved)


def _move_module(names: dict[str, Any], moved: Any) -> None:
    """Let a module that was imported from the directory say that it is in the other."""
    file = names.get("__file__")
    if moved(file) == file:
        return
    names["__file__"] = moved(file)
    if isinstance(names.get("__path__"), list):
        names["__path__"][:] = [moved(path) for path in names["__path__"]]
