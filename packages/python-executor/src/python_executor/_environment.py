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
    # Otherwise matplotlib looks for a display first.
    "MPLBACKEND": "agg",
    # Otherwise pyarrow (through pandas) starts a thread in the fork server.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}

WITHOUT_PROCESSES = {
    # What asks joblib for several workers gets one, without a warning; it would fail otherwise.
    "JOBLIB_MULTIPROCESSING": "0",
}
"""What is set beside where programs may start no processes."""


def child_environment(*, processes: bool, hash_seed: int | None = None) -> dict[str, str]:
    """Return the environment to start the fork server with.

    Args:
        processes: whether programs may start processes.
        hash_seed: what Python is to hash strings with; None leaves it random. Programs see the
            variable, so that a Python which they start hashes alike.
    """
    allowed = {
        name: value
        for name, value in os.environ.items()
        if name in ALLOWED or name.startswith("LC_")
    }
    seeded = {} if hash_seed is None else {"PYTHONHASHSEED": str(hash_seed)}
    return allowed | FIXED | ({} if processes else WITHOUT_PROCESSES) | seeded


def matplotlib_cache() -> str:
    """Return the folder where matplotlib keeps what it found on this machine for this user."""
    if configured := os.environ.get("MPLCONFIGDIR"):
        return configured
    # Unlike pathlib's, it never raises.
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return f"{caches}/matplotlib"
