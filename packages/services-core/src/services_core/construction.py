"""A service that is on its way: what a backend's `_start` returns."""

from __future__ import annotations

from abc import ABC, abstractmethod

from services_core.connections import Connection


class Construction(ABC):
    """A name that is reserved, and a service that is being constructed under it.

    Construction runs from the moment that the object is made, or in `wait` where the backend has no
    process of its own for it. So several can run at the same time. The way that it should go is
    `_start`, `wait`, `publish`; `abandon` may come at any point.
    """

    @abstractmethod
    def wait(self) -> None:
        """Wait until the constructor has returned, `start_timeout` seconds after the start at most.

        Raises:
            ServiceStartError: It raised, its process ended, or it was not done in time.
        """

    @abstractmethod
    def publish(self) -> Connection:
        """Let lookups see the service from now on, and return a connection to it.

        Raises:
            ServiceStartError: The service died, or was ended, meanwhile.
        """

    @abstractmethod
    def abandon(self) -> None:
        """End what there is of the service and free its name; also after `publish`."""
