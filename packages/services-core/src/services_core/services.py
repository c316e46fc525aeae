"""What a backend is asked to start, and what it tells of what runs."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from services_core.connections import ServiceKey
from services_core.options import ServiceOptions

ServiceState = Literal["starting", "running", "restarting"]


def new_incarnation() -> str:
    """An identity for a service that is about to start."""
    return secrets.token_hex(8)


@dataclass(frozen=True, kw_only=True)
class ServiceSpec:
    """A service to start.

    Attributes:
        name: Its name in the namespace.
        cls: Its class.
        args: Positional arguments of the constructor.
        kwargs: Keyword arguments of the constructor.
        options: What the backend is asked for. `options.replicas` is done when a backend sees it:
            each replica is a spec of its own, with a name of its own.
        incarnation: Identity of this service, shared by its replicas.
        bound: Whether it ends with the process that registers it, whatever its `lifetime`.
    """

    name: str
    cls: type
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: ServiceOptions = field(default_factory=ServiceOptions)
    incarnation: str = field(default_factory=new_incarnation)
    bound: bool = False

    def key(self, backend: str, namespace: str) -> ServiceKey:
        """Identity of the service, as its connections carry it."""
        return ServiceKey(backend, namespace, self.name, self.incarnation, self.options.replicas)


@dataclass(frozen=True, kw_only=True)
class ServiceInfo:
    """What is known of a service.

    Attributes:
        name: Its name.
        namespace: Its namespace.
        backend: The backend that runs it.
        class_name: Qualified name of its class.
        state: "starting", "running" or "restarting".
        pid: Process that it runs in, or None where the backend doesn't tell.
        node: Host that it runs on, or None where the backend doesn't tell.
        started_at: When its constructor returned, in seconds since the epoch (UTC).
        restarts: How often it was started again, or None where the backend doesn't tell.
        options: The options that it was registered with, those left at their default apart; what
            is not a plain value as its repr.
        replicas: The same of each of its replicas that lives, where it has several. `pid` and
            `node` are then None, `started_at` is the last one's, and `restarts` their sum.
    """

    name: str
    namespace: str
    backend: str
    class_name: str
    state: ServiceState
    pid: int | None = None
    node: str | None = None
    started_at: float | None = None
    restarts: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    replicas: tuple[ServiceInfo, ...] = ()


def class_name(cls: type) -> str:
    """Module and qualified name of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"
