"""Putting what a program made into a folder: its files, and what it displayed."""

from __future__ import annotations

import base64
import binascii
import mimetypes
from pathlib import Path

from python_executor._commands.arguments import CommandError
from python_executor.results import ExecutionResult


def prepare(name: str) -> Path:
    """Make the folder; it must be new or empty.

    A program chooses the names of its files: it must not be able to replace one of the user's, or
    to get through a symbolic link that lies there.

    Raises:
        CommandError: it isn't empty, or can't be made.
    """
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise CommandError(f"--out {name}: the folder must be new or empty")
    except OSError as error:
        raise CommandError(f"--out {name}: {error.strerror}") from error
    return folder


def save(result: ExecutionResult, folder: Path) -> None:
    """Write files and displays.

    Args:
        result: of the program.
        folder: made by ``prepare``.

    Raises:
        CommandError: one can't be written.
    """
    try:
        for name, data in result["files"].items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for number, bundle in enumerate(result["displays"], 1):
            for kind, text in bundle.items():
                if kind == "text/plain" and len(bundle) > 1:
                    continue  # it only says what the others show
                _free(folder, f"display-{number}", kind).write_bytes(_content(kind, text))
    except OSError as error:
        raise CommandError(f"can't write {error.filename}: {error.strerror}") from error


def _free(folder: Path, stem: str, kind: str) -> Path:
    """A path that isn't taken: the program may have made a file of that name."""
    suffix = mimetypes.guess_extension(kind) or ".txt"
    path = folder / f"{stem}{suffix}"
    while path.exists():
        path = path.with_name(f"_{path.name}")
    return path


def _content(kind: str, text: str) -> bytes:
    """The bytes of a display: images are base64, but for those that are text."""
    if kind.startswith("image/") and not kind.endswith("+xml"):
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error:
            pass  # the program says that it is an image; what it sent is kept as it is
    return text.encode("utf-8", "surrogatepass")
