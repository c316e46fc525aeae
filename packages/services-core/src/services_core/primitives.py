"""What a backend implements to be a registry, beside a `Construction` and a `Connection`.

    _start      reserve a name and begin to construct a service under it
    _connect    find one that lives
    _names      list those that live
    _stop       end one
    _describe   tell about one

All else that a user sees is built on these, once, in `services_core.groups` and
`services_core.registry`.
"""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from services_core.connections import Connection
from services_core.construction import Construction
from services_core.services import ServiceInfo, ServiceSpec


class Primitives(ABC):
    """The part of `ServiceBase` that differs between backends.

    To a backend every replica is a service of its own, and so is what stands for an owner.
    """

    backend: ClassVar[str]
    """The backend's name, as `get_services` takes it."""

    native_options: ClassVar[frozenset[str]] = frozenset()
    """Options that `register` passes on to this backend alone."""

    namespace: str
    """Services of one namespace don't see those of another."""

    @abstractmethod
    def _start(self, spec: ServiceSpec) -> Construction:
        """Reserve the name and begin to construct the service.

        Raises:
            ServiceExistsError: The name is taken or reserved.
            ServiceStartError: What the service asks for can't be had here; the name is free.
        """

    @abstractmethod
    def _connect(self, name: str) -> Connection | None:
        """A connection to the service of that name if it lives and is constructed, else None."""

    @abstractmethod
    def _names(self, *, starting: bool = False) -> list[str]:
        """Names of the services that live; with `starting`, also those under construction."""

    @abstractmethod
    def _stop(self, name: str) -> bool:
        """End a service (its `close()`, then its process); False if there was none."""

    @abstractmethod
    def _describe(self, name: str) -> ServiceInfo | None:
        """What is known of a service, or None if there is none."""

    def _release(self) -> None:  # noqa: B027 - most backends hold nothing for a registry
        """Let go of what this registry object itself holds. Services are left running."""

    def _client_content(self, client: Any) -> Any:
        """What is sent to other workers for an owner's client; a backend may pickle otherwise."""
        return pickle.dumps(client)

    def _client_from(self, content: Any) -> Any:
        """Undo `_client_content`, in any worker."""
        return pickle.loads(content)  # noqa: S301 - from a worker of the same job
