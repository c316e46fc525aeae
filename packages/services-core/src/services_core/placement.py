"""Whether one machine can ever give what a service asks for.

For the backends of one machine. They keep no account of what is in use, since processes of one
machine share it anyway; but a request that no machine of this size could meet is refused.
"""

from __future__ import annotations

import os
from pathlib import Path

from services_core.errors import ServiceStartError
from services_core.services import ServiceSpec


def check_machine(spec: ServiceSpec) -> None:
    """Refuse a service that asks for more than this machine has.

    Raises:
        ServiceStartError: It does; the error says what was asked for and what there is.
    """
    options = spec.options
    for what, asked, there in (
        ("num_cpus", options.num_cpus, float(os.cpu_count() or 1)),
        ("num_gpus", options.num_gpus, float(_count_gpus())),
        ("memory", options.memory, float(_memory())),
    ):
        if asked is not None and asked > there:
            raise ServiceStartError(
                spec.name, f"it asks for {what}={asked:g}, and this machine has {there:g}"
            )


def _memory() -> int:
    """Physical memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _count_gpus() -> int:
    """NVIDIA devices, as the kernel driver lists them."""
    return sum(1 for device in Path("/dev").glob("nvidia[0-9]*"))
