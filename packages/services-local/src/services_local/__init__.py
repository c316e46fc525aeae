"""The one-machine, multi-process backend of services-core.

Install it and say `get_services(backend="local")`. Each service is a process of its own that every
process of this user on this machine finds through a private directory.
"""

from services_local.client import LocalConnection
from services_local.errors import RuntimeDirectoryError
from services_local.registry import LocalService

__all__ = ["LocalConnection", "LocalService", "RuntimeDirectoryError"]
