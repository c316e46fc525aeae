"""Which backends a benchmark can run on."""

from __future__ import annotations

from services_core import BackendNotInstalledError
from services_core.backends import load_backend


def why_not(name: str) -> str | None:
    """What is missing for a backend, if anything is."""
    try:
        load_backend(name)
    except BackendNotInstalledError as error:
        return str(error)
    return None
