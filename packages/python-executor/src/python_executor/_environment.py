"""The environment of servers and programs: an allow-list, so that no secret slips through."""

from __future__ import annotations

import os

ALLOWED = frozenset({"LANG", "LANGUAGE", "LD_LIBRARY_PATH", "PATH", "TZ", "TZDIR"})
"""Variables that programs see as the host has them, beside all that begin with ``LC_``."""

FIXED = {
    # One thread each: 32 interpreters share the cores, and a forked OpenMP or BLAS pool hangs.
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Otherwise pyarrow (through pandas) starts a thread in the fork server.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


def child_environment() -> dict[str, str]:
    """Return the environment to start the fork server with."""
    allowed = {
        name: value
        for name, value in os.environ.items()
        if name in ALLOWED or name.startswith("LC_")
    }
    return allowed | FIXED
