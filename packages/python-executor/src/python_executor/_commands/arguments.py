"""Arguments that commands share, and the error that one of them can't be used."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence

from python_executor.errors import PythonExecutorError

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)


class CommandError(PythonExecutorError):
    """A command can't do what it was asked; the message is one line for the user."""


def describe(
    parser: argparse.ArgumentParser, description: str, examples: Sequence[tuple[str, str]]
) -> None:
    """Give a parser its text: what it is for, and examples with what each does."""
    width = max(len(command) for command, _ in examples)
    lines = [f"  {command:<{width}}   {what}".rstrip() for command, what in examples]
    parser.description = description
    parser.epilog = "\n".join(["examples:", *lines])
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def add_interpreter(parser: argparse.ArgumentParser) -> None:
    """Add ``--python`` and ``--preload``."""
    parser.add_argument(
        "--python",
        metavar="PATH",
        help="interpreter that runs programs, such as .venv/bin/python; it needs nothing of ours",
    )
    parser.add_argument(
        "--preload",
        metavar="MODULES",
        type=modules,
        action="extend",
        default=[],
        help="modules that programs find already imported: numpy,pandas (repeatable)",
    )


def modules(text: str) -> list[str]:
    """Read names of modules, separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def size(text: str) -> int:
    """Read a number of bytes, such as ``512M`` or ``1.5G``.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: 1000000, 512M and 2G are")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def seconds(text: str) -> float:
    """Read a positive number of seconds.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of seconds")
    return value


def count(text: str) -> int:
    """Read a positive integer.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return value
