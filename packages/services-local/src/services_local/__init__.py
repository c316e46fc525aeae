"""The one-machine, multi-process backend of services-core.

Install it and say `get_services(backend="local")`. Each service is a process of its own that every
process of this user on this machine finds through a private directory.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services_local.client import LocalConnection
    from services_local.errors import RuntimeDirectoryError
    from services_local.registry import LocalService

__all__ = ["LocalConnection", "LocalService", "RuntimeDirectoryError"]

_MODULES = {
    "LocalConnection": "services_local.client",
    "LocalService": "services_local.registry",
    "RuntimeDirectoryError": "services_local.errors",
}


def __getattr__(name: str) -> Any:
    # Imported when it is asked for: the process that starts a service again needs none of it.
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
