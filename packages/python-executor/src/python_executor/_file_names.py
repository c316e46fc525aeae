"""Which names a file may have, on its way into a program's working directory or out of it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

# Longest part between slashes, and longest name (bytes of UTF-8): what file systems take, and what
# leaves room for the directory before it (PATH_MAX is 4096).
PART_LIMIT = 255
NAME_LIMIT = 1024


def problem_with(name: str) -> str | None:
    """Say what is wrong with a name; None if it may be used.

    A good name is relative, its parts are separated by single slashes, and it can't lead out of
    the directory that it is used in.
    """
    if not name:
        return "is empty"
    if "\0" in name:
        return "holds a NUL"
    try:
        data = name.encode()
    except UnicodeEncodeError:
        return "can't be encoded as UTF-8"
    if len(data) > NAME_LIMIT:
        return f"is longer than {NAME_LIMIT} bytes"
    if name[0] == "/":
        return "is absolute"
    parts = name.split("/")
    if ".." in parts:
        return "holds '..'"
    if "" in parts or "." in parts:
        return "holds an empty part or '.'"
    if len(data) > PART_LIMIT and any(len(part.encode()) > PART_LIMIT for part in parts):
        return f"has a part longer than {PART_LIMIT} bytes"
    return None


def collision_in(names: Iterable[str]) -> tuple[str, str] | None:
    """Find a name that would have to be a file and a directory: (it, one below it), or None."""
    ordered = sorted(name.split("/") for name in names)
    # All that lies below a directory comes right after it.
    for upper, lower in pairwise(ordered):
        if upper == lower[: len(upper)]:
            return "/".join(upper), "/".join(lower)
    return None
