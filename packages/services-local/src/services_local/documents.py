"""Small JSON files, of which readers see all or nothing. For processes that import little."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read(path: Path) -> dict[str, Any] | None:
    """What a file says, or None if there is none that makes sense."""
    try:
        facts = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def write(path: Path, facts: dict[str, Any]) -> None:
    """Make or replace a file."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(facts))
    draft.replace(path)


def change(path: Path, **facts: Any) -> None:
    """Replace some of what a file says, if it is there."""
    before = read(path)
    if before is not None:
        write(path, before | facts)
