"""What is known of each service, in the key-value store of Ray's control service.

Ray lists and finds an actor by name already while its constructor runs or waits for resources. So
the registrar writes a record when it has created the actor, and completes it when the constructor
has returned: an actor without a complete record is one that is being constructed.

A record belongs to one actor, not to a name, so a late writer can't harm a successor. The store is
internal to Ray, though Ray Serve and others build on it; nothing else here touches it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ray.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_get,
    _internal_kv_list,
    _internal_kv_put,
)

from services_core import MethodKind, ServiceKey

_STORE = b"services_core"


@dataclass(frozen=True)
class Record:
    """What lookups know of a service.

    Attributes:
        namespace: Its namespace.
        name: Its name.
        incarnation: Its registration.
        replicas: How many replicas that made.
        actor_id: Ray's identity of its actor.
        class_name: Qualified name of its class.
        methods: Its methods.
        close_timeout: Seconds that its `close()` may take.
        options: The options that it was registered with.
        paced: Whether its generators can be held up.
        overdue_at: When its registrar must have given up, in seconds since the epoch.
        pid: The process that it was constructed in.
        node: The host that it was constructed on.
        started_at: When its constructor had returned; None until then.
    """

    namespace: str
    name: str
    incarnation: str
    replicas: int
    actor_id: str
    class_name: str
    methods: dict[str, MethodKind]
    close_timeout: float
    options: dict[str, Any]
    paced: bool
    overdue_at: float
    pid: int | None = None
    node: str | None = None
    started_at: float | None = None

    @property
    def key(self) -> ServiceKey:
        """Identity of the service."""
        return ServiceKey("ray", self.namespace, self.name, self.incarnation, self.replicas)

    @property
    def is_published(self) -> bool:
        """Whether the constructor has returned, and lookups may see the service."""
        return self.started_at is not None

    @property
    def is_overdue(self) -> bool:
        """Whether its registrar ought to have published it, or given it up, long ago."""
        return not self.is_published and time.time() > self.overdue_at


def put(record: Record) -> None:
    """Write a record, or write it anew."""
    key = _prefix(record.namespace, record.name) + record.actor_id.encode()
    _internal_kv_put(key, json.dumps(asdict(record)), namespace=_STORE)


def find(namespace: str, name: str, actor_id: str) -> Record | None:
    """The record of an actor."""
    key = _prefix(namespace, name) + actor_id.encode()
    data: bytes | None = _internal_kv_get(key, namespace=_STORE)
    return None if data is None else Record(**json.loads(data))


def forget(record: Record) -> None:
    """Remove a record."""
    key = _prefix(record.namespace, record.name) + record.actor_id.encode()
    _internal_kv_del(key, namespace=_STORE)


def keys(namespace: str, name: str) -> list[bytes]:
    """Where the records are of all actors that have, or had, a name."""
    return list(_internal_kv_list(_prefix(namespace, name), namespace=_STORE))


def delete(keys: Iterable[bytes]) -> None:
    """Remove records by where they are."""
    for key in keys:
        _internal_kv_del(key, namespace=_STORE)


def _prefix(namespace: str, name: str) -> bytes:
    # The end of a JSON list ends the name, whatever stands in it.
    return json.dumps([namespace, name]).encode()
