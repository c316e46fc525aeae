"""Checks of what users pass in: a clear error at the door."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TypeVar

from python_executor._file_names import collision_in, problem_with
from python_executor.errors import (
    FileNameError,
    FilesTooLargeError,
    InvalidArgumentError,
    InvalidArgumentTypeError,
)

T = TypeVar("T")
# The longest program or input (characters). It must fit into a frame, and nobody types more.
TEXT_LIMIT = 32 * 1024 * 1024
# The most files that a program is given, and their bytes: each execution carries them anew.
FILE_COUNT_LIMIT = 10_000
FILE_BYTES_LIMIT = 64 * 1024 * 1024
# The greatest that numpy takes, and PYTHONHASHSEED.
SEED_LIMIT = 2**32 - 1
# One process each; a larger number is a mistake for memory or a port.
POOL_LIMIT = 4096


def check_code(code: object) -> str:
    """Return a program's text.

    Raises:
        InvalidArgumentTypeError: it is not a string.
        InvalidArgumentError: it holds a NUL, which Python source can't, or is longer than
            ``TEXT_LIMIT``.
    """
    if not isinstance(code, str):
        raise InvalidArgumentTypeError("code", code, "a string of Python source")
    if "\0" in code:
        raise InvalidArgumentError("code", code, "Python source without NUL characters")
    return _check_length("code", code)


def check_stdin(stdin: object) -> str | None:
    """Return the text of the standard input.

    Raises:
        InvalidArgumentTypeError: it is neither a string nor None.
        InvalidArgumentError: it can't be encoded as UTF-8 (lone surrogates), or is longer than
            ``TEXT_LIMIT``.
    """
    if stdin is None:
        return None
    if not isinstance(stdin, str):
        raise InvalidArgumentTypeError("stdin", stdin, "a string or None")
    try:
        stdin.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError("stdin", stdin, "text that UTF-8 can encode") from error
    return _check_length("stdin", stdin)


def check_files(files: object) -> dict[str, bytes] | None:
    """Return a copy of the files that a program is given.

    Raises:
        InvalidArgumentTypeError: it is not a mapping of strings to bytes.
        FileNameError: a name is absolute, leads elsewhere or can't be that of a file.
        FilesTooLargeError: they are more than ``FILE_COUNT_LIMIT`` or ``FILE_BYTES_LIMIT``.
    """
    if files is None:
        return None
    if not isinstance(files, Mapping):
        raise InvalidArgumentTypeError("files", files, "a mapping of names to bytes")
    checked: dict[str, bytes] = {}
    for name, data in files.items():
        if not isinstance(name, str):
            raise InvalidArgumentTypeError("files", name, "named by strings")
        if not isinstance(data, bytes):
            raise InvalidArgumentTypeError("files", data, f"bytes for each name; for {name!r}")
        if (problem := problem_with(name)) is not None:
            raise FileNameError(name, problem)
        checked[name] = data
    total = sum(map(len, checked.values()))
    if len(checked) > FILE_COUNT_LIMIT or total > FILE_BYTES_LIMIT:
        raise FilesTooLargeError(len(checked), total, FILE_COUNT_LIMIT, FILE_BYTES_LIMIT)
    if (collision := collision_in(checked)) is not None:
        raise FileNameError(collision[0], f"is also the directory of {collision[1]!r}")
    return checked


def _check_length(parameter: str, text: str) -> str:
    if len(text) > TEXT_LIMIT:
        raise InvalidArgumentError(parameter, text, f"at most {TEXT_LIMIT} characters long")
    return text


def check_seconds(parameter: str, seconds: object) -> float:
    """Return a positive, finite number of seconds.

    Raises:
        InvalidArgumentTypeError: it is not a number.
        InvalidArgumentError: it is zero, negative, infinite or not a number (nan).
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidArgumentTypeError(parameter, seconds, "a number of seconds")
    if not (math.isfinite(seconds) and seconds > 0):
        raise InvalidArgumentError(parameter, seconds, "a positive, finite number of seconds")
    return float(seconds)


def check_count(parameter: str, count: object, *, least: int, most: int | None = None) -> int:
    """Return an integer within bounds.

    Raises:
        InvalidArgumentTypeError: it is not an integer (a bool is none).
        InvalidArgumentError: it is out of bounds.
    """
    if isinstance(count, bool) or not isinstance(count, int):
        raise InvalidArgumentTypeError(parameter, count, "an integer")
    if count < least or (most is not None and count > most):
        bounds = f"at least {least}" if most is None else f"between {least} and {most}"
        raise InvalidArgumentError(parameter, count, bounds)
    return count


def check_seed(parameter: str, seed: object) -> int | None:
    """Return a seed, or None for random numbers.

    Raises:
        InvalidArgumentTypeError: it is neither an integer (a bool is none) nor None.
        InvalidArgumentError: it is negative, or greater than ``SEED_LIMIT``.
    """
    return None if seed is None else check_count(parameter, seed, least=0, most=SEED_LIMIT)


def check_name(parameter: str, name: object) -> str:
    """Return a name.

    Raises:
        InvalidArgumentTypeError: it is not a string.
        InvalidArgumentError: it is empty.
    """
    if not isinstance(name, str):
        raise InvalidArgumentTypeError(parameter, name, "a string")
    if not name:
        raise InvalidArgumentError(parameter, name, "a name, not empty")
    return name


def check_flag(parameter: str, flag: object) -> bool:
    """Return a truth value.

    Raises:
        InvalidArgumentTypeError: it is something else: ``"no"`` would be true.
    """
    if not isinstance(flag, bool):
        raise InvalidArgumentTypeError(parameter, flag, "True or False")
    return flag


def check_choice(parameter: str, choice: object, choices: Iterable[T]) -> T:
    """Return one of several values.

    Raises:
        InvalidArgumentTypeError: it is of none of their types.
        InvalidArgumentError: it is none of them.
    """
    known = list(choices)
    expected = " or ".join(map(repr, known))
    if type(choice) not in set(map(type, known)):
        raise InvalidArgumentTypeError(parameter, choice, expected)
    for each in known:
        if choice == each:
            return each
    raise InvalidArgumentError(parameter, choice, expected)


def check_modules(preload: object) -> tuple[str, ...]:
    """Return the names of modules to import before the first fork.

    Raises:
        InvalidArgumentTypeError: it is not an iterable of strings, or it is one string.
        InvalidArgumentError: a name is not a dotted module name.
    """
    if isinstance(preload, str | bytes) or not isinstance(preload, Iterable):
        raise InvalidArgumentTypeError("preload", preload, "a sequence of module names")
    names = []
    for name in preload:
        if not isinstance(name, str):
            raise InvalidArgumentTypeError("preload", name, "a sequence of module names")
        if not all(part.isidentifier() for part in name.split(".")):
            raise InvalidArgumentError("preload", name, "names of modules, such as 'numpy'")
        names.append(name)
    return tuple(names)
