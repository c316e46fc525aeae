"""Finding backends: `get_services` and the entry points that it reads."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from services_core.errors import BackendLoadError, BackendNotInstalledError, UnknownBackendError
from services_core.registry import ServiceBase

ENTRY_POINT_GROUP = "services_core.backends"

# Names that deserve better than "unknown": what to install for them.
_KNOWN_DISTRIBUTIONS = {
    "local": "services-local",
    "ray": "services-ray",
    "monarch": "services-monarch",
}


def get_services(backend: str = "ray", namespace: str = "services", **options: Any) -> ServiceBase:
    """Open the registry of a namespace, on any backend.

    Args:
        backend: "inline" (this process), "local" (this machine), "ray", "monarch", or any other
            that is installed.
        namespace: Services of one namespace don't see those of another.
        **options: What the backend takes, such as Ray's `ray_init_config`.

    Raises:
        UnknownBackendError: No installed distribution offers that backend.
        BackendNotInstalledError: The backend is known; the error says what to install.
        BackendLoadError: The backend is installed, and importing it failed.
        InvalidNameError: The namespace is empty or not a string.

    Example:
        >>> services = get_services(backend="inline", namespace="training")
        >>> services["numbers"] = list
        >>> services["numbers"].append(3)
        >>> "numbers" in services, len(services)
        (True, 1)
        >>> services.reset()
        >>> services.list()
        []
    """
    return load_backend(backend)(namespace, **options)


def installed_backends() -> list[str]:
    """Names of the backends that are installed, sorted."""
    return sorted(entry_points(group=ENTRY_POINT_GROUP).names)


def load_backend(backend: str) -> type[ServiceBase]:
    """The registry class of a backend.

    Raises:
        UnknownBackendError: No installed distribution offers that backend.
        BackendNotInstalledError: The backend is known; the error says what to install.
        BackendLoadError: The backend is installed, and importing it failed.
    """
    if not isinstance(backend, str):
        raise UnknownBackendError(backend, installed_backends())
    found = entry_points(group=ENTRY_POINT_GROUP, name=backend)
    for entry_point in found:
        return _load(entry_point)
    if backend in _KNOWN_DISTRIBUTIONS:
        raise BackendNotInstalledError(backend, _KNOWN_DISTRIBUTIONS[backend])
    raise UnknownBackendError(backend, installed_backends())


def _load(entry_point: EntryPoint) -> type[ServiceBase]:
    distribution = entry_point.dist.name if entry_point.dist else "an unknown distribution"
    try:
        cls = entry_point.load()
    except Exception as error:
        # A module may fail in any way while it is imported; the cause is chained.
        raise BackendLoadError(
            entry_point.name, distribution, entry_point.value, repr(error)
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, ServiceBase)):
        raise BackendLoadError(
            entry_point.name, distribution, entry_point.value, f"{cls!r} is no ServiceBase"
        )
    return cls
