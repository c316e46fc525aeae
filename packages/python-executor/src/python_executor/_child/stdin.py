"""The standard input of a program: a nameless file with the text that it is given, or nothing."""

from __future__ import annotations

import builtins
import os
import sys

# A program may patch ``builtins`` and ``os``, and a later cell be given an input.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
_close, _dup2, _lseek, _open, _unlink = os.close, os.dup2, os.lseek, os.open, os.unlink
_write = os.write
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class StandardInput:
    """What descriptor 0 and ``sys.stdin`` read.

    Args:
        directory: where to make the file.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._fed = False

    def move(self, directory: str) -> None:
        """Make files elsewhere from here on."""
        self._directory = directory

    def feed(self, text: str | None) -> None:
        """Let ``text`` be read; None is an empty input.

        Raises:
            OSError: there is no room for the file, or no directory any more.
        """
        if text is None and not self._fed:
            return  # it is /dev/null since the interpreter began
        if text is None:
            descriptor = _open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        else:
            descriptor = self._open_nameless()
        try:
            data = b"" if text is None else text.encode()
            while data:
                data = data[_write(descriptor, data) :]
            if text is not None:
                _lseek(descriptor, 0, os.SEEK_SET)
            _dup2(descriptor, 0)
        finally:
            _close(descriptor)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        self._fed = text is not None

    def _open_nameless(self) -> int:
        number = 0
        while True:
            path = f"{self._directory}/.stdin-{number}"
            try:
                descriptor = _open(path, _NEW, 0o600)
            except FileExistsError:
                number += 1  # a cell has left something of that name
                continue
            _unlink(path)
            return descriptor
