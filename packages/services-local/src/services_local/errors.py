"""Errors of this backend alone; all others are those of `services_core`."""

from __future__ import annotations

from services_core import ServiceError


class RuntimeDirectoryError(ServiceError, PermissionError):
    """The directory that holds sockets and records can't be trusted, or not be used.

    Attributes:
        path: The directory.
        reason: What is wrong with it.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"runtime directory {path}: {reason}. Remove it, or set SERVICES_LOCAL_DIR to a "
            "directory of your own with mode 0700"
        )


class WireError(ConnectionError):
    """The peer speaks something else. Its connection ends; callers see `ServiceDiedError`."""
