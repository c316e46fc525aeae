"""Replicas as one service: started, found, told about and ended together.

The first replica has the name of the whole service, the others names that no user can choose. Who
wins the first name adds the others, and publishes the first last, so that lookups see all or none.
When the first dies, its name is free while the others live: they keep the service's name taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from services_core.connections import Connection, ServiceKey
from services_core.construction import Construction
from services_core.errors import ServiceExistsError
from services_core.names import replica_name, split_replica
from services_core.primitives import Primitives
from services_core.replicas import ReplicatedConnection
from services_core.services import ServiceInfo, ServiceSpec

T = TypeVar("T")
R = TypeVar("R")

# Services that are ended at the same time.
_ENDING_THREADS = 16


class Groups(Primitives):
    """A backend's primitives, for services that may have several replicas."""

    _routers: dict[str, ReplicatedConnection]
    """Of each service with replicas the router that knows how busy they are."""

    def _start_group(self, spec: ServiceSpec) -> Connection:
        """Start all replicas of a service, side by side; if one fails, none is left."""
        if _replicas_of(spec.name, self._names(starting=True)):
            raise ServiceExistsError(spec.name, self.namespace)
        started: list[Construction] = []
        try:
            for index in range(spec.options.replicas):
                part = replace(spec, name=replica_name(spec.name, index))
                started.append(self._start(part))
            for construction in started:
                construction.wait()
            connections = [construction.publish() for construction in reversed(started)]
        except BaseException as error:
            at_once(lambda construction: construction.abandon(), started)
            if isinstance(error, ServiceExistsError) and error.name != spec.name:
                raise ServiceExistsError(spec.name, self.namespace) from error
            raise
        return self._joined(spec.key(self.backend, self.namespace), connections[::-1])

    def _find_group(self, name: str) -> Connection | None:
        """A connection to the service of that name, with all its replicas that live."""
        first = self._connect(name)
        if first is not None and first.key.replicas == 1:
            return first
        if first is not None:
            others = [replica_name(name, index) for index in range(1, first.key.replicas)]
        else:
            others = _replicas_of(name, self._names())
            if not others or name in self._names(starting=True):
                return None  # there is nothing, or the first isn't there yet
        found = [first, *map(self._connect, others)]
        living = [connection for connection in found if connection is not None]
        if not living:
            return None
        key = living[0].key._replace(name=name)
        return self._joined(key, [c for c in living if c.key.incarnation == key.incarnation])

    def _joined(self, key: ServiceKey, connections: Sequence[Connection]) -> Connection:
        if key.replicas == 1:
            return connections[0]
        router = self._routers.get(key.name)
        if router is None or router.key != key:
            router = self._routers[key.name] = ReplicatedConnection(key, connections)
        else:
            router.keep(connections)
        return router

    def _is_taken(self, name: str) -> bool:
        """Whether nobody can register that name: it lives, or a replica of it is there."""
        return any(split_replica(there)[0] == name for there in self._names(starting=True))

    def _list_groups(self) -> list[str]:
        """Names of the services that live, sorted."""
        names = set(self._names())
        services = {split_replica(name)[0] for name in names}
        unsure = services - names
        if unsure:  # their first replica is dead, or isn't there yet
            unsure &= set(self._names(starting=True))
        return sorted(services - unsure)

    def _describe_group(self, name: str) -> ServiceInfo | None:
        """What is known of a service, its replicas included, or None if there is none."""
        connection = self._find_group(name)
        if connection is None or connection.key.replicas == 1:
            return self._describe(name)
        names = [replica_name(name, index) for index in range(connection.key.replicas)]
        infos = [info for info in map(self._describe, names) if info is not None]
        return _summary(name, infos) if infos else None

    def _stop_group(self, name: str) -> bool:
        """End a service with all its replicas; False if there was none."""
        others = _replicas_of(name, self._names(starting=True))
        return any(at_once(self._stop, [name, *others]))


def at_once(act: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do the same to several items, in threads: ending a service may take its `close_timeout`."""
    if len(items) < 2:
        return [act(item) for item in items]
    with ThreadPoolExecutor(min(len(items), _ENDING_THREADS), "services-end") as pool:
        try:
            doing = [pool.submit(act, item) for item in items]
        except RuntimeError:
            # At exit (atexit) Python starts no threads any more. Ending twice does no harm.
            return [act(item) for item in items]
    return [done.result() for done in doing]


def _replicas_of(service: str, names: Iterable[str]) -> list[str]:
    """Those of the names that replicas of a service have, the first one's apart."""
    return [name for name in names if name != service and split_replica(name)[0] == service]


def _summary(name: str, replicas: list[ServiceInfo]) -> ServiceInfo:
    """What is known of a service that has replicas."""
    started = [info.started_at for info in replicas if info.started_at is not None]
    restarts = [info.restarts for info in replicas if info.restarts is not None]
    running = any(info.state == "running" for info in replicas)
    return replace(
        replicas[0],
        name=name,
        state="running" if running else replicas[0].state,
        pid=None,
        node=None,
        started_at=max(started, default=None),
        restarts=sum(restarts) if restarts else None,
        replicas=tuple(replicas),
    )
