"""What backends may differ in."""

from __future__ import annotations

import enum


class Capability(enum.Enum):
    """Something that not every backend can do; a backend's tests declare what it can.

    Attributes:
        PROCESSES: A service runs in a process of its own, and other workers see it.
        START_TIMEOUT: A constructor that takes too long is ended at `start_timeout`.
        RESTARTS: A service with `max_restarts` that dies is started again.
    """

    PROCESSES = "processes"
    START_TIMEOUT = "start_timeout"
    RESTARTS = "restarts"
