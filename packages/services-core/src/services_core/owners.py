"""Owners: running objects that publish a client under a name, and stay whose they are.

A vLLM server's URL or a logger's client is found in the registry like a service, while the
registry neither starts nor ends what stands behind it. The client is held by a small service that
is bound to the owner's process; a thread there takes it back when the owner is no longer alive.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from services_core.errors import RegistryClosedError

_log = logging.getLogger("services_core")

# How often an owner is asked whether it lives (seconds).
_LOOK_SECONDS = 0.5


@runtime_checkable
class ServiceOwner(Protocol):
    """What `register` takes besides a class: an object that runs, and gives out clients.

    `is_alive` is a property or a method. The shape is that of TorchRL's `torchrl.services.Service`.
    """

    @property
    def is_alive(self) -> Any:
        """Whether it runs."""

    def start(self) -> Any:
        """Start it; the registry never does."""

    def shutdown(self) -> None:
        """End it; the registry never does."""

    def client(self) -> Any:
        """What other workers use to reach it; must pickle."""


def is_alive(owner: ServiceOwner) -> bool:
    """Whether an owner says that it runs."""
    alive = owner.is_alive
    return bool(alive() if callable(alive) else alive)


class OwnerWatch:
    """Takes back what an owner has published when the owner no longer runs.

    Args:
        owner: The owner.
        still_published: Whether its client is still what the name stands for.
        take_back: Called once, in a thread, if the owner ends before that.
    """

    def __init__(
        self,
        owner: ServiceOwner,
        still_published: Callable[[], bool],
        take_back: Callable[[], object],
    ) -> None:
        self._owner = owner
        self._still_published = still_published
        self._take_back = take_back
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name="services-owner", daemon=True).start()

    def end(self) -> None:
        """Stop watching: the client was taken back by other means."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            try:
                ended = not is_alive(self._owner)
                # Asked last: what has the name by now may be somebody else's.
                if not self._still_published():
                    return
                if ended:
                    self._take_back()
                    return
            except RegistryClosedError:
                return  # what it was published in is gone
            except Exception as error:  # noqa: BLE001 - a backend may be out of reach for a moment
                if not self._ended.is_set():
                    _log.warning("looking after an owner failed, and is tried again: %r", error)
