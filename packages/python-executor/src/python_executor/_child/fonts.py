"""The fonts that matplotlib finds on this machine: looked for once, not in every program.

Matplotlib keeps its list of fonts in a file of the user's, which programs have no access to. What
is in that file when a pool starts is kept in memory, and is put where a program's matplotlib looks.
"""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH111, PTH123, PTH208
from __future__ import annotations

import json
import os
import sys
from typing import Any

# Lists of larger files (bytes) aren't taken over.
_LIMIT = 8 * 1024 * 1024
_lists: dict[str, bytes] = {}  # name of the file -> content


def read(folder: str) -> None:
    """Keep the lists that are in matplotlib's cache, each for some of its versions."""
    try:
        names = os.listdir(folder)
    except OSError:
        return  # matplotlib was never used by this user
    for name in names:
        if name.startswith("fontlist-") and name.endswith(".json"):
            try:
                with open(f"{folder}/{name}", "rb") as file:
                    data = file.read(_LIMIT + 1)
                if len(data) <= _LIMIT:
                    _lists[name] = _without_private(data)
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue  # unreadable, or of a version that keeps something else there


def _without_private(data: bytes) -> bytes:
    """Leave out fonts in the user's home: programs could not open them."""
    home = os.path.expanduser("~").rstrip("/") + "/"
    fonts: dict[str, Any] = json.loads(data)
    for key in ("afmlist", "ttflist"):
        fonts[key] = [font for font in fonts[key] if not font["fname"].startswith(home)]
    return json.dumps(fonts).encode()


def offer() -> None:
    """Put the lists where matplotlib is about to look for one."""
    if not _lists:
        return
    folder = sys.modules["matplotlib"].get_cachedir()
    for name, data in _lists.items():
        try:
            with open(f"{folder}/{name}", "xb") as file:
                file.write(data)
        except OSError:
            continue  # there is one, or no room: matplotlib does without
