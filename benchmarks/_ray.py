"""A Ray of the benchmark's own."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def own_ray() -> Iterator[Any]:
    """Start a Ray that nobody else uses, and end it; gives the module."""
    # What Ray and TorchRL say to users is no concern of a benchmark's.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RL_LOGGING_LEVEL", "ERROR")
    import ray  # only if it takes part: it takes a second

    # "local": never the cluster that RAY_ADDRESS may name. TorchRL's registry holds a CPU.
    ray.init(
        "local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        yield ray
    finally:
        ray.shutdown()
